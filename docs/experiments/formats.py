"""What becomes of depth, transparency, profile, orientation and metadata of photos from format to format.

    python docs/experiments/formats.py [--from FORMAT ...] [--to FORMAT ...]

Makes small files that each hold one thing more than a plain picture, in every format that can hold it, runs `denoise
image --strength 0` on them for every format that is written, and prints a table, and why files are refused. The exit
code is 1 if anything was lost without a note or an error, or if Pillow, which reads some of the results as well, finds
something else in them; a line names each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.transfer import PQ
from denoise_cli.io import image
from denoise_cli.io.cicp import BT2020, DISPLAY_P3, SRGB, CodePoints
from denoise_cli.io.exif import Exif, pack, parse
from denoise_cli.io.metadata import MAKE, ORIENTATION, Metadata, undo_orientation
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, grey_to_srgb, icc_profile

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="film 12"/></rdf:RDF></x:xmpmeta>'
)
CAPTION = b"\x1c\x02\x78\x00\x05quiet"
RESOLUTION = (240.0, 240.0)
ADOBE_RGB = icc_profile(D65, (0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 2.2)
GREY_GAMMA = icc_profile(D65, None, 2.2)
WITH_ORIENTATION = ("jpeg", "png", "tiff", "webp")  # that Pillow writes
PILLOW_READS = ("jpeg", "png", "tiff", "webp", "avif")  # with all metadata
H, W = 46, 58
QUARTERS = ((230, 50, 50), (128, 128, 128), (128, 128, 128), (25, 75, 200))  # differ, so that a turn shows
TOLERANCE = 12  # of 255, of a quarter's mean after lossy compression

KEPT, REFUSED, NOTED, LOST = "kept", "refused", "removed, with a note", "LOST"


@dataclass(frozen=True)
class Feature:
    """What a file can hold beside a plain picture.

    Attributes:
        find: what the program's reader finds of it, for the table; empty if nothing.
        photo: a photo with it, to be written in every format; None if `write` makes the files.
        write: the bytes of a file with it in a format.
        peek: the same as `find` with Pillow; None if it does not show there.
        must_say: whether a result without it must come with a note.
    """

    find: Callable[[Photo], str]
    photo: Photo | None = None
    write: Callable[[str], bytes] | None = None
    peek: Callable[[Image.Image], str] | None = None
    must_say: bool = True


def plain(dtype: type = np.uint8, channels: int = 3, has_alpha: bool = False, **metadata: object) -> Photo:
    """The plain picture in a type, with metadata."""
    values = np.empty((H, W, 3))
    for index, quarter in enumerate(QUARTERS):
        rows, columns = divmod(index, 2)
        values[rows * H // 2 : (rows + 1) * H // 2, columns * W // 2 : (columns + 1) * W // 2] = quarter
    white = 1 if dtype is np.float32 else np.iinfo(dtype).max
    stored: np.ndarray = (values[..., :channels] / 255 * white).astype(dtype)
    alpha: np.ndarray | None = np.full((H, W), white / 2).astype(dtype) if has_alpha else None
    return Photo(stored, alpha, "made", Metadata(**metadata))  # type: ignore[arg-type]


def turned(orientation: int, kind: str) -> bytes:
    """A file that stores the plain picture turned, with the orientation that turns it back."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    buffer = BytesIO()
    stored = np.ascontiguousarray(undo_orientation(plain().pixels, orientation))
    Image.fromarray(stored).save(buffer, kind.upper(), exif=exif.tobytes())
    return buffer.getvalue()


def features() -> dict[str, Feature]:
    """What is tried, by name."""
    exif = Exif()
    exif.main[MAKE] = exif.text("Maker")
    return {
        "8 bits": Feature(depth_of, plain(), must_say=False),
        "10 bits": Feature(depth_of, replace(plain(np.uint16), depth=10), must_say=False),
        "16 bits": Feature(depth_of, plain(np.uint16), must_say=False),
        "floating point": Feature(depth_of, plain(np.float32), must_say=False),
        "greyscale": Feature(
            lambda photo: KEPT if photo.pixels.shape[2] == 1 else "RGB",
            plain(channels=1),
            peek=lambda picture: KEPT if len(picture.getbands()) == 1 else "RGB",
        ),
        "transparency": Feature(
            lambda photo: "" if photo.alpha is None else KEPT,
            plain(has_alpha=True),
            peek=lambda picture: KEPT if "A" in picture.getbands() else "",
        ),
        "profile": Feature(
            lambda photo: KEPT if photo.metadata.icc == ADOBE_RGB else "",
            plain(icc=ADOBE_RGB),
            peek=lambda picture: KEPT if picture.info.get("icc_profile") == ADOBE_RGB else "",
        ),
        "profile of greyscale": Feature(grey_seen, plain(channels=1, icc=GREY_GAMMA)),
        "HDR (PQ)": Feature(
            lambda photo: KEPT if photo.metadata.cicp and photo.metadata.cicp.is_hdr else "",
            plain(np.uint16, cicp=CodePoints(BT2020, PQ)),
        ),
        "Display P3": Feature(
            lambda photo: KEPT if photo.metadata.cicp else "as a profile" if photo.metadata.icc else "",
            plain(cicp=CodePoints(DISPLAY_P3, SRGB)),
        ),
        "CMYK": Feature(
            lambda photo: KEPT if photo.black is not None else "",
            replace(plain(), black=np.full((H, W), 200, np.uint8)),
            peek=lambda picture: KEPT if picture.mode == "CMYK" else "",
        ),
        "integers with a sign": Feature(
            lambda photo: KEPT if photo.is_signed else "", replace(plain(np.uint16), is_signed=True)
        ),
        "EXIF": Feature(
            lambda photo: KEPT if MAKE in parse(photo.metadata.exif or b"").main else "",
            plain(exif=pack(exif)),
            peek=lambda picture: KEPT if picture.getexif().get(MAKE) == "Maker" else "",
        ),
        "XMP": Feature(lambda photo: KEPT if b"film 12" in (photo.metadata.xmp or b"") else "", plain(xmp=XMP)),
        "IPTC": Feature(lambda photo: KEPT if photo.metadata.iptc == CAPTION else "", plain(iptc=CAPTION)),
        "resolution": Feature(resolution_of, plain(dpi=RESOLUTION), must_say=False),
        "comment": Feature(lambda photo: KEPT if photo.metadata.texts else "", plain(texts=(("Comment", "quiet"),))),
        **{
            f"orientation {number}": Feature(upright, write=partial(turned, number), peek=seen_upright)
            for number in range(2, 9)
        },
    }


def depth_of(photo: Photo) -> str:
    """The bits per value of a photo's file."""
    return "float" if photo.bits == 32 else f"{photo.depth or photo.bits} bits"


def resolution_of(photo: Photo) -> str:
    """Whether a photo has its resolution."""
    dpi = photo.metadata.dpi
    return KEPT if dpi is not None and np.allclose(dpi, RESOLUTION, atol=0.1) else ""


def grey_seen(photo: Photo) -> str:
    """Whether greyscale has its profile, or its values are converted to sRGB."""
    if photo.metadata.icc == GREY_GAMMA:
        return KEPT
    converted = grey_to_srgb(GREY_GAMMA)[plain(channels=1).pixels]
    return "sRGB" if np.abs(photo.as_rgb8().astype(int) - converted).mean() < 1 else ""


def upright(photo: Photo) -> str:
    """Whether the picture is seen as it should be."""
    shown = photo.as_rgb8()
    if shown.shape != (H, W, 3):
        return ""
    quarters = (
        shown[: H // 2, : W // 2],
        shown[: H // 2, W // 2 :],
        shown[H // 2 :, : W // 2],
        shown[H // 2 :, W // 2 :],
    )
    means = [quarter.mean(axis=(0, 1)) for quarter in quarters]
    return KEPT if np.abs(np.subtract(means, QUARTERS)).max() < TOLERANCE else ""


def seen_upright(picture: Image.Image) -> str:
    """Whether Pillow shows it as it should be."""
    shown = ImageOps.exif_transpose(picture).convert("RGB")
    return upright(Photo(np.asarray(shown), None, "seen"))


def write_sources(folder: Path, kinds: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Write a file for each format and feature that it can hold; returns both by the file's name."""
    sources: dict[str, tuple[str, str]] = {}
    for name, feature in features().items():
        for kind in kinds:
            path = folder / f"{len(sources):03}{image.FORMATS[kind].extensions[0]}"
            with suppress(ValueError):  # it cannot hold this
                if feature.photo is not None:
                    path.write_bytes(image.encode(feature.photo, kind, "made"))
                elif feature.write is not None and kind in WITH_ORIENTATION:
                    path.write_bytes(feature.write(kind))
                else:
                    continue
                expected = feature.find(feature.photo) if feature.photo is not None else KEPT
                if feature.find(image.read(path)) == expected:
                    sources[path.name] = (kind, name)
                    continue
            path.unlink(missing_ok=True)
    return sources


def results(folder: Path, sources: dict[str, tuple[str, str]], kind: str) -> Iterator[tuple[str, str, str, str]]:
    """Denoise the sources into a format.

    Yields:
        The source's format, the feature, what became of it, and why it was refused or what is wrong with it, or "".
    """
    target = folder / kind
    command = [
        "image",
        str(folder / "sources"),
        "-o",
        f"{target}/",
        "--format",
        kind,
        "--strength",
        "0",
        "--json",
        "-q",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "denoise_cli", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    *records, _ = map(json.loads, done.stdout.splitlines())  # the last one is the sum
    for record in records:
        name = Path(record["source"]).name
        source, wanted = sources[name]
        feature = features()[wanted]
        if record["error"]:
            yield source, wanted, REFUSED, record["error"].partition(": ")[2]
            continue
        path = Path(record["target"])
        try:
            found = feature.find(image.read(path))
        except UnreadableFile as error:
            yield source, wanted, LOST, str(error)
            continue
        if not found:
            is_silent = feature.must_say and not record["notes"]
            yield source, wanted, LOST if is_silent else NOTED if record["notes"] else "removed", ""
            continue
        seen = found
        if feature.peek is not None and kind in PILLOW_READS:
            with suppress(UnidentifiedImageError), Image.open(path) as picture:  # not of floating point
                seen = feature.peek(picture)
        yield source, wanted, found, "" if seen == found else f"Pillow finds {seen or 'nothing'}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="sources", nargs="+", choices=image.WRITABLE, default=image.WRITABLE)
    parser.add_argument("--to", dest="targets", nargs="+", choices=image.WRITABLE, default=image.WRITABLE)
    options = parser.parse_args()
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    faults, refusals = [], dict[str, None]()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "sources").mkdir()
        sources = write_sources(folder / "sources", options.sources)
        for target in options.targets:
            for source, wanted, outcome, wrong in results(folder, sources, target):
                cells.setdefault((wanted, target), {}).setdefault(outcome, []).append(source)
                if outcome == REFUSED:
                    refusals[wrong] = None
                elif wrong or outcome == LOST:
                    faults.append(f"{wanted}, {source} to {target}: {outcome}{wrong and f', {wrong}'}")
    print(f"| in a photo | {' | '.join(f'to {target}' for target in options.targets)} |")
    print("|---" * (1 + len(options.targets)) + "|")
    for wanted in features():
        row = [_cell(cells.get((wanted, target), {})) for target in options.targets]
        if any(row):
            print(f"| {wanted} | {' | '.join(row)} |")
    print("\nRefused with:\n", *(f"- {line}" for line in refusals), sep="\n")
    print(*faults, sep="\n", file=sys.stderr)
    sys.exit(bool(faults))


def _cell(outcomes: dict[str, list[str]]) -> str:
    """What became of a thing; from which formats, if it differs."""
    if len(outcomes) == 1:
        return next(iter(outcomes))
    by_number = sorted(outcomes.items(), key=lambda item: -len(item[1]))
    return (
        "; ".join([by_number[0][0], *(f"{what} (from {', '.join(kinds)})" for what, kinds in by_number[1:])])
        if by_number
        else ""
    )


if __name__ == "__main__":
    main()
