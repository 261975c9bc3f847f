"""CUDA sources of the operators, compiled where they run."""
