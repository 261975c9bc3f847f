"""C2PA manifests ("content credentials"): signed statements about a picture, which do not hold for an edited one.

Source: C2PA, "Technical Specification" 2.1, appendix A (where files of each format have their manifest).
"""

from denoise_cli.io import webp
from denoise_cli.io.companions import manifests_in
from denoise_cli.io.exif import parse
from denoise_cli.io.jpeg import segments_of
from denoise_cli.io.png import chunks_of

REMOVED = "C2PA manifest removed: its signature does not hold for a picture that was edited"
PNG_CHUNK = b"caBX"
TIFF_TAG = 0xCD41
BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # the UUID of a box, in HEIF and AVIF
LABEL = b"c2pa"  # in a JUMBF box with a manifest
SEARCHED = 1 << 20  # bytes at the start of a file in which that is looked for


def notes_on(data: bytes, kind: str) -> tuple[str, ...]:
    """What the user should hear of a manifest in a file of a format, a key of `image.FORMATS`."""
    return (REMOVED,) if _has_manifest(data, kind) else ()


def _has_manifest(data: bytes, kind: str) -> bool:
    if kind == "png":
        for name, _ in chunks_of(data):
            if name in (PNG_CHUNK, b"IDAT"):
                return name == PNG_CHUNK
    if kind == "jpeg":
        return bool(manifests_in(segments_of(data)))
    if kind == "tiff":
        return TIFF_TAG in parse(data).main
    if kind == "webp":
        return webp.C2PA in webp.names_of(data)
    return kind in ("avif", "heif") and BOX in data[:SEARCHED]
