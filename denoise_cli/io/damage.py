"""What a file is that no reader of photos takes, and what is wrong with it, in words."""

import re
from io import BytesIO

from PIL import Image

from denoise_cli.io.decoding import UNNOTICED_DAMAGE, one_line

SIGNS = (  # where each stands, what it is, what it stands for, and Pillow's reader of that
    (0, rb"\x89PNG|.PNG\r|\x89...\r\n\x1a\n", "a PNG", "PNG"),
    (0, rb"\xff\xd8\xff|.{6}JFIF\x00|.{6}Exif\x00\x00", "a JPEG", "JPEG"),
    (0, rb"GIF8|.IF8[79]a|G.F8[79]a|GI.8[79]a", "a GIF", "GIF"),
    (0, rb"BM", "a BMP", "BMP"),
    (8, rb"WEBP", "a WebP", "WEBP"),
    (0, rb"P[1-7][\d\s]", "a PPM", None),
    (4, rb"ftypavi", "an AVIF", None),
    (4, rb"ftyp", "an HEIF or a clip", None),
)
CLIPS = (  # what clips begin with, and in which container
    (rb".{4}ftyp(iso|mp4|avc|qt  |M4|3g|dash|cmf|MSNV|XAVC|f4v|F4V|mmp4|ND)", "MP4 or QuickTime"),
    (rb".{4}(moov|mdat|wide|free|skip|pnot)", "QuickTime"),
    (rb"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (rb"RIFF.{4}AVI |RIFF.{4}AVIX", "AVI"),
    (rb"\x47.{187}\x47|.{4}\x47.{191}\x47", "MPEG transport stream"),
    (rb"\x00\x00\x01[\xba\xb3]", "MPEG"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
    (rb"FLV\x01", "Flash"),
    (rb"OggS", "Ogg"),
    (rb"\x06\x0e\x2b\x34\x02\x05\x01\x01", "MXF"),
    (rb"YUV4MPEG2 ", "YUV4MPEG2"),
    (rb"nut/multimedia container", "NUT"),
)
# DPX by the byte order of its header. FFmpeg decodes it, but keeps neither what the header says nor its encoding.
DPX = (b"SDPX", b"XPDS")


def described(data: bytes) -> str | None:
    """What a file calls itself by its first bytes, of which one may be wrong, and why it is not read.

    Returns:
        None if it is like none of the formats of the web.
    """
    if data.startswith(DPX):
        return "it is DPX, which is not read here: make OpenEXR or TIFF of 16 bits of it first, as ffmpeg does"
    for place, sign, what, reader in SIGNS:
        if re.match(sign, data[place : place + 16], re.DOTALL):
            reason = reader and _reason(data, reader)
            if reason:
                return f"begins like {what}, but is damaged ({reason}): try another copy of it"
            return f"begins like {what}, but is damaged or of an unknown kind"
    return None


def container_of(data: bytes) -> str | None:
    """The container of a clip, by its first bytes; None if they are not those of a clip."""
    return next((container for sign, container in CLIPS if re.match(sign, data[:256], re.DOTALL)), None)


def _reason(data: bytes, reader: str) -> str | None:
    """Why Pillow does not open a file; None if it says nothing."""
    try:
        Image.OPEN[reader][0](BytesIO(data), "").close()
    except (SyntaxError, OSError, ValueError, *UNNOTICED_DAMAGE) as error:
        reason = one_line(error)
    else:
        return None
    if reason.startswith("not a"):
        return "its first bytes are wrong"
    if "index out of range" in reason or "unpack" in reason:
        return "it ends in its header"
    return reason
