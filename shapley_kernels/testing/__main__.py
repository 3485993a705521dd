"""python -m shapley_kernels.testing: the oracle table."""

from shapley_kernels.testing.report import main

if __name__ == "__main__":
    raise SystemExit(main())
