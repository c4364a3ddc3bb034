"""The fast way through the network: layers by hand, Triton kernels, CUDA graphs."""
