from io import BytesIO

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from denoise_cli.io.development import developed
from denoise_cli.io.raw import RawFile


@pytest.mark.parametrize("bits", [8, 16])
def test_a_scan_is_shown_as_it_was_scanned(bits: int, astronaut: NDArray[np.uint8]) -> None:
    scan = astronaut[::4, ::4]
    values = scan if bits == 8 else np.rint((scan / 255) ** 2.2 * 65535).astype(np.uint16)
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=">") as writer:
        tags = [(271, 2, 0, "Nikon", True), (272, 2, 0, "LS-5000 ED", True)]
        writer.write(values, photometric="rgb", metadata=None, software="Nikon Scan 4.0", extratags=tags)
    with RawFile(buffer.getvalue(), 10**9) as raw:
        assert raw.notes == (f"a scan, which does not state its gamma: taken to be {2.2 if bits == 8 else 1:g}",)
        pixels = developed(raw).as_float()
    np.testing.assert_allclose(pixels.mean((0, 1)), (scan / 255).mean((0, 1)), atol=0.01)
