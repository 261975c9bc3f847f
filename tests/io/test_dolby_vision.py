"""Dolby Vision and HDR10+: what goes is named before the work begins, and no false colours are written."""

import re
from pathlib import Path

import pytest

from denoise_cli.errors import UnreadableFile
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.boxes import box
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import DOLBY_VISION
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

UNCHANGED = Settings("mallenet-s", strength=0)
RPU_UNIT = 62  # type of the unit of HEVC that holds the metadata of a frame
PATH_TO_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1")


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


@pytest.fixture
def hevc(tmp_path: Path, ffmpeg: FFmpeg) -> Path:
    """A clip in HEVC, whose boxes about tracks are behind its frames, so that they can grow."""
    return ffmpeg.make(
        tmp_path / "plain.mp4", "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1",
        "-x265-params", "log-level=error:bframes=0", frames=2,
    )  # fmt: skip


def with_configuration(data: bytes, profile: int, compatibility: int) -> bytes:
    """An MP4 that says that it is Dolby Vision, by Dolby's specification of streams in ISO media files."""
    flags = profile << 9 | 1 << 3 | 1 << 2 | 1  # level 1; there are metadata and a base layer
    body = bytes([1, 0]) + flags.to_bytes(2, "big") + bytes([compatibility << 4]) + bytes(19)
    new = box(b"dvcC" if profile < 8 else b"dvvC", body)
    made = bytearray(data)
    for name in PATH_TO_ENTRY:
        place = made.index(name, made.index(b"moov")) - 4
        made[place : place + 4] = (int.from_bytes(made[place : place + 4], "big") + len(new)).to_bytes(4, "big")
    before = made.index(b"hvcC") - 4
    end = before + int.from_bytes(made[before : before + 4], "big")
    made[end:end] = new
    return bytes(made)


def rpu(profile: int, full_range: int) -> bytes:
    """A unit of HEVC with the metadata of a frame (ETSI GS CCM 001), which change nothing about its samples."""
    fields: list[tuple[int, int | None]] = [  # values and bits; no number of bits for Exp-Golomb codes
        (25, 8), (2, 6), (18, 11), (profile, 4), (0, 4), (1, 1),
        (0, 1), (0, 2), (23, None), (1, 2), (full_range, 1), (2, None), (2, None), (4, None), (0, 1), (0, 3), (0, 1),
        (1, 1), (0, 1), (0, 1), (0, None), (0, None), (0, None),
        *[(0, None), (0, 10), (1023, 10)] * 3, (0, None), (0, None),
        *[(0, None), (0, None), (0, 1), (0, None), (0, 23), (1, None), (0, 23)] * 3,
    ]  # fmt: skip
    bits = "".join(
        f"{value:0{width}b}" if width is not None else "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"
        for value, width in fields
    )
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big") + bytes(4) + b"\x80"
    return b"\0\0\1" + bytes([RPU_UNIT << 1, 1]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)


def with_metadata(clip: Path, unit: bytes, ffmpeg: FFmpeg) -> Path:
    """The clip as a stream without a container, each picture followed by its metadata."""
    plain = clip.with_name("plain.hevc")
    ffmpeg("-i", clip, "-c", "copy", plain)
    first, *units = plain.read_bytes().split(b"\0\0\1")
    is_picture = [(one[0] >> 1) & 63 < 32 for one in units]
    stream = b"".join(b"\0\0\1" + one + unit * made for made, one in zip(is_picture, units, strict=True))
    made = clip.with_name("a.hevc")
    made.write_bytes(first + stream)
    return made


@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_a_clip_that_says_so_and_can_be_shown_without_it_loses_it_with_a_line(
    target: str, hevc: Path, tmp_path: Path, denoise: Denoiser
) -> None:
    (tmp_path / "a.mp4").write_bytes(with_configuration(hevc.read_bytes(), 8, 1))
    said: list[str] = []
    result = pipeline.run(tmp_path / "a.mp4", tmp_path / target, denoise, UNCHANGED, notice=said.append)
    assert any(line.startswith("Dolby Vision (profile 8) is lost: libx265 in m") for line in said)
    assert set(said) <= set(result.notes)
    with Reader(tmp_path / target) as made:
        assert "DOVI" not in made.description


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_colours_that_mean_nothing_without_it_are_refused(
    extension: str, hevc: Path, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(with_configuration(hevc.read_bytes(), 5, 0))
    if extension == ".mkv":
        ffmpeg("-i", source, "-c", "copy", "-strict", "-2", source.with_suffix(".mkv"))
    for write in (pipeline.preview, lambda *files: pipeline.run(*files[:2], denoise, files[2])):
        with pytest.raises(UnreadableFile, match=r"Dolby Vision \(profile 5\), whose colours would be false"):
            write(source.with_suffix(extension), tmp_path / "b.mp4", UNCHANGED)
    assert not list(tmp_path.glob("b.mp4*"))


def test_metadata_of_frames_say_so_where_the_file_does_not(
    hevc: Path, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = with_metadata(hevc, rpu(1, 0), ffmpeg)
    with Reader(source) as clip:
        assert next(clip.frames()).side_data == [DOLBY_VISION]
    for target in ("b.mkv", "b.webp"):
        notes = pipeline.run(source, tmp_path / target, denoise, UNCHANGED).notes
        assert any(note.startswith("Dolby Vision is lost: ") for note in notes)
    source = with_metadata(hevc, rpu(0, 1), ffmpeg)
    with pytest.raises(UnreadableFile, match=r"Dolby Vision \(profile 5\)"):
        pipeline.run(source, tmp_path / "c.mkv", denoise, UNCHANGED)


def test_of_other_clips_nothing_is_said(hevc: Path, tmp_path: Path, denoise: Denoiser) -> None:
    assert pipeline.run(hevc, tmp_path / "b.mp4", denoise, UNCHANGED).notes == ()
