"""Awkward files through the whole command: a correct result, or one clear line, and nothing in between."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from denoise_cli.io.image import is_photo

Cli = Callable[..., Any]


def displayed_size(path: Path) -> tuple[int, int] | None:
    """The size that an independent reader finds; None if it cannot open the file."""
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).size
    except (OSError, ValueError, SyntaxError):
        return None


def sweep(cli: Cli, files: list[Path], out: Path) -> dict[str, dict[str, Any]]:
    """Denoise each file into a numbered PNG, and check what must hold for all."""
    records = {}
    for number, path in enumerate(files):
        target = out / f"{number}.png"
        done = cli("image", path, "-o", target, "--json", "-q", "--model", "mallenet-s")
        (record,) = map(json.loads, done.out.splitlines())
        if record["error"] is None:
            assert (done.code, done.err) == (0, ""), path
            assert displayed_size(target) == (record["width"], record["height"]), path
        else:
            assert done.code == 1, path
            assert done.err == f"denoise: {record['error']}\n", path
            unheld = f"{target}: cannot be encoded as png: it "  # cannot hold inks, several pages and the like
            assert record["error"].startswith((f"{path}: ", unheld)), path
            assert not target.exists()
        records[path.name] = record
    assert [path for path in out.iterdir() if path.suffix != ".png"] == []
    return records


@pytest.fixture(autouse=True)
def _loaded_once(shared_denoisers: object) -> None:
    """Every file goes through the same denoiser."""


@pytest.fixture
def awkward(tmp_path: Path, astronaut: np.ndarray) -> list[Path]:
    """Small files of our own making, the good ones with `good` in their name."""
    folder = tmp_path / "awkward"
    folder.mkdir()
    small = Image.fromarray(astronaut[:40, 200:270])
    small.convert("1").save(folder / "good-1bit.png")
    small.convert("P").save(folder / "good-palette.png")
    small.convert("L").save(folder / "good-grey.jpg")
    small.convert("LA").save(folder / "good-grey-alpha.png")
    small.crop((0, 0, 1, 1)).save(folder / "good-one-pixel.bmp")
    small.save(folder / "good-picture.webp")
    small.save(folder / "good-wrong-name.png", "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    small.save(folder / "good-turned.jpg", exif=exif)
    deep = np.asarray(small).astype(np.uint16) * 257
    (folder / "good-16bit.png").write_bytes(imagecodecs.png_encode(deep))
    tifffile.imwrite(folder / "good-float.tif", deep.astype(np.float32) / 65535, photometric="rgb")
    tifffile.imwrite(folder / "good-grey16.tif", deep[..., 0])

    small.convert("CMYK").save(folder / "bad-cmyk.jpg")
    small.save(folder / "bad-animation.webp", save_all=True, append_images=[small.rotate(90)])
    small.save(folder / "good-palette.gif")
    small.save(folder / "bad-animation.gif", save_all=True, append_images=[small.rotate(90)])
    small.save(folder / "whole.jpg")
    (folder / "bad-truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    (folder / "whole.jpg").unlink()
    (folder / "bad-empty.png").write_bytes(b"")
    (folder / "bad-text.tif").write_text("II*\0 this is not a photo")
    (folder / "bad-raw.dng").write_bytes(b"II*\0" + bytes(200))
    return sorted(folder.iterdir())


def test_awkward_files_are_denoised_or_refused_in_one_line(cli: Cli, awkward: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    records = sweep(cli, awkward, out)
    refused = {name for name, record in records.items() if record["error"]}
    assert refused == {path.name for path in awkward if path.name.startswith("bad")}
    for path in awkward:
        if path.name.startswith("good"):
            assert displayed_size(path) in (None, (records[path.name]["width"], records[path.name]["height"]))


@pytest.mark.parametrize("folder", ["awkward/images", "raw"])
def test_the_shared_awkward_files_are_denoised_or_refused_in_one_line(
    cli: Cli, shared_data: Path, tmp_path: Path, folder: str
) -> None:
    has_exr = importlib.util.find_spec("OpenEXR") is not None
    files = sorted(path for path in (shared_data / folder).iterdir() if has_exr or path.suffix != ".exr")
    records = sweep(cli, files, tmp_path)
    done = [path for path in files if records[path.name]["error"] is None]
    assert len(done) > (2 if folder == "raw" else 60)
    for path in done:
        if folder != "raw" and is_photo(path):
            seen = displayed_size(path)
            assert seen in (None, (records[path.name]["width"], records[path.name]["height"])), path
