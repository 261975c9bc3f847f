"""Files of photos, RAW and clips: one codec or container per file.

It knows no model.
"""
