"""The networks: one per file, with its configuration, and the layers that several of them share.

A network loads no weights, pads no picture, cuts no tiles and picks no device.
"""
