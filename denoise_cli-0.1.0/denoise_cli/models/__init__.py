"""The registered models: their networks, their weights, and checks that the weights are intact.

This package runs no inference and downloads nothing.
"""
