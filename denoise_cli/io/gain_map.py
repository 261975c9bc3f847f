"""The pixels of a gain map, a JPEG behind the picture of another one, and the same JPEG with other pixels.

Sources: ITU-T T.81 (1992), B.1.1 and B.2.1: what follows the marker of a picture's end belongs to no picture, and
decoders leave it unread; those of `xmp_claims` for gain maps.
"""

from io import BytesIO

import numpy as np
from PIL import Image

from denoise_cli.io import pillow
from denoise_cli.io.jpeg import APP0, APP14, COMMENT_MARKER, START, Segment, packed, picture_end, segments_of
from denoise_cli.io.jpeg_compression import JpegCompression
from denoise_cli.io.photo import Photo

OF_COLOURS = (APP0, APP14)  # by which a decoder knows whether components are colours or differences of them


def decode(jpeg: bytes, max_pixels: int) -> Photo:
    """A gain map as it is stored, whatever its EXIF says about orientation; without its metadata.

    Args:
        jpeg: the map, and whatever follows it in its place.
        max_pixels: larger maps are refused.

    Raises:
        ValueError: it is too large, damaged, or of a kind that `encode` does not write; with a message for the user.
        OSError and others: it is damaged.
    """
    of_colours = [s for s in segments_of(jpeg) if s.marker in OF_COLOURS]
    photo = pillow.decode(_joined(of_colours, jpeg[: picture_end(jpeg)]), max_pixels)
    if photo.repairs:
        raise ValueError("it is damaged")
    if photo.pixels.dtype != np.uint8 or photo.black is not None or photo.compression is None:
        raise ValueError("it is an unusual kind of JPEG")
    return photo


def encode(photo: Photo, jpeg: bytes) -> bytes | None:
    """A gain map with other pixels, in as many bytes: all that says where it, or what follows it, is stays true.

    Args:
        photo: as `decode` returns it, with other pixels.
        jpeg: the map, and whatever follows it in its place. All its metadata is kept byte for byte, and so are its
            quantisation and its resolution of colours.

    Returns:
        The bytes; None if they would be more.
    """
    own = photo.compression
    assert isinstance(own, JpegCompression)  # as `decode` makes sure
    buffer = BytesIO()
    picture = Image.fromarray(photo.pixels[..., 0] if photo.pixels.shape[2] == 1 else photo.pixels)
    with pillow.room_for(photo.pixels.size):
        picture.save(
            buffer,
            "JPEG",
            quality=-1,  # Pillow's word for none
            qtables=own.tables,
            subsampling=own.subsampling,
            progressive=own.is_progressive,
            optimize=True,
        )
    metadata = [s for s in segments_of(jpeg) if s.is_application_data or s.marker == COMMENT_MARKER]
    end = picture_end(jpeg)
    encoded = _joined(metadata, buffer.getvalue())
    return None if len(encoded) > end else encoded.ljust(end, b"\x00") + jpeg[end:]


def _joined(metadata: list[Segment], jpeg: bytes) -> bytes:
    """A JPEG with this metadata instead of its own."""
    own = [s for s in segments_of(jpeg) if s.is_application_data or s.marker == COMMENT_MARKER]
    rest, at = [], len(START)
    for segment in own:
        rest.append(jpeg[at : segment.place - 4])
        at = segment.place + len(segment.body)
    rest.append(jpeg[at:])
    return b"".join([START, *(packed(s.marker, s.body) for s in metadata), *rest])
