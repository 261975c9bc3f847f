"""A network with its weights, run on photos of any size on any device, and exported for other programs.

It reads and writes no pictures.
"""
