"""Film grain tables of whole clips."""

import re
from pathlib import Path

import pytest

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

SETTINGS = Settings("mallenet-s", frames=1, sigma=12 / 255)


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory, ffmpeg: FFmpeg) -> Path:
    """A dark scene and a bright one of a second together, with noise."""
    path = tmp_path_factory.mktemp("takes") / "takes.mkv"
    scenes = (
        f"color=0x{grey}:s=128x96:r=8:d=0.5,noise=alls={level}:allf=t"
        for grey, level in (("404040", 12), ("c0c0c0", 30))
    )
    first, second = (("-f", "lavfi", "-i", scene) for scene in scenes)
    joined = ("-filter_complex", "[0][1]concat", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    ffmpeg(*first, *second, *joined, path)
    return path


def test_a_table_has_an_entry_for_each_scene(takes: Path, tmp_path: Path, denoise: Denoiser, ffmpeg: FFmpeg) -> None:
    table, target = tmp_path / "grain.tbl", tmp_path / "out.mkv"
    result = pipeline.run(takes, target, denoise, SETTINGS, grain_table=table)
    assert not any("grain" in note for note in result.notes)
    text = table.read_text()
    assert text.startswith("filmgrn1\nE ")
    # The second scene begins at 0.5 s, midway between its first frame and the frame before.
    entries = re.findall(r"^E (\d+) (\d+) 1 \d+ 1$", text, re.MULTILINE)
    assert entries == [("0", "4375000"), ("4375000", str(2**63 - 1))]
    points = [[int(number) for number in found.split()] for found in re.findall(r"^\tsY \d+ (.*)$", text, re.MULTILINE)]
    assert max(points[0][::2]) < 100 < min(points[1][::2])
    ffmpeg("-i", target, "-c:v", "libaom-av1", "-cpu-used", "8", "-aom-params", f"film-grain-table={table}",
           tmp_path / "again.mkv")  # fmt: skip


def test_a_table_of_a_clip_without_noise_is_empty_and_a_line_says_so(
    takes: Path, tmp_path: Path, denoise: Denoiser
) -> None:
    table = tmp_path / "grain.tbl"
    settings = Settings("mallenet-s", frames=1, sigma=12 / 255, strength=0)
    result = pipeline.run(takes, tmp_path / "out.mkv", denoise, settings, grain_table=table)
    assert table.read_text() == "filmgrn1\n"
    assert f"{table} is empty: there was no grain to remove" in result.notes


def test_a_table_that_cannot_be_written_is_refused_before_the_work(
    takes: Path, tmp_path: Path, denoise: Denoiser, ffmpeg: FFmpeg
) -> None:
    table, target = tmp_path / "grain.tbl", tmp_path / "out.mkv"
    for path in (target, Path("-")):
        with pytest.raises(UsageError, match=r"--grain-table .*: name a file other than the other outputs"):
            pipeline.run(takes, target, denoise, SETTINGS, grain_table=path)
    table.write_text("mine")
    with pytest.raises(UnwritableFile, match="already exists"):
        pipeline.run(takes, target, denoise, SETTINGS, grain_table=table)
    assert table.read_text() == "mine"
    rgb = ffmpeg.make(tmp_path / "rgb.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp10le", frames=1)
    with pytest.raises(UsageError, match="AV1 has film grain for grey, 4:2:0, 4:2:2 and 4:4:4, not for gbrp10le"):
        pipeline.run(rgb, target, denoise, SETTINGS, grain_table=tmp_path / "other.tbl")
    assert not target.exists()
