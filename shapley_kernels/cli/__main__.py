"""`python -m shapley_kernels.cli`, the same as `shapley-allocate`."""

from shapley_kernels.cli import main

main()
