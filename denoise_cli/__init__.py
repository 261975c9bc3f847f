"""Removes noise from photos."""
