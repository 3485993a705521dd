"""`python -m shapley_kernels.bench`, the same as `shapley-bench`."""

from shapley_kernels.bench import main

main()
