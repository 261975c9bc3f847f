"""Files that name other files: nothing but the file itself is opened, unless the user allows it."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{name}'\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">
<Period><AdaptationSet contentType="video"><Representation id="0" mimeType="video/mp4" codecs="avc1.42c00a">
<BaseURL>{name}</BaseURL></Representation></AdaptationSet></Period></MPD>
"""
SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=video {port} RTP/AVP 96
a=rtpmap:96 H264/90000
"""


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


@pytest.fixture
def server() -> Iterator[tuple[int, list[object]]]:
    """A port of this machine, and whoever has connected to it."""
    visitors: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            try:
                while True:
                    connection, address = listening.accept()
                    visitors.append(address)
                    connection.close()
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1], visitors
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("text", [M3U8, CONCAT, DASH, SDP], ids=["m3u8", "concat", "dash", "sdp"])
@pytest.mark.parametrize("ending", [".m3u8", ".mp4", ".txt"])
def test_what_names_other_files_is_refused_whatever_its_name(
    text: str, ending: str, tmp_path: Path, ffmpeg: FFmpeg
) -> None:
    ffmpeg.make(tmp_path / "named.ts")
    source = tmp_path / f"list{ending}"
    source.write_text(text.format(name="named.ts", port=5004))
    with pytest.raises(UnreadableFile) as error:
        Reader(source)
    expected = {f"{source}: names other files, as playlists do, which are not opened: add --allow-playlists"}
    if text == DASH or (text == M3U8 and ending != ".m3u8"):  # not in every build; never by another extension
        expected.add(f"{source}: cannot be read as video (Invalid data found when processing input)")
    assert str(error.value) in expected


@pytest.mark.parametrize("text", [M3U8, CONCAT], ids=["m3u8", "concat"])
@pytest.mark.parametrize("is_absolute", [False, True])
def test_allowed_playlists_become_clips(
    text: str, is_absolute: bool, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    named = ffmpeg.make(tmp_path / "named.ts", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac")
    source, target = tmp_path / "list.m3u8", tmp_path / "b.mkv"
    source.write_text(text.format(name=named if is_absolute else named.name))
    settings = Settings("mallenet-s", strength=0, allow_playlists=True)
    assert pipeline.run(source, target, denoise, settings).frames == 8
    assert len(ffmpeg.packets(target, "a:0")) == len(ffmpeg.packets(named, "a:0"))


@pytest.mark.parametrize("text", [M3U8, CONCAT], ids=["m3u8", "concat"])
@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_no_network_is_used(
    text: str, allow: bool, protocol: str, tmp_path: Path, server: tuple[int, list[object]]
) -> None:
    port, visitors = server
    source = tmp_path / "list.m3u8"
    source.write_text(text.format(name=f"{protocol}://127.0.0.1:{port}/a.ts"))
    with pytest.raises(UnreadableFile), Reader(source, allow) as clip:
        next(clip.frames())
    assert visitors == []


def test_an_image_sequence_is_not_opened_by_a_file_named_like_its_pattern(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    ffmpeg.make(tmp_path / "a%d.png", frames=3)
    (tmp_path / "a%d.png").write_bytes((tmp_path / "a1.png").read_bytes())
    with pytest.raises(UnreadableFile, match="is a still picture"):
        Reader(tmp_path / "a%d.png")


def test_a_photo_that_ffmpeg_takes_for_a_sequence_is_no_clip() -> None:
    with pytest.raises(UnreadableFile, match="is a still picture, not a clip: use denoise image"):
        Reader(Path(__file__).parents[2] / "docs" / "images" / "noisy.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.webp", "a.tiff", "a.bmp", "a.avif", "a.heic"])
def test_a_still_picture_is_no_clip(name: str, tmp_path: Path) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.new("RGB", (64, 48), (200, 100, 50)).save(tmp_path / name)
    with pytest.raises(UnreadableFile) as error:
        Reader(tmp_path / name)
    assert str(error.value) == f"{tmp_path / name}: is a still picture, not a clip: use denoise image"
