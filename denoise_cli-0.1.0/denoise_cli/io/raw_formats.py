"""How camera RAW files are recognised: by their extensions, their first bytes, or what a TIFF structure holds."""

from denoise_cli.io.camera_exif import MRW, RAF, RW2
from denoise_cli.io.dng import PHOTOMETRIC
from denoise_cli.io.exif import picture_directories

EXTENSIONS = {
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
}  # fmt: skip
# First bytes of RAW files that are not TIFF structures: Fujifilm, Panasonic, Olympus, Canon, Sigma, Minolta.
SIGNATURES = (RAF, RW2, b"IIRO", b"IIRS", b"MMOR", b"II\x1a\0\0\0HEAPCCDR", b"FOVb", MRW)
COLOUR_FILTER_ARRAY = 32803  # as a value of `PHOTOMETRIC`


def is_tiff_of_camera(data: bytes) -> bool:
    """Whether a TIFF structure is camera RAW, whatever its name: Canon's have a signature, others hold a mosaic."""
    found = (one.number(one.main.get(PHOTOMETRIC)) for one in picture_directories(data))
    return data[8:10] == b"CR" or COLOUR_FILTER_ARRAY in found
