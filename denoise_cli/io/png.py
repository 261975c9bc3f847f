"""PNG features that Pillow lacks: access to chunks, and 16 bits per value in RGB."""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from denoise_cli.io.codecs import load_imagecodecs
from denoise_cli.io.exif import pack
from denoise_cli.io.metadata import Metadata, exif_for_result
from denoise_cli.io.photo import Photo


def encode16(photo: Photo, software: str) -> bytes:
    """The bytes of a PNG with 16 bits per value.

    Pillow cannot write 16-bit RGB, so imagecodecs encodes the pixels and Pillow the metadata chunks around them.
    """
    values = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    H, W, C = values.shape
    pixels = bytes(load_imagecodecs().png_encode(np.ascontiguousarray(values[..., 0] if C == 1 else values), level=6))
    meta = photo.metadata
    carrier = BytesIO()
    options: dict[str, Any] = {"icc_profile": meta.icc} if meta.icc else {}
    if meta.dpi:
        options["dpi"] = meta.dpi
    exif = pack(exif_for_result(meta, software, W, H))
    Image.new("L", (1, 1)).save(carrier, "PNG", pnginfo=png_info(meta, software), exif=exif, **options)

    chunks = list(chunks_of(pixels))
    carried = [chunk for name, chunk in chunks_of(carrier.getvalue()) if name not in (b"IHDR", b"IDAT", b"IEND")]
    header, rest = chunks[0][1], [chunk for name, chunk in chunks[1:] if name in (b"IDAT", b"IEND")]
    return b"".join([pixels[:8], header, *carried, *rest])


def chunks_of(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and the complete bytes of each chunk."""
    start = 8
    while start < len(png):
        stop = start + 12 + int.from_bytes(png[start : start + 4], "big")
        yield png[start + 4 : start + 8], png[start:stop]
        start = stop


def png_info(meta: Metadata, software: str) -> PngImagePlugin.PngInfo:
    """The metadata that Pillow takes as explicit chunks: gamma, software, XMP."""
    info = PngImagePlugin.PngInfo()
    if meta.gamma:
        info.add(b"gAMA", struct.pack(">I", round(meta.gamma * 100_000)))
    info.add_text("Software", software)
    if meta.xmp:
        info.add_itxt("XML:com.adobe.xmp", meta.xmp.decode("utf-8", "replace"))
    return info
