"""The documentation site: `sphinx-build docs site` writes these pages and an API reference as HTML."""

import re

from sphinx.application import Sphinx

from denoise_cli.version import __version__

project = "denoise"
author = "The denoise authors"
copyright = "2026, The denoise authors"  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["experiments", "images/*.py"]
html_theme = "furo"
html_title = "denoise"

myst_heading_anchors = 4  # links such as models.md#training
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def link_cards(_app: Sphinx, _page: str, text: list[str]) -> None:
    """The cards are next to the weights for readers of the repository, and on one page of the site."""
    text[0] = re.sub(r"\(\.\./weights/cards/([\w-]+)\.md(?:#[\w-]+)?\)", r"(cards.md#\1)", text[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_cards)
