"""The command `shapley-allocate`: files of rollouts in, the same with credits and advantages out."""

from shapley_kernels._command import start

EXTRAS = {
    **dict.fromkeys(("typer", "rich", "pyarrow", "matplotlib"), "cli"),
    **dict.fromkeys(("ray", "pandas"), "cli,ray"),
}


def main() -> None:
    """Entry point."""
    start("shapley-allocate", "shapley_kernels.cli.command", EXTRAS)
