"""The command line: one file per command, which reads its options, calls the rooms below and prints the result.

Commands do no maths, and import PyTorch only inside their functions, so that `--help` is instant. Only `console` uses
rich.
"""
