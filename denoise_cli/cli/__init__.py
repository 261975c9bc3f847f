"""The command line: one file per command, which reads options, calls the rooms below and prints the result.

It does no maths, and imports PyTorch only inside commands. `console` is the only module that knows rich.
"""
