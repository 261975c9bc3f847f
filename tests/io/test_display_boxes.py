"""What containers and frames say of how a clip is shown, besides its samples: kept, or named."""

import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.boxes import box
from denoise_cli.io.data_tracks import movie_of
from denoise_cli.io.display_boxes import SPHERICAL_XML, add_display_boxes, display_boxes
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

VERSION = b"\0\0\0\0"
PROJECTION = box(b"prhd", VERSION, struct.pack(">iii", 90 << 16, 0, 0)) + box(b"equi", VERSION, bytes(16))
BOXES = {
    b"st3d": VERSION + b"\x01",  # top and bottom
    b"sv3d": box(b"svhd", VERSION, b"camera\0") + box(b"proj", PROJECTION),
    b"clap": struct.pack(">8I", 80, 1, 48, 1, 0, 1, 0, 1),
    b"uuid": SPHERICAL_XML + b"<rdf:SphericalVideo/>",
}
CAPTIONS = bytes.fromhex("fc942cfc4142fd8080")  # three triplets


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


@pytest.fixture
def immersive(tmp_path: Path, ffmpeg: FFmpeg) -> Path:
    source = ffmpeg.make(tmp_path / "a.mp4", "-f", "lavfi", "-i", "sine", "-map", "1", "-map", "0", "-shortest")
    add_display_boxes(source, 1, BOXES)
    return source


def test_a_movie_header_that_is_compressed_is_no_obstacle(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mov")
    start, movie = movie_of(source)
    packed = box(b"dcom", b"zlib") + box(b"cmvd", struct.pack(">I", len(movie) + 8), zlib.compress(box(b"moov", movie)))
    source.write_bytes(source.read_bytes()[:start] + box(b"moov", box(b"cmov", packed)))
    result = pipeline.run(source, tmp_path / "b.mov", denoise, Settings("mallenet-s", strength=0))
    assert result.complete


@pytest.mark.parametrize("name", ["b.mp4", "b.mov"])
def test_mp4_keeps_its_boxes(name: str, immersive: Path, tmp_path: Path, denoise: Denoiser) -> None:
    target = tmp_path / name
    assert pipeline.run(immersive, target, denoise, Settings("mallenet-s", strength=0)).notes == ()
    assert display_boxes(target, 2) == BOXES


def test_exiftool_reads_them(immersive: Path, tmp_path: Path, denoise: Denoiser) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    target = tmp_path / "b.mp4"
    pipeline.run(immersive, target, denoise, Settings("mallenet-s", strength=0, codec="hevc"))
    said = subprocess.run(["exiftool", "-j", target], capture_output=True, text=True, check=True).stdout
    (tags,) = json.loads(said)
    assert "Warning" not in tags
    assert (tags["Stereoscopic3D"], tags["CleanApertureWidth"]) == ("Stereoscopic Top-Bottom", 80)
    assert tags["PoseYawDegrees"] == 90


def test_matroska_has_no_such_boxes(immersive: Path, tmp_path: Path, denoise: Denoiser) -> None:
    notes = pipeline.run(immersive, tmp_path / "b.mkv", denoise, Settings("mallenet-s", strength=0, codec="vp9")).notes
    lost = (
        "the spherical projection (360\u00b0)",
        "the arrangement of the two views (3D)",
        "the cropping (clean aperture)",
    )
    assert sorted(notes) == sorted(f"{name} is lost: libvpx-vp9 in matroska cannot hold it" for name in lost)


def test_matroska_keeps_its_own_stereo_mode(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source, target = tmp_path / "a.mkv", tmp_path / "b.mkv"
    ffmpeg.make(source, "-c:v", "libvpx-vp9", "-metadata:s:v", "stereo_mode=left_right")
    assert pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0)).notes == ()
    with Reader(target) as clip:
        assert clip.stream.metadata["stereo_mode"] == "left_right"


def captioned(folder: Path, ffmpeg: FFmpeg) -> Path:
    """H.264 whose frames have closed captions, by SEI messages as ATSC A/53 defines them."""
    plain = folder / "plain.h264"
    ffmpeg.make(plain, "-c:v", "libx264", "-bf", "0", "-bsf:v", "h264_metadata=aud=insert,filter_units=remove_types=6")
    data = bytes((3, 0x40 | len(CAPTIONS) // 3, 0xFF)) + CAPTIONS + b"\xff"
    body = bytes.fromhex("b5003147413934") + data
    message = b"\0\0\0\1\x06" + bytes((4, len(body))) + body + b"\x80"
    source = folder / "a.h264"
    source.write_bytes(
        re.sub(rb"(\x00\x00\x00\x01\x09.)", lambda unit: unit[1] + message, plain.read_bytes(), flags=re.S)
    )
    ffmpeg("-r", "25", "-i", source, "-c", "copy", folder / "a.mp4")
    return folder / "a.mp4"


@pytest.mark.parametrize(("codec", "is_kept"), [("h264", True), ("hevc", True), ("vp9", False)])
def test_closed_captions_are_kept_or_named(
    codec: str, is_kept: bool, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source, target = captioned(tmp_path, ffmpeg), tmp_path / "b.mkv"
    notes = pipeline.run(source, target, denoise, Settings("mallenet-s", strength=0, codec=codec)).notes
    with Reader(target) as clip:
        found = {"closed captioning (CEA-608/708)" in frame.side_data for frame in clip.frames()}
    assert found == {is_kept}
    assert notes == (
        () if is_kept else ("closed captioning (CEA-608/708) is lost: libvpx-vp9 in matroska cannot hold it",)
    )
