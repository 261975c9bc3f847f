"""Photos and clips for training and testing: found, decoded, cropped, made noisy.

It downloads nothing.
"""
