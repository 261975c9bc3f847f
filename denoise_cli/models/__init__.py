"""The models by name: what each is, its weights, and whether they are intact.

It runs no inference, and downloads nothing.
"""
