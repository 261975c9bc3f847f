"""Make the pictures of this folder: python docs/images/make.py (needs the `test` extra and Chromium).

`noisy.jpg` is scikit-image's coffee cup, taken by the simulated camera in bad light; `before-after.png` shows a crop of
it at 100 %, before and after `denoise image`. `noisy.dng` is scikit-image's astronaut, taken by a simulated sensor at
high ISO; `raw-before-after.png` shows a crop of that file and of the one that `denoise image -o clean.dng` writes, both
developed by LibRaw. `report.png` shows the page that `denoise image noisy.jpg --report` writes.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from skimage import data

from denoise_cli import load_denoiser
from denoise_cli.imaging.camera import MARGIN, Camera
from denoise_cli.imaging.noise import ShotRead
from denoise_cli.imaging.sensor import Sensor
from denoise_cli.io import dng, image
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.page import Page
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.developed import denoise_developed
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.model_choice import AUTO, PHOTO_MODEL
from denoise_cli.pipeline.report import Report
from denoise_cli.pipeline.task import Settings

HERE = Path(__file__).parent
PHONE = Camera(shot=6e-3, read=1e-2, tone=0.5, luma_grain=0.5, chroma_grain=1.0, sharpening=0.5)
CROP = np.s_[60:316, 90:490]
SENSOR = Sensor(ShotRead(3e-3, 5e-3))
FACE = np.s_[0:256, 120:420]


def simulate_photo() -> Photo:
    """A phone's photo at high ISO, 600 x 400."""
    scene = np.pad(data.coffee() / 255, [(MARGIN, MARGIN)] * 2 + [(0, 0)], mode="reflect")
    noisy, _ = PHONE.take(scene, np.random.default_rng(0))
    return Photo(np.rint(noisy * 255).astype(np.uint8), None, "jpeg", Metadata(dpi=(72.0, 72.0)))


def simulate_dng() -> bytes:
    """A RAW file at high ISO, 512 x 512."""
    scene = data.astronaut()
    numbers = SENSOR.capture(scene / 255, np.random.default_rng(0))
    return dng.encode(
        dng.simulated_dng(SENSOR, numbers, np.ascontiguousarray(scene[::4, ::4])), "denoise simulated sensor"
    )


def photograph_report(target: Path) -> None:
    """The page of a run with one photo, as Chromium shows it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium is installed")
    settings = Settings(AUTO)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = Path(shutil.copy(HERE / "noisy.jpg", folder))
        page = folder / "report.html"
        os.chdir(folder)  # so that the page shows the name alone
        job = Job(Path(source.name), Path("clean.jpg"), "jpeg")
        with Report(Page(page, "Denoised: 1 photo", overwrite=False, embeds=False), print) as report:
            report.add_photo(photo.run(job, load_denoiser, settings), settings)
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # which root cannot have
        options = ["--headless", "--hide-scrollbars", "--window-size=864,920", f"--screenshot={target}"]
        subprocess.run([chromium, *sandbox, *options, page.as_uri()], check=True, stderr=subprocess.DEVNULL)
        os.chdir(HERE)


def main() -> None:
    """Write all pictures."""
    image.write(HERE / "noisy.jpg", simulate_photo(), "jpeg", "denoise simulated camera", overwrite=True)
    noisy = image.read(HERE / "noisy.jpg")
    clean, _ = denoise_developed(noisy, load_denoiser(PHOTO_MODEL))
    pair = np.hstack([noisy.pixels[CROP], clean.pixels[CROP]])
    image.write(HERE / "before-after.png", Photo(pair, None, "png"), "png", "denoise", overwrite=True)
    (HERE / "noisy.dng").write_bytes(simulate_dng())
    with tempfile.TemporaryDirectory() as folder:
        job = Job(HERE / "noisy.dng", Path(folder, "clean.dng"), "dng")
        photo.run(job, load_denoiser, Settings(AUTO))
        crops = [image.read(path).as_rgb8()[FACE] for path in (job.source, job.target)]
    image.write(HERE / "raw-before-after.png", Photo(np.hstack(crops), None, "png"), "png", "denoise", overwrite=True)
    photograph_report(HERE / "report.png")


if __name__ == "__main__":
    main()
