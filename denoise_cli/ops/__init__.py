"""The operators, in PyTorch and as CUDA kernels.

They hold no parameters, and read no files but the kernels' sources.
"""
