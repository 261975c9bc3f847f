"""A page as a program reads it."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[int, str] = {}  # by the number of the element that holds it and no other
        self._is_open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._is_open = True

    def handle_data(self, data: str) -> None:
        if self._is_open:
            number = len(self.elements) - 1
            self.texts[number] = self.texts.get(number, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._is_open = False


class ReadPage:
    """The elements of a page, and the entries in its data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        parser = _Parser()
        parser.feed(self.source)
        parser.close()
        self.elements = parser.elements
        self.texts = parser.texts

    def text_of(self, tag: str, **attributes: str) -> str:
        """What the only element of this kind holds."""
        (number,) = (
            number
            for number, (name, found) in enumerate(self.elements)
            if name == tag and attributes.items() <= found.items()
        )
        return self.texts[number]

    @property
    def entries(self) -> list[dict[str, Any]]:
        return json.loads(self.text_of("script", id="data"))["entries"]

    def pictures(self) -> list[str]:
        """The addresses of all pictures."""
        views = [address for entry in self.entries for view in entry["views"] for address in view["pictures"]]
        return views + [entry["thumbnail"] for entry in self.entries if entry["thumbnail"]]

    def file(self, address: str) -> Path:
        """The file at an address in the page."""
        assert not address.startswith(("/", "data:")), address
        assert ":" not in address  # or what stands before it could be a scheme
        return self.path.parent / unquote_to_bytes(address).decode(errors="surrogateescape")
