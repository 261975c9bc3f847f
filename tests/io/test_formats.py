"""What the table of formats in the documentation says, tried."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise_cli.imaging.transfer import PQ
from denoise_cli.io import image
from denoise_cli.io.cicp import CodePoints
from denoise_cli.io.exif import parse
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.profiles import D65, icc_profile

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
WIDE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
DTYPES = {"8": np.uint8, "10": np.uint16, "12": np.uint16, "16": np.uint16, "float": np.float32}


def table() -> dict[str, dict[str, str]]:
    """The rows by format, each by the names of the columns."""
    text = DOCS.read_text(encoding="utf-8").split("<!-- formats -->")[1]
    lines = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    header, _, *rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows if row[0] in image.FORMATS}


def written(photo: Photo, kind: str, folder: Path) -> Photo:
    path = folder / "photo"
    path.write_bytes(image.encode(photo, kind, "test", quality=100))
    return image.read(path)


def grey_or_rgb(channels: int, **options: object) -> Photo:
    return Photo(np.full((8, 9, channels), 100, np.uint8), None, "test", **options)  # type: ignore[arg-type]


def test_the_table_names_every_format_that_is_written() -> None:
    assert list(table()) == image.WRITABLE


@pytest.mark.parametrize("kind", image.WRITABLE)
def test_a_format_holds_what_the_table_says(kind: str, camera_exif: Image.Exif, xmp: bytes, tmp_path: Path) -> None:
    if kind == "exr" and importlib.util.find_spec("OpenEXR") is None:
        pytest.skip("OpenEXR is not installed")
    says = table()[kind]
    channels = 3 if says["colours"] == "yes" else 1
    plain = grey_or_rgb(channels)

    stored = [Photo(plain.pixels.astype(dtype), None, "test") for dtype in DTYPES.values()]
    depths = {written(photo, kind, tmp_path).pixels.dtype.type for photo in stored}
    assert depths == {DTYPES[bits] for bits in says["bits per value"].split(", ")}
    assert (written(grey_or_rgb(1), kind, tmp_path).pixels.shape[2] == 1) == (says["greyscale"] == "yes")
    if channels == 1:
        with pytest.raises(ValueError, match=r"^it holds greyscale alone"):
            written(grey_or_rgb(3), kind, tmp_path)

    glass = Photo(plain.pixels, np.full((8, 9), 100, np.uint8), "test")
    if says["transparency"] == "yes":
        assert written(glass, kind, tmp_path).alpha is not None
    else:
        with pytest.raises(ValueError, match=r"^it cannot hold transparency"):
            written(glass, kind, tmp_path)

    caption = b"\x1c\x02\x78\x00\x05quiet"
    meta = Metadata(exif=camera_exif.tobytes(), xmp=xmp, iptc=caption)
    back = written(grey_or_rgb(channels, metadata=meta), kind, tmp_path)
    assert (271 in parse(back.metadata.exif or b"").main) == (says["EXIF"] == "yes")
    assert (back.metadata.xmp == xmp) == (says["XMP"] == "yes")
    assert (back.metadata.iptc == caption) == (says["IPTC"] == "yes")

    hdr = grey_or_rgb(channels, metadata=Metadata(cicp=CodePoints(9, PQ)))
    if says["PQ, HLG"] == "yes":
        assert written(hdr, kind, tmp_path).metadata.cicp is not None
    else:
        with pytest.raises(ValueError, match=r"^it cannot hold HDR"):
            written(hdr, kind, tmp_path)

    inked = Photo(np.full((8, 9, 3), 100, np.uint8), None, "test", black=np.full((8, 9), 200, np.uint8))
    if says["CMYK"] == "yes":
        assert written(inked, kind, tmp_path).black is not None
    else:
        with pytest.raises(ValueError, match=r"^it cannot hold CMYK"):
            written(inked, kind, tmp_path)

    paged = replace(plain, others=(lambda: plain,))
    if says["pages"] == "yes":
        assert image.FORMATS[kind].pages
    else:
        with pytest.raises(ValueError, match=r"^it holds a single picture, and there are 2 pages"):
            written(paged, kind, tmp_path)

    wide = icc_profile(D65, WIDE if channels == 3 else None, 2.2)
    profiled = grey_or_rgb(channels, metadata=Metadata(icc=wide))
    if says["profile"] == "yes":
        assert written(profiled, kind, tmp_path).metadata.icc == wide
    else:
        with pytest.raises(ValueError, match=r"^it cannot hold the photo's colour profile"):
            written(profiled, kind, tmp_path)
