"""XMP sidecars: files beside a photo in which editors keep what they know about it, and which go along with a result.

Two conventions name them: `IMG_1.xmp` (Adobe) and `IMG_1.DNG.xmp` (darktable and others). A result gets its own by the
same convention.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from denoise_cli.files import is_same_file, write_atomically
from denoise_cli.io import raw_formats
from denoise_cli.io.metadata import reset_xmp
from denoise_cli.io.xmp import mark_denoised, renamed_sidecar, sidecar_extension, without_raw_settings
from denoise_cli.pipeline.jobs import STDIO

SUFFIXES = (".xmp", ".XMP")


@dataclass(frozen=True)
class Sidecar:
    """A sidecar of a photo, and where the one of its result belongs."""

    source: Path
    target: Path


def sidecars_of(source: Path, target: Path) -> list[Sidecar]:
    """The sidecars of a photo that is written to `target`, except those that serve both files as they are."""
    if STDIO in (source, target):
        return []
    by_stem = [path for path in _existing(source.with_suffix("")) if _owns(source, path)]
    # Only then, since looking for it reads the whole folder.
    is_anothers = bool(by_stem) and any(_is_raw(path) for path in _siblings(target) if path not in (source, target))
    found = [
        Sidecar(path, target.with_name(target.name + path.suffix) if is_anothers else target.with_suffix(path.suffix))
        for path in by_stem
    ]
    found += [Sidecar(path, target.with_name(target.name + path.suffix)) for path in _existing(source)]
    pairs = {pair.source: pair for pair in found}  # of a photo without extension, both are one
    return [pair for pair in pairs.values() if not is_same_file(pair.target, pair.source)]


def carry(
    source: Path, target: Path, overwrite: bool, *, turned: bool, developed: bool, marked: bool = False
) -> Iterator[str]:
    """Write the sidecars of a result.

    Args:
        source: the photo.
        target: the result.
        overwrite: whether existing sidecars are replaced.
        turned: whether the result is upright whatever the photo's orientation was.
        developed: whether a RAW file has become a picture, to which its settings do not apply.
        marked: whether it says that the result is denoised, as a DNG does: programs read the sidecar in its place.

    Yields:
        What the user should hear about each.

    Raises:
        UnwritableFile: a sidecar cannot be written; the result is there.
    """
    yield from _carry(sidecars_of(source, target), target, overwrite, turned, developed, marked)


def carry_missing(source: Path, target: Path, *, turned: bool, developed: bool, marked: bool) -> Iterator[str]:
    """Write those sidecars of a result that are not there; arguments, values and errors are those of `carry`."""
    missing = [sidecar for sidecar in sidecars_of(source, target) if not os.path.lexists(sidecar.target)]
    yield from _carry(missing, target, False, turned, developed, marked)


def _carry(
    sidecars: Iterable[Sidecar], target: Path, overwrite: bool, turned: bool, developed: bool, marked: bool
) -> Iterator[str]:
    for sidecar in sidecars:
        note = _note(sidecar, overwrite)  # before there is a new one
        if _stays(sidecar, overwrite):
            yield note
            continue
        try:
            packet = sidecar.source.read_bytes()
        except OSError as error:
            yield f"{sidecar.source} cannot be read: {error.strerror}"
            continue
        packet = reset_xmp(packet) if turned else packet
        packet = without_raw_settings(packet) if developed else packet
        packet = mark_denoised(packet) if marked else packet
        packet = renamed_sidecar(packet, target.name, target.suffix[1:])
        write_atomically(sidecar.target, packet, overwrite)
        yield note


def foretell(source: Path, target: Path, overwrite: bool) -> list[str]:
    """What `carry` would say of each sidecar that can be read and written."""
    return [_note(sidecar, overwrite) for sidecar in sidecars_of(source, target)]


def _stays(sidecar: Sidecar, overwrite: bool) -> bool:
    """Whether there is already a sidecar of the result, which is not replaced."""
    return os.path.lexists(sidecar.target) and not overwrite


def _note(sidecar: Sidecar, overwrite: bool) -> str:
    if _stays(sidecar, overwrite):
        return f"{sidecar.target} already exists and is not replaced by {sidecar.source.name}: use --overwrite"
    return f"{sidecar.source.name} becomes {sidecar.target}"


def _existing(stem: Path) -> list[Path]:
    paths = (stem.with_name(stem.name + suffix) for suffix in SUFFIXES)
    # `Path.is_file` raises if a name is too long. One file, where capitals make no difference.
    return [path for path in paths if os.path.isfile(path)][:1]  # noqa: PTH113


def _owns(source: Path, sidecar: Path) -> bool:
    """Whether `IMG_1.xmp` is this photo's: with RAW and JPEG side by side, it is usually that of the RAW file."""
    try:
        extension = sidecar_extension(sidecar.read_bytes())
    except OSError:
        return True
    if extension is not None:
        return extension.lower() == source.suffix[1:].lower()
    return _is_raw(source) or not any(_is_raw(path) for path in _siblings(source))


def _siblings(path: Path) -> Iterator[Path]:
    """The files beside a photo that differ from it in the extension only."""
    return path.parent.glob(f"{_literal(path.stem)}.*")


def _is_raw(path: Path) -> bool:
    return path.suffix.lower() in raw_formats.EXTENSIONS


def _literal(name: str) -> str:
    """A name as a pattern that matches only itself."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
