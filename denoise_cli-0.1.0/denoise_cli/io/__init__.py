"""Reading and writing photos, RAW files and clips: one codec or container per module.

It knows nothing about models.
"""
