"""Pictures before and after as a page of HTML: with a slider between them, and everything else that is known of them.

The page needs no network, and nothing beside itself but its pictures. All text in it is data: names of files may hold
markup. `page.html`, `page.css` and `page.js` are its parts.

Legend: H x W picture.
"""

import base64
import hashlib
import html
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.files import check_target, irregular, write_atomically
from denoise_cli.temporary_files import folder_beside

EXTENSIONS = (".html", ".htm")
INDEX = "index.html"  # the page in a folder
PICTURES = "-files"  # what the name of the folder with the pictures beside a page ends in
OWN_PICTURE = re.compile(r"\d{5,}-(thumbnail|\d+-\d+)\.jpg")  # the names of the pictures beside a page
AT_100_PERCENT = {"quality": 95, "subsampling": 0}  # how JPEGs are compressed: noise is in fine colours, too
REDUCED = {"quality": 85}  # and thumbnails
THUMBNAIL_SIDE = 320  # pixels
REPORT, COMPARISON = "denoise report", "denoise compare"  # what a page says it was written by
MARK, MARKED = f'<meta name="generator" content="{REPORT}">'.encode(), 1000  # in so many first bytes of a report

Bytes = NDArray[np.uint8]
State = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class View:
    """One place in each version of a picture.

    Attributes:
        caption: what it shows.
        pictures: the versions, all (H, W, 3), sRGB.
    """

    caption: str
    pictures: tuple[Bytes, ...]


@dataclass(frozen=True)
class Entry:
    """What a page shows of one photo or clip.

    Attributes:
        name: of the file.
        state: what became of it.
        summary: one short line for the list.
        error: why it failed.
        notes: what else the user should hear.
        facts: what is known of it, each with what it is.
        sort: numbers to sort by: "noise", "change" and "seconds", as far as they are known.
        links: files to open, each with what it is.
        versions: the names of the pictures of each view, such as "before" and "after".
        views: places at 100 %.
        thumbnail: (H, W, 3), sRGB, reduced; None if there is none.
    """

    name: str
    state: State
    summary: str
    error: str | None = None
    notes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    sort: Mapping[str, float] = field(default_factory=dict)
    links: tuple[tuple[str, Path], ...] = ()
    versions: tuple[str, ...] = ()
    views: tuple[View, ...] = ()
    thumbnail: Bytes | None = None


def page_path(text: str, option: str) -> Path:
    """The page's own path, given as a `.html` file or as a folder for it: an existing one, or a name that ends in /.

    Raises:
        UsageError: it is neither.
    """
    path = Path(text)
    if text.endswith(("/", os.sep)) or os.path.isdir(path):  # noqa: PTH112 - `Path` raises where it may not look
        return path / INDEX
    if path.suffix.lower() not in EXTENSIONS:
        raise UsageError(f"{option} {text}: expected a name that ends in .html, or a folder, ending in /")
    return path


def pictures_folder(path: Path) -> Path:
    """The folder with the pictures of a page: `report-files` beside `report.html`."""
    return path.with_name(path.stem + PICTURES)


def is_pictures_folder(folder: Path) -> bool:
    """Whether a folder holds the pictures of a page and nothing else."""
    try:
        names = [file.name for file in folder.iterdir()] if folder.name.endswith(PICTURES) else []
    except OSError:
        return False
    return bool(names) and all(map(OWN_PICTURE.fullmatch, names))


class Page:
    """A page in progress. It appears when the `with` statement ends: if that is by an error, with what it has so far.

    Args:
        path: the page; its folder is made if it is missing.
        title: its heading.
        overwrite: whether an existing page is replaced, with its pictures.
        embeds: whether the pictures are in the page itself, and without loss; otherwise they are JPEGs in a folder
            beside it, `pictures_folder`, which browsers load when they are looked at.
        others: inputs and outputs, none of which may be the page or lie among its pictures.
        renews: whether an older page is replaced as by `overwrite`, if it is the report of a run.

    Attributes:
        about: a line below the heading.

    Raises:
        UnwritableFile: the page or the folder exists and is not to be replaced, or the folder holds anything but the
            pictures of a page, or files cannot be written there.
    """

    def __init__(
        self,
        path: Path,
        title: str,
        overwrite: bool,
        embeds: bool,
        others: Iterable[Path] = (),
        renews: bool = False,
    ) -> None:
        self.about = ""
        self._renews = renews
        self._path, self._title, self._overwrite = path, title, overwrite
        self._pictures = None if embeds else pictures_folder(path)
        self._others = tuple(others)
        self._entries: list[dict[str, Any]] = []
        self._opened = ExitStack()
        self._check()

    def __enter__(self) -> "Page":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableFile(self._path.parent, f"cannot make the folder: {error.strerror}") from error
        if self._pictures is not None:
            self._parts = self._opened.enter_context(folder_beside(self._path))
            (self._parts / "new").mkdir()
        return self

    def add(self, entry: Entry) -> None:
        """Add what is known of a photo or a clip.

        Raises:
            UnwritableFile: its pictures cannot be written; the entry is then in the page without them.
        """
        number = len(self._entries) + 1
        record: dict[str, Any] = {
            "name": entry.name,
            "state": entry.state,
            "summary": entry.summary,
            "error": entry.error,
            "notes": entry.notes,
            "facts": entry.facts,
            "sort": dict(entry.sort),
            "links": [(what, str(path), _address(path, self._path.parent)) for what, path in entry.links],
            "versions": entry.versions,
            "views": [],
            "thumbnail": None,
        }
        self._entries.append(record)
        views = [
            {
                "caption": view.caption,
                "width": view.pictures[0].shape[1],
                "height": view.pictures[0].shape[0],
                "pictures": [
                    self._stored(f"{number:05}-{place}-{version}.jpg", picture)
                    for version, picture in enumerate(view.pictures, 1)
                ],
            }
            for place, view in enumerate(entry.views, 1)
        ]
        thumbnail = None
        if entry.thumbnail is not None and self._pictures is not None:  # a page with its pictures inside has no list
            thumbnail = self._stored(f"{number:05}-thumbnail.jpg", entry.thumbnail, REDUCED)
        record |= {"views": views, "thumbnail": thumbnail}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._opened:
            if kind is not None and not self._entries:
                return
            try:
                self._write()
            except UnwritableFile:
                if kind is None:  # otherwise the user hears what came first
                    raise

    def _check(self) -> None:
        overwrite = self._overwrite or (self._renews and _is_report(self._path))
        check_target(self._path, overwrite, self._others, creates_folder=True)
        own = {self._path.resolve(), *([] if self._pictures is None else [self._pictures.resolve()])}
        for other in self._others:
            if not own.isdisjoint((whole := other.resolve(), *whole.parents)):
                raise UnwritableFile(self._path, f"would take the place of {other}: choose another name for the page")
        if self._pictures is not None:
            _check_pictures(self._pictures, overwrite)

    def _stored(self, name: str, picture: Bytes, compression: Mapping[str, int] = AT_100_PERCENT) -> str:
        """The address of a picture, relative to the page or with the picture in it."""
        data = io.BytesIO()
        if self._pictures is None:
            Image.fromarray(picture).save(data, "png")
            return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
        Image.fromarray(picture).save(data, "jpeg", **compression)
        try:
            (self._parts / "new" / name).write_bytes(data.getvalue())
        except OSError as error:
            raise UnwritableFile(self._pictures, f"cannot write: {error.strerror}") from error
        return _address(self._pictures / name, self._path.parent)

    def _write(self) -> None:
        generator = COMPARISON if self._pictures is None else REPORT
        text = _html(self._title, self.about, self._entries, generator).encode()
        if self._pictures is None:
            write_atomically(self._path, text, self._overwrite)
            return
        self._check()  # the run may have taken hours
        old, old_page = self._parts / "old", self._parts / "old.html"
        # No page ever shows the pictures of another: an old one goes before its pictures do.
        moves = [(self._path, old_page), (self._pictures, old), (self._parts / "new", self._pictures)]
        done: list[tuple[Path, Path]] = []
        try:
            for source, target in moves:
                if source.exists():
                    os.replace(source, target)
                    done.append((source, target))
            write_atomically(self._path, text, overwrite=False, like=old_page if old_page.exists() else None)
        except (OSError, UnwritableFile) as error:
            for source, target in reversed(done):
                os.replace(target, source)
            if isinstance(error, OSError):
                raise UnwritableFile(self._path, f"cannot write: {error.strerror}") from error
            raise


def _is_report(path: Path) -> bool:
    """Whether a file is the page of an earlier run; false if it cannot be read."""
    try:
        if irregular(path) is not None or not path.is_file():
            return False
        with path.open("rb") as file:
            return MARK in file.read(MARKED)
    except OSError:
        return False


def _check_pictures(folder: Path, overwrite: bool) -> None:
    """Refuse to replace a folder with anything in it but the pictures of a page."""
    if (what := irregular(folder)) is not None:
        raise UnwritableFile(folder, f"is {what}: choose another name for the page")
    if not folder.exists():
        return
    if not overwrite:
        raise UnwritableFile(folder, "already exists: use --overwrite to replace it")
    try:
        foreign = next((entry.name for entry in os.scandir(folder) if not OWN_PICTURE.fullmatch(entry.name)), None)
    except OSError as error:
        raise UnwritableFile(folder, f"cannot be replaced: {error.strerror}") from error
    if foreign is not None:
        raise UnwritableFile(folder, f"holds {foreign}, which is no picture of a page: choose another name")


def _address(path: Path, folder: Path) -> str:
    """The address of a file for a page in a folder, relative to that; the bytes of names are escaped."""
    try:
        relative = os.path.relpath(path, folder)
    except ValueError:  # on another drive
        return path.absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def _html(title: str, about: str, entries: Sequence[Mapping[str, Any]], generator: str) -> str:
    layout, style, script = (
        Path(__file__).with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".html", ".css", ".js")
    )
    return Template(layout).substitute(
        title=_text(title),
        about=_text(about),
        generator=generator,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_data({"entries": entries}),
    )


def _text(text: str) -> str:
    """Text between tags; what is no Unicode in the name of a file is escaped."""
    return html.escape(text.encode(errors="backslashreplace").decode())


def _data(value: object) -> str:
    """JSON that can stand in a script element: it holds nothing that could end that, or begin a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _hash(text: str) -> str:
    """By which the page's policy admits its own script and style, and no others."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
