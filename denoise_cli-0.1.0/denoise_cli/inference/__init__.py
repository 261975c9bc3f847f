"""Networks with their weights: run on pictures of any size, on any device, and exported for other programs.

It does not read or write pictures.
"""
