"""The maths of pictures: noise, sensors, mosaics, colours, transfer curves, tiles, frames, metrics.

It imports no networks and opens no files.
"""
