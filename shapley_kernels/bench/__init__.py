"""The command `shapley-bench`: how fast credits are, checked before they are timed, beside what else one may write."""

from shapley_kernels._command import start

EXTRAS = dict.fromkeys(("typer", "rich", "scipy", "matplotlib", "threadpoolctl", "msgspec"), "bench")


def main() -> None:
    """Entry point."""
    start("shapley-bench", "shapley_kernels.bench.command", EXTRAS)
