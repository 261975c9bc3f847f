"""Training: the loop, with its batches, validation, recipes, run folders and processes.

It defines no layer, and decodes no file by hand.
"""
