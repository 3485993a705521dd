"""One module per training framework, each importing that framework: `from shapley_kernels.adapters import trl`."""
