"""Make the pictures of this folder: python docs/images/make.py (needs the `test` extra).

`noisy.jpg` is scikit-image's coffee cup, seen by the simulated camera in bad light; `before-after.png` shows a part of
it at 100 %, as it is and as `denoise image` leaves it.
"""

from pathlib import Path

import numpy as np
from skimage import data, transform

from denoise_cli import batch, load_denoiser
from denoise_cli.imaging.camera import photograph
from denoise_cli.io import image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo

HERE = Path(__file__).parent
SHOT, READ = 6e-3, 1e-2
CROP = np.s_[60:316, 90:490]


def noisy_photo() -> Photo:
    """The example: 600 x 400, shot noise of a phone at high ISO."""
    scene = transform.rescale(data.coffee() / 255, 2, order=3, channel_axis=-1).clip(0, 1)
    seen = photograph(scene, SHOT, READ, np.random.default_rng(0))
    return Photo(np.rint(seen * 255).astype(np.uint8), None, "jpeg", Metadata(dpi=(72.0, 72.0)))


def main() -> None:
    """Write both pictures."""
    image.write(HERE / "noisy.jpg", noisy_photo(), "jpeg", "denoise simulated camera", overwrite=True)
    noisy = image.read(HERE / "noisy.jpg")
    clean, _ = batch.denoise_photo(noisy, load_denoiser(), batch.Settings("mallenet-s"))
    beside = np.hstack([noisy.pixels[CROP], clean.pixels[CROP]])
    image.write(HERE / "before-after.png", Photo(beside, None, "png"), "png", "denoise", overwrite=True)


if __name__ == "__main__":
    main()
