"""The operators, in PyTorch and as CUDA kernels.

They hold no parameters, and read no files except the kernels' sources.
"""
