"""The command `shapley-allocate`: files of rollouts in, the same with credits and advantages out."""

import sys

EXTRA = ("typer", "rich", "pyarrow", "matplotlib")


def main() -> None:
    """Entry point; a missing package of the extra [cli] gives one line that says how to get it."""
    try:
        from shapley_kernels.cli.command import app

        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        sys.exit(f"shapley-allocate: {package} is not installed; pip install 'shapley_kernels[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
