"""Pixels and colours of clips: samples and tags of what is encoded agree, as the ffmpeg program shows it."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from denoise_cli.errors import UsageError
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import transparency
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline import clip_pictures
from denoise_cli.pipeline.clip import Settings
from tests.conftest import FFmpeg

# Patches of colours that BT.601 and BT.709 tell apart, as FFmpeg draws them.
PATCHES = "format=gbrp,geq=r='40+40*mod(floor(X/16),5)':g='200-40*mod(floor(Y/16),4)':b='60+30*mod(floor(X/32),4)'"
TRANSLUCENT = f"{PATCHES},format=gbrap,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='64+X'"
OPAQUE_LOSS = 4 / 255  # mean, of smooth patches after a lossy codec
SHOWINFO = re.compile(r"fmt:(\S+) cl:(\S+) .* i:(\S)")


@pytest.fixture(scope="module")
def denoise() -> Denoiser:
    return load_denoiser("mallenet-s", "cpu", "fp32")


def run(source: Path, target: Path, denoise: Denoiser, codec: str | None = None, **settings: object) -> tuple[str, ...]:
    """The notes about a clip in which nothing is denoised."""
    chosen = Settings("mallenet-s", strength=0, codec=codec, **settings)  # type: ignore[arg-type]
    return pipeline.run(source, target, denoise, chosen).notes


def rgb(ffmpeg: FFmpeg, path: Path, size: tuple[int, int], matrix: str = "") -> np.ndarray:
    """The first frame in RGB, (H, W, 3), [0, 1]; without a `matrix`, by the tags of the file."""
    asked = f":in_color_matrix={matrix}" if matrix else ""
    scale = f"scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp{asked},format=rgb48le"
    command = [ffmpeg.program, "-v", "error", "-i", path, "-vf", scale, "-frames:v", "1", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, "<u2").reshape(size[1], size[0], 3) / 65535


def shown(ffmpeg: FFmpeg, path: Path) -> tuple[str, str, str, str]:
    """Pixel format, chroma location, fields and matrix of the first frame, by FFmpeg's words."""
    command = [ffmpeg.program, "-hide_banner", "-i", path, "-vf", "showinfo", "-frames:v", "1", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    layout, matrix = SHOWINFO.search(told), re.search(r"color_space:(\S+)", told)
    assert layout is not None
    assert matrix is not None
    return layout[1], layout[2], layout[3], matrix[1]


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", ("-c:v", "libx264rgb")), ("a.mov", ("-c:v", "png")), ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "bgr0"))],
)
def test_rgb_stays_rgb(name: str, options: tuple[str, ...], tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / name, "-vf", PATCHES, *options, frames=2)
    target = tmp_path / f"b{source.suffix}"
    assert run(source, target, denoise) == ()
    assert shown(ffmpeg, target)[0] == shown(ffmpeg, source)[0]
    assert abs(rgb(ffmpeg, target, (96, 64)) - rgb(ffmpeg, source, (96, 64))).mean() < OPAQUE_LOSS


@pytest.mark.parametrize(("size", "matrix"), [((96, 64), "BT.601"), ((1280, 720), "BT.709")])
@pytest.mark.parametrize("codec", ["prores", "av1"])
def test_rgb_becomes_the_ycbcr_that_its_tags_state(
    size: tuple[int, int], matrix: str, codec: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    shape = f"{size[0]}x{size[1]}"
    source = ffmpeg.make(tmp_path / "a.mov", "-vf", PATCHES, "-c:v", "png", "-pix_fmt", "rgb24", size=shape, frames=1)
    target = tmp_path / ("b.mov" if codec == "prores" else "b.mp4")
    notes = run(source, target, denoise, codec)
    assert f"RGB becomes YCbCr ({matrix})" in notes[0]
    tag = {"BT.601": "smpte170m", "BT.709": "bt709"}[matrix]
    assert shown(ffmpeg, target)[3] == tag
    truth = rgb(ffmpeg, source, size)
    assert abs(rgb(ffmpeg, target, size) - truth).mean() < OPAQUE_LOSS
    other = {"BT.601": "bt709", "BT.709": "smpte170m"}[matrix]
    assert abs(rgb(ffmpeg, target, size, other) - truth).mean() > 2 * abs(rgb(ffmpeg, target, size) - truth).mean()


@pytest.mark.parametrize("codec", ["prores", "h264", "av1", "vp9", "ffv1"])
def test_full_range_is_stated_or_converted(codec: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    grey = ("-vf", "geq=lum=25:cb=128:cr=128,setparams=range=pc", "-pix_fmt", "yuv420p", "-color_range", "pc")
    source = ffmpeg.make(tmp_path / "a.mp4", *grey, "-c:v", "libx264", "-crf", "1", frames=2)
    target = tmp_path / ("b.mov" if codec == "prores" else "b.mkv")
    notes = run(source, target, denoise, codec)
    assert any("full range becomes limited" in note for note in notes) == (codec == "prores")
    assert rgb(ffmpeg, source, (96, 64)).mean() * 255 == pytest.approx(25, abs=1)
    assert rgb(ffmpeg, target, (96, 64)).mean() * 255 == pytest.approx(25, abs=1)


def alpha_of(path: Path) -> np.ndarray:
    """The transparency of the first frame, [0, 1]."""
    with Reader(path) as clip:
        picture = next(clip.frames()).picture
    rgba = picture.reformat(format="rgba64le")
    rows = np.frombuffer(rgba.planes[0], np.uint16).reshape(picture.height, -1)
    return rows[:, : 4 * picture.width].reshape(picture.height, -1, 4)[..., 3] / 65535


@pytest.mark.parametrize(
    ("source", "options", "target", "tolerance"),
    [
        ("a.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "5", "-b:v", "0"), "b.webm", 3 / 255),
        ("a.webm", ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-b:v", "5M", "-auto-alt-ref", "0"), "b.mkv", 3 / 255),
        ("a.mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"), "b.mov", 1e-3),
        ("a.mov", ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"), "b.webm", 3 / 255),
        ("a.mov", ("-c:v", "png", "-pix_fmt", "rgba"), "b.mov", 0),
        ("a.mov", ("-c:v", "qtrle", "-pix_fmt", "argb"), "b.mov", 0),
        ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuva444p10le"), "b.mkv", 0),
        ("a.mkv", ("-c:v", "utvideo", "-pix_fmt", "gbrap"), "b.mkv", 0),
        ("a.apng", ("-c:v", "apng", "-pix_fmt", "rgba"), "b.mov", 0),
    ],
)
def test_transparency_passes(
    source: str,
    options: tuple[str, ...],
    target: str,
    tolerance: float,
    tmp_path: Path,
    ffmpeg: FFmpeg,
    denoise: Denoiser,
) -> None:
    before = ffmpeg.make(tmp_path / source, "-vf", TRANSLUCENT, *options, frames=2)
    notes = run(before, tmp_path / target, denoise)
    assert not any("transparency" in note for note in notes)
    truth = alpha_of(before)
    assert np.ptp(truth) > 0.3
    assert abs(alpha_of(tmp_path / target) - truth).max() <= tolerance + 1e-9


def test_transparency_of_vp9_has_no_place_in_mp4(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(
        tmp_path / "a.webm", "-vf", TRANSLUCENT, "-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", frames=2
    )
    notes = run(source, tmp_path / "b.mp4", denoise)
    assert notes == ("transparency is lost: libvpx-vp9 in mp4 does not hold it",)


OPAQUE: dict[str, tuple[str, tuple[str, ...]]] = {
    "gif": ("a.gif", ()),
    "apng": ("a.apng", ("-c:v", "apng", "-pix_fmt", "rgba")),
    "webp": ("a.webp", ("-c:v", "libwebp_anim", "-pix_fmt", "bgra", "-lossless", "1")),
    "vp9": ("a.webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p")),
    "png": ("a.mov", ("-c:v", "png", "-pix_fmt", "rgba")),
    "palette": ("a.mov", ("-c:v", "png", "-pix_fmt", "pal8")),
    "deep": ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuva422p10le")),
}


@pytest.mark.parametrize("kind", OPAQUE)
def test_nothing_is_said_of_transparency_where_all_is_opaque(
    kind: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    name, options = OPAQUE[kind]
    source = ffmpeg.make(tmp_path / name, *options, frames=3)
    with Reader(source) as clip:
        assert clip.has_alpha
    assert not any("transparen" in note for note in run(source, tmp_path / "b.mp4", denoise))
    assert not any("transparen" in note for note in run(source, tmp_path / "b.gif", denoise))


def fading(path: Path, ffmpeg: FFmpeg, frames: int = 4) -> Path:
    """An animation whose last frame shows something through."""
    return ffmpeg.make(path, "-vf", "format=rgba,colorchannelmixer=aa=0.5:enable='gte(n,3)'", frames=frames)


def test_transparency_that_comes_later_is_told(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = fading(tmp_path / "a.apng", ffmpeg)
    assert "transparency is lost: libx264rgb in mp4 does not hold it" in run(source, tmp_path / "b.mp4", denoise)
    assert any("partial transparency" in note for note in run(source, tmp_path / "b.gif", denoise))


def test_of_long_clips_the_line_is_about_what_may_come(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transparency, "MOST_PIXELS", 96 * 64 * 2)
    notes = run(fading(tmp_path / "a.apng", ffmpeg), tmp_path / "b.mp4", denoise)
    assert any(
        note.startswith("the first frame is opaque; if later ones are transparent, that is lost") for note in notes
    )


@pytest.mark.parametrize("siting", ["topleft", "center", "left"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_chroma_stays_where_it_is(siting: str, codec: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mp4", "-vf", f"format=yuv420p,setparams=chroma_location={siting}",
        "-chroma_sample_location", siting, frames=2,
    )  # fmt: skip
    assert run(source, tmp_path / "b.mp4", denoise, codec) == ()
    assert shown(ffmpeg, tmp_path / "b.mp4")[1] in (siting, {"left": "unspecified"}.get(siting))


def test_a_chroma_location_without_a_place_is_told(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mp4", "-vf", "format=yuv420p,setparams=chroma_location=topleft",
        "-chroma_sample_location", "topleft", frames=2,
    )  # fmt: skip
    notes = run(source, tmp_path / "b.mov", denoise, "prores")
    assert notes == ("the chroma location (topleft) is lost: prores_ks in mov cannot hold it",)


INTERLACED = "interlaced: --deinterlace combines fields into whole frames"


@pytest.mark.parametrize(
    ("order", "target", "codec"),
    [("bff", "b.mp4", None), ("bff", "b.mkv", "ffv1"), ("bff", "b.mov", "prores"), ("tff", "b.mp4", None)],
)
def test_the_order_of_fields_stays(
    order: str, target: str, codec: str | None, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mp4", "-vf", f"setfield={order}", "-c:v", "libx264", "-pix_fmt", "yuv420p",
        "-flags", "+ilme+ildct", "-x264-params", f"{order}=1", frames=3,
    )  # fmt: skip
    assert run(source, tmp_path / target, denoise, codec) == (INTERLACED,)
    assert shown(ffmpeg, tmp_path / target)[2] == {"bff": "B", "tff": "T"}[order]


def test_interlaced_ffv1_stays_lossless(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", "setfield=bff", "-c:v", "ffv1", "-pix_fmt", "yuv422p", frames=3)
    assert run(source, tmp_path / "b.mkv", denoise) == (INTERLACED,)
    assert ffmpeg.frames(tmp_path / "b.mkv") == ffmpeg.frames(source)
    assert shown(ffmpeg, tmp_path / "b.mkv")[2] == "B"


def test_fields_without_a_mark_are_told(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", "setfield=tff", "-c:v", "ffv1", "-pix_fmt", "yuv420p", frames=2)
    notes = run(source, tmp_path / "b.mp4", denoise, "hevc")
    assert "fields are no longer marked as such: libx265 in mp4 cannot do that: try --deinterlace" in notes


def test_raw_frames_state_fields_and_the_aspect_of_pixels(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mkv", "-vf", "setfield=bff,setsar=16/11", "-c:v", "ffv1", "-pix_fmt", "yuv420p", frames=2
    )
    run(source, pipeline.STDOUT, denoise)
    written = capfdbinary.readouterr().out
    head = written.partition(b"\n")[0].split()
    assert b"Ib" in head
    assert b"A16:11" in head
    (tmp_path / "b.y4m").write_bytes(written)
    assert [one for _, one in ffmpeg.frames(tmp_path / "b.y4m")] == [one for _, one in ffmpeg.frames(source)]


@pytest.mark.parametrize(
    ("form", "codec", "note"),
    [
        ("yuv444p", "av1", "4:4:4 becomes 4:2:0: encoded as yuv420p"),
        ("yuv420p12le", "av1", "12 bits become 10: encoded as yuv420p10le"),
        ("yuv420p12le", None, "12 bits become 10: encoded as yuv420p10le"),
    ],
)
def test_what_an_encoder_cannot_hold_is_told(
    form: str, codec: str | None, note: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", form, frames=2)
    assert note in run(source, tmp_path / "b.mp4", denoise, codec)


def test_an_encoder_that_keeps_more_takes_the_place_of_the_clips_own(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-c:v", "libaom-av1", "-cpu-used", "8", "-pix_fmt", "yuv444p", frames=2)
    assert run(source, tmp_path / "b.mkv", denoise) == ("av1 becomes h264: libsvtav1 would lose more of this clip",)
    assert shown(ffmpeg, tmp_path / "b.mkv")[0] == "yuv444p"


@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_nvenc", "h264_qsv"])
def test_encoders_that_need_other_hardware_are_refused_in_a_line(
    codec: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", frames=2)
    refused = None
    try:
        run(source, tmp_path / "b.mp4", denoise, codec)
    except UsageError as error:
        refused = str(error)
    if refused is None:  # there is such hardware
        assert (tmp_path / "b.mp4").exists()
    else:
        assert refused.startswith(f"{codec} in mp4 cannot encode this clip (")
        assert "\n" not in refused
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4"]


def test_a_clip_too_narrow_for_a_comparison_is_refused(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    narrow = ("-vf", "format=yuv444p,crop=3:16")
    source = ffmpeg.make(tmp_path / "a.mkv", *narrow, "-c:v", "ffv1", "-pix_fmt", "yuv444p", frames=2)
    settings = Settings("mallenet-s", strength=0)
    with pytest.raises(UsageError, match=r"both\.mkv: the clip is 3 pixels wide: expected at least 4$"):
        pipeline.run(source, tmp_path / "b.mkv", denoise, settings, compare=tmp_path / "both.mkv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv"]


@pytest.mark.parametrize(
    ("profile", "form", "size"),
    [
        ("dnxhr_hq", "yuv422p", "320x180"),
        ("dnxhr_hqx", "yuv422p10le", "320x180"),
        ("dnxhr_444", "gbrp10le", "320x180"),
        ("dnxhd", "yuv422p", "1920x1080"),
    ],
)
def test_dnxhd_and_dnxhr_stay(
    profile: str, form: str, size: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    rate = ("-b:v", "120M") if profile == "dnxhd" else ()
    source = ffmpeg.make(
        tmp_path / "a.mov", "-vf", PATCHES, "-c:v", "dnxhd", "-profile:v", profile, "-pix_fmt", form, *rate,
        size=size, frames=1,
    )  # fmt: skip
    assert run(source, tmp_path / "b.mov", denoise) == ()
    width, height = map(int, size.split("x"))
    before, after = (rgb(ffmpeg, path, (width, height)) for path in (source, tmp_path / "b.mov"))
    assert abs(before - after).mean() < OPAQUE_LOSS
    assert shown(ffmpeg, tmp_path / "b.mov")[0] == form


def test_a_clip_too_small_for_dnxhr_is_refused_with_the_encoders_reason(
    tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = ffmpeg.make(tmp_path / "a.mp4", frames=1)
    with pytest.raises(UsageError, match="Input dimensions too small, input must be at least 256x120"):
        run(source, tmp_path / "b.mov", denoise, "dnxhr")


def test_ycbcr_gets_the_only_matrix_that_an_encoder_states(tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser) -> None:
    source = ffmpeg.make(
        tmp_path / "a.mov", "-vf", f"{PATCHES},scale=out_color_matrix=bt601,format=yuv422p10le",
        "-c:v", "prores_ks", "-colorspace", "smpte170m", size="320x180", frames=1,
    )  # fmt: skip
    assert run(source, tmp_path / "b.mov", denoise, "dnxhr") == ("BT.601 becomes BT.709: dnxhd cannot state others",)
    size = (320, 180)
    assert abs(rgb(ffmpeg, tmp_path / "b.mov", size) - rgb(ffmpeg, source, size)).mean() < OPAQUE_LOSS


def hdr10_plus() -> bytes:
    """An SEI message of HEVC with the dynamic metadata of SMPTE 2094-40: one window, a mean and three peaks."""
    fields = [(1, 2), (400, 27), (0, 1), (5000, 17), (4000, 17), (3000, 17), (2000, 17), (0, 4), (7, 10), (0, 3)]
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    body = bytes([0xB5, 0, 0x3C, 0, 1, 4, 1]) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    payload = bytes([4, len(body)]) + body + b"\x80"
    escaped = re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)  # a start code must not occur in it
    return b"\0\0\1" + bytes([39 << 1, 1]) + escaped


def with_hdr10_plus(folder: Path, ffmpeg: FFmpeg, frames: int, begin: int = 0) -> Path:
    """A clip with dynamic metadata in its frames from number `begin` on."""
    ffmpeg.make(
        folder / "plain.hevc", "-c:v", "libx265", "-pix_fmt", "yuv420p10le",
        "-x265-params", "log-level=error:bframes=0", frames=frames,
    )  # fmt: skip
    first, *units = (folder / "plain.hevc").read_bytes().split(b"\0\0\1")
    stream, pictures = first, 0
    for unit in units:
        is_picture = (unit[0] >> 1) & 63 < 32
        stream += hdr10_plus() * (is_picture and pictures >= begin) + b"\0\0\1" + unit
        pictures += is_picture
    (folder / "a.hevc").write_bytes(stream)
    ffmpeg("-r", "25", "-i", folder / "a.hevc", "-c", "copy", folder / "a.mp4")
    return folder / "a.mp4"


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_dynamic_hdr_that_an_encoder_does_not_write_is_told(
    codec: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    notes = run(with_hdr10_plus(tmp_path, ffmpeg, 2), tmp_path / "b.mp4", denoise, codec)
    encoder = {"hevc": "libx265", "av1": "libsvtav1"}[codec]
    assert f"HDR10+ is lost: {encoder} in mp4 cannot hold it" in notes


@pytest.mark.parametrize("target", ["b.mp4", "b.webp", "b/%d.png"])
def test_dynamic_hdr_that_begins_after_the_first_frame_is_told_too(
    target: str, tmp_path: Path, ffmpeg: FFmpeg, denoise: Denoiser
) -> None:
    source = with_hdr10_plus(tmp_path, ffmpeg, 8, begin=5)
    with Reader(source) as clip:
        assert [frame.side_data for frame in clip.frames()] == [[]] * 5 + [["HDR10+"]] * 3
    settings = Settings("mallenet-s", strength=0)
    write = clip_pictures.run if "%" in target else pipeline.run
    notes = write(source, tmp_path / target, denoise, settings).notes
    assert [note for note in notes if "HDR" in note] == ["HDR10+, which begins at 0.2 s, is lost"]
