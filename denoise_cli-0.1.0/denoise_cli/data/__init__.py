"""Photos and clips for training and testing: finding, decoding, cropping them and adding noise.

It downloads nothing.
"""
