"""Camera RAW through LibRaw: demosaiced in linear light, then encoded as sRGB."""

from io import BytesIO

import numpy as np

from denoise_cli.errors import MissingDependency
from denoise_cli.imaging.transfer import linear_to_srgb
from denoise_cli.io.metadata import Metadata, exif_of_tiff, upright
from denoise_cli.io.photo import Photo, from_float

EXTENSIONS = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2"
    " .srf .srw .x3f".split()
)


def decode(data: bytes, max_pixels: int) -> Photo:
    """Develop a RAW file: camera white balance, LibRaw's demosaic, sRGB primaries and gamma, 16 bits, upright.

    Raises:
        MissingDependency: rawpy is not installed.
        ValueError: a file that LibRaw cannot read, or too many pixels, in the words that the user reads.
    """
    try:
        import rawpy
    except ImportError as error:
        raise MissingDependency("reading camera RAW", "rawpy") from error
    try:
        with rawpy.imread(BytesIO(data)) as raw:
            sizes = raw.sizes
            if sizes.width * sizes.height > max_pixels:
                raise ValueError(f"{sizes.width} x {sizes.height} pixels, more than --max-pixels allows")
            linear = raw.postprocess(
                use_camera_wb=True, no_auto_bright=True, gamma=(1, 1), output_bps=16, output_color=rawpy.ColorSpace.sRGB
            )
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"LibRaw cannot read it ({reason})") from error

    # 65536 possible values: a table costs less than 36 million powers.
    table = from_float(linear_to_srgb(np.linspace(0, 1, 65536, dtype=np.float32)), np.dtype(np.uint16))
    _, exif = upright(exif_of_tiff(data))  # LibRaw has turned the picture already
    return Photo(pixels=table[linear], alpha=None, kind="raw", metadata=Metadata(exif=exif))
