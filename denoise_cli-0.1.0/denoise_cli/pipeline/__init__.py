"""What a command does with files: which file becomes which, and the way of a photo, a RAW file and a clip.

It knows neither typer nor rich, and defines no layer.
"""
