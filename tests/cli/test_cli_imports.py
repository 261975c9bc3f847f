"""The libraries that take long to import: which of them each command imports, once a compiled network is kept."""

import os
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import FFmpeg

ROOT = Path(__file__).parents[2]
PHOTO, RAW = ROOT / "docs" / "images" / "noisy.jpg", ROOT / "docs" / "images" / "noisy.dng"
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere, PyTorch is asked for the number of threads and for bfloat16"
)

HEAVY = {"av", "cv2", "matplotlib", "onnx", "openvino", "rawpy", "safetensors", "scipy", "skimage", "torch"}
SCRIPT = """
import sys
from denoise_cli.__main__ import main

sys.argv = ["denoise", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("imported:", *sorted({name.partition(".")[0] for name, module in sys.modules.items() if module is not None}))
"""


def imported_by(*arguments: object, **environment: str) -> set[str]:
    """The heavy libraries that a command imports in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.splitlines()[-1].removeprefix("imported: ").split())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corner of the example photo, as a JPEG and a PNG."""
    folder = tmp_path_factory.mktemp("small")
    with Image.open(PHOTO) as photo:
        corner = photo.crop((0, 0, 100, 70))
    corner.save(folder / "small.jpg")
    corner.save(folder / "small.png")
    return folder


@pytest.mark.parametrize("name", ["small.jpg", "small.png"])
def test_photos_need_openvino_alone(small: Path, tmp_path: Path, name: str) -> None:
    command = "image", small / name, "-o", tmp_path / name, "--device", "cpu"
    imported_by(*command)  # compiles the network
    assert imported_by(*command, "--overwrite") == {"openvino"}
    assert imported_by(*command, "--overwrite", "--report", tmp_path / "report.html") == {"openvino"}
    assert imported_by("inspect", small / name) == set()
    assert imported_by("compare", small / name, tmp_path / name, "-o", tmp_path / "comparison.html") == set()
    assert imported_by("image", small / name, "--dry-run") == set()


def run_without_imagecodecs(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.modules['imagecodecs'] = None; from denoise_cli.__main__ import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["small.jpg", "small.png"])
def test_photos_of_8_bits_need_no_imagecodecs(small: Path, tmp_path: Path, name: str) -> None:
    done = run_without_imagecodecs("image", small / name, "-o", tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert run_without_imagecodecs("inspect", small / name).returncode == 0


def test_what_cannot_be_decoded_without_imagecodecs_is_one_line(tmp_path: Path) -> None:
    tiff, negative = tmp_path / "packed.tif", tmp_path / "packed.dng"
    tifffile.imwrite(tiff, np.full((64, 64, 3), 99, np.uint8), compression="zstd")
    imported_by("image", RAW, "-o", negative, "--compression", "jxl")
    for packed in (tiff, negative):
        done = run_without_imagecodecs("image", packed, "-o", tmp_path / "clean.jpg")
        assert done.returncode == 1
        assert done.stderr == (
            f"denoise: {packed}: decoding it needs imagecodecs, which is not installed: run  pip install imagecodecs\n"
        )


@pytest.mark.parametrize("name", ["clean.dng", "clean.tif", "deep.png"])
def test_what_needs_imagecodecs_is_refused_by_name_before_it_is_denoised(tmp_path: Path, name: str) -> None:
    source, target = RAW, tmp_path / name
    if target.suffix != ".dng":
        source = tmp_path / f"source{target.suffix}"
        if target.suffix == ".tif":
            tifffile.imwrite(source, np.full((64, 64, 3), 0.4, np.float32), photometric="rgb")
        else:
            source.write_bytes(imagecodecs.png_encode(np.full((64, 64, 3), 999, np.uint16)))
    done = run_without_imagecodecs("image", source, "-o", target)
    assert done.returncode == 1
    named = source if target.suffix == ".png" else target
    assert done.stderr.startswith(f"denoise: {named}: reading or writing")
    assert done.stderr.endswith("needs imagecodecs, which is not installed: run  pip install imagecodecs\n")
    assert done.stderr.count("\n") == 1
    assert not target.exists()


def test_raw_needs_scipy_and_libraw_as_well(tmp_path: Path) -> None:
    command = "image", RAW, "-o", tmp_path / "developed.tif", "--device", "cpu"
    imported_by(*command)
    assert imported_by(*command, "--overwrite") == {"openvino", "rawpy", "scipy"}
    assert imported_by("inspect", RAW) == {"rawpy", "scipy"}


def test_clips_need_openvino_and_ffmpeg(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    clip = ffmpeg.make(tmp_path / "clip.mp4", "-vf", "noise=alls=20:allf=t", frames=6)
    command = "video", clip, "-o", tmp_path / "clean.mp4", "--device", "cpu"
    imported_by(*command)
    assert imported_by(*command, "--overwrite") == {"av", "openvino"}
    assert imported_by("video", clip, "--dry-run") == {"av"}


def test_pytorch_compiles_what_is_not_kept(small: Path, tmp_path: Path) -> None:
    command = "image", small / "small.png", "-o", tmp_path / "clean.png", "--device", "cpu"
    assert imported_by(*command, XDG_CACHE_HOME=str(tmp_path / "empty")) == {"openvino", "safetensors", "torch"}
