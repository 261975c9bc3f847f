"""The networks: one per file, with its configuration, and the layers that several of them share.

A network does not load weights, pad images, split them into tiles or choose a device.
"""
