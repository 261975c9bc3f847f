"""Make the pictures of this folder: python docs/images/make.py (needs the `test` extra).

`noisy.jpg` is scikit-image's coffee cup, seen by the simulated camera in bad light; `before-after.png` shows a part of
it at 100 %, as it is and as `denoise image` leaves it.
"""

from pathlib import Path

import numpy as np
from skimage import data

from denoise_cli import batch, load_denoiser
from denoise_cli.imaging.camera import MARGIN, Camera
from denoise_cli.io import image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo

HERE = Path(__file__).parent
PHONE = Camera(shot=6e-3, read=1e-2, tone=0.5, luma_grain=0.5, chroma_grain=1.0, sharpening=0.5)
CROP = np.s_[60:316, 90:490]


def noisy_photo() -> Photo:
    """The example: 600 x 400, a phone's at high ISO."""
    scene = np.pad(data.coffee() / 255, [(MARGIN, MARGIN)] * 2 + [(0, 0)], mode="reflect")
    seen, _ = PHONE.take(scene, np.random.default_rng(0))
    return Photo(np.rint(seen * 255).astype(np.uint8), None, "jpeg", Metadata(dpi=(72.0, 72.0)))


def main() -> None:
    """Write both pictures."""
    image.write(HERE / "noisy.jpg", noisy_photo(), "jpeg", "denoise simulated camera", overwrite=True)
    noisy = image.read(HERE / "noisy.jpg")
    clean, _ = batch.denoise_photo(noisy, load_denoiser(batch.CAMERAS_MODEL), batch.Settings(batch.CAMERAS_MODEL))
    beside = np.hstack([noisy.pixels[CROP], clean.pixels[CROP]])
    image.write(HERE / "before-after.png", Photo(beside, None, "png"), "png", "denoise", overwrite=True)


if __name__ == "__main__":
    main()
