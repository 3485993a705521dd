"""The command `shapley-allocate`: files of rollouts in, the same with credits and advantages out."""

import sys

EXTRA = {"typer": "cli", "rich": "cli", "pyarrow": "cli", "matplotlib": "cli", "ray": "cli,ray", "pandas": "cli,ray"}


def main() -> None:
    """Entry point; a missing package of an extra gives one line that says how to get it."""
    try:
        from shapley_kernels.cli.command import app

        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        sys.exit(f"shapley-allocate: {package} is not installed; pip install 'shapley_kernels[{EXTRA[package]}]'")
    except KeyboardInterrupt:
        sys.exit(130)
