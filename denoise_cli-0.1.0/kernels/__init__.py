"""CUDA sources of the operators, compiled on the machine that runs them."""
