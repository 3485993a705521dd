"""The command `shapley-bench`: how fast credits are, checked before they are timed, beside what else one may write."""

import sys

EXTRA = ("typer", "rich", "scipy", "matplotlib", "threadpoolctl")


def main() -> None:
    """Entry point; a missing package of the extra [bench] gives one line that says how to get it."""
    try:
        from shapley_kernels.bench.command import app

        app(prog_name="shapley-bench")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        sys.exit(f"shapley-bench: {package} is not installed; pip install 'shapley_kernels[bench]'")
    except KeyboardInterrupt:
        sys.exit(130)
