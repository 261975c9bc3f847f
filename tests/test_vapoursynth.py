"""The function for VapourSynth: by vspipe, the frames are those that `denoise video` writes; in any order, the same."""

import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoise_cli.inference.denoiser import load_denoiser
from denoise_cli.io.video import Reader
from denoise_cli.pipeline import clip as pipeline
from denoise_cli.pipeline.clip import Settings

vs: Any = pytest.importorskip("vapoursynth", reason="VapourSynth is not installed; it needs Python 3.12 or later")

W, H, LENGTH, CUT = 96, 64, 14, 6
Planes = list[np.ndarray]


def noisy_clip(
    bits: int = 8, shapes: tuple[tuple[int, int], ...] = ((H, W), (H // 2, W // 2), (H // 2, W // 2))
) -> list[Planes]:
    """Noise of 20 of 255 in each plane of frames that move slowly; from `CUT` on, those of another scene."""
    rng, frames = np.random.default_rng(5), []
    for number in range(LENGTH):
        planes = []
        for rows, columns in shapes:
            y, x = np.mgrid[:rows, :columns]
            scene = 128 + 60 * np.sin(x / 9 + number / 8) if number < CUT else 90 + 50 * np.cos(y / 7 + number / 8)
            values = (scene + rng.normal(0, 20, scene.shape)).clip(16, 235) * 2 ** (bits - 8)
            planes.append(np.rint(values).astype(np.uint8 if bits == 8 else np.uint16))
        frames.append(planes)
    return frames


def as_node(frames: list[Planes], form: int, **props: object) -> Any:
    """A clip of VapourSynth with these planes, which are divided by 255 if it is in floating point."""
    height, width = frames[0][0].shape
    empty = vs.core.std.BlankClip(
        format=form, width=width, height=height, length=len(frames), fpsnum=30000, fpsden=1001, keep=True
    )

    def filled(n: int, f: Any) -> Any:
        frame = f.copy()
        for place, plane in enumerate(frames[n]):
            is_float = frame.format.sample_type == vs.FLOAT
            np.asarray(frame[place])[:] = plane / np.float32(255) if is_float else plane
        for name, value in ({"number": n} | props).items():
            frame.props[name] = value
        return frame

    return empty.std.ModifyFrame(empty, filled)


def planes_of(frame: Any) -> Planes:
    return [np.array(plane) for plane in frame]


@pytest.fixture
def denoise() -> Callable[..., Any]:
    from denoise_cli.vapoursynth import denoise

    return denoise


def y4m(frames: list[Planes]) -> bytes:
    height, width = frames[0][0].shape
    head = f"YUV4MPEG2 W{width} H{height} F30000:1001 Ip A1:1 C420jpeg\n".encode()
    return head + b"".join(b"FRAME\n" + b"".join(plane.tobytes() for plane in planes) for planes in frames)


def samples(stream: bytes, frames: list[Planes]) -> np.ndarray:
    """(frames, samples) of YUV4MPEG2."""
    _, *pictures = stream.split(b"FRAME\n")
    return np.array([np.frombuffer(picture, np.uint8) for picture in pictures])


SCRIPT = """
import numpy as np, vapoursynth as vs
from denoise_cli.vapoursynth import denoise
frames = np.load({frames!r}, allow_pickle=False)
sizes = (({W}, {H}), ({W} // 2, {H} // 2), ({W} // 2, {H} // 2))
empty = vs.core.std.BlankClip(format=vs.YUV420P8, width={W}, height={H}, length=len(frames), fpsnum=30000, fpsden=1001)
def filled(n, f):
    frame, place = f.copy(), 0
    for plane, (width, height) in enumerate(sizes):
        np.asarray(frame[plane])[:] = frames[n, place : place + width * height].reshape(height, width)
        place += width * height
    return frame
clip = empty.std.ModifyFrame(empty, filled)
denoise(clip, {arguments}).set_output()
"""


def test_vspipe_writes_what_the_program_writes(tmp_path: Path) -> None:
    frames = noisy_clip()
    (tmp_path / "a.y4m").write_bytes(y4m(frames))
    settings = Settings("mallenet-v", sigma=20 / 255, codec="ffv1")
    result = pipeline.run(tmp_path / "a.y4m", tmp_path / "b.mkv", load_denoiser("mallenet-v"), settings)
    assert result.frames == LENGTH
    with Reader(tmp_path / "b.mkv") as clip:
        expected = np.array([np.concatenate([p.ravel() for p in frame.planes]) for frame in clip.frames()])
    np.save(tmp_path / "frames.npy", np.array([np.concatenate([p.ravel() for p in planes]) for planes in frames]))
    script = SCRIPT.format(frames=str(tmp_path / "frames.npy"), W=W, H=H, arguments="model='mallenet-v', noise=20")
    (tmp_path / "a.vpy").write_text(script)
    # VapourSynth notes once which Python it belongs to, without which vspipe may not find it.
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    (tmp_path / "config").mkdir()
    subprocess.run([sys.executable, "-m", "vapoursynth", "config"], check=True, capture_output=True, env=environment)
    vspipe = Path(sys.executable).with_name("vspipe")
    for requests in ("1", "8"):
        command = [vspipe, "-r", requests, "-c", "y4m", tmp_path / "a.vpy", tmp_path / "c.y4m"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        stream = (tmp_path / "c.y4m").read_bytes()
        assert b" F30000:1001 " in stream.split(b"\n")[0]
        assert np.array_equal(samples(stream, frames), expected)


def test_frames_are_the_same_in_any_order(denoise: Callable[..., Any]) -> None:
    from denoise_cli import vapoursynth  # which cannot be imported without VapourSynth

    source = as_node(noisy_clip() * 4, vs.YUV420P8)
    in_order = [planes_of(frame) for frame in denoise(source, "mallenet-v", 20).frames()]
    again = denoise(source, "mallenet-v", 20)
    for number in (54, 0, 53, 20, 55, 21, 1):
        assert all(map(np.array_equal, planes_of(again.get_frame(number)), in_order[number]))
    assert len(in_order) > vapoursynth.AHEAD + vs.core.num_threads  # so that it was sought
    assert len(in_order) > vapoursynth.LEAD


@pytest.mark.parametrize(
    ("form", "bits", "shapes"),
    [
        ("RGB24", 8, ((H, W),) * 3),
        ("RGB48", 16, ((H, W),) * 3),
        ("RGBS", 8, ((H, W),) * 3),
        ("RGBH", 8, ((H, W),) * 3),
        ("GRAY8", 8, ((H, W),)),
        ("GRAYS", 8, ((H, W),)),
        ("YUV444P10", 10, ((H, W),) * 3),
        ("YUV410P8", 8, ((H, W), (H // 4, W // 4), (H // 4, W // 4))),
    ],
)
def test_each_format_keeps_its_values_and_properties(
    form: str, bits: int, shapes: tuple[tuple[int, int], ...], denoise: Callable[..., Any]
) -> None:
    frames = noisy_clip(bits, shapes)[:2]
    source = as_node(frames, getattr(vs, form), _Matrix=1)
    clean = denoise(source, "mallenet-s", 20, frames=1)
    assert clean.format.id == source.format.id
    assert (clean.num_frames, clean.fps) == (2, Fraction(30000, 1001))
    before, after = source.get_frame(1), clean.get_frame(1)
    assert dict(after.props) == dict(before.props) | {"number": 1}
    scale = 1 if before.format.sample_type == vs.FLOAT else 255 * 2 ** (bits - 8)
    for old, new in zip(planes_of(before), planes_of(after), strict=True):
        removed = (old.astype(np.float64) - new) / scale
        assert 2 / 255 < removed.std() < 24 / 255
        assert abs(removed.mean()) < 2 / 255
    assert all(map(np.array_equal, planes_of(source.get_frame(1)), planes_of(before)))  # the source's is not changed


def test_half_the_strength_removes_half(denoise: Callable[..., Any]) -> None:
    source = as_node(noisy_clip(8, ((H, W),) * 3)[:1], vs.RGBS)
    before, half, whole = (
        np.array(planes_of(denoise(source, "mallenet-s", 20, share, 1).get_frame(0))) for share in (0, 0.5, 1)
    )
    assert np.abs((before - half) - (before - whole) / 2).max() < 1e-5
    assert np.array_equal(before, np.array(planes_of(source.get_frame(0))))


def test_range_and_matrix_are_those_of_the_properties(denoise: Callable[..., Any]) -> None:
    frames = noisy_clip(8, ((H, W),) * 3)[:1]
    results = [
        planes_of(denoise(as_node(frames, vs.YUV444P8, **props), "mallenet-s", 20, frames=1).get_frame(0))
        for props in ({"_Range": 0, "_Matrix": 6}, {}, {"_Range": 1, "_Matrix": 6}, {"_Range": 1}, {"_Matrix": 1})
    ]
    equal = [[all(map(np.array_equal, one, other)) for other in results] for one in results]
    assert equal == [
        [True, True, False, False, False],
        [True, True, False, False, False],
        [False, False, True, True, False],
        [False, False, True, True, False],
        [False, False, False, False, True],
    ]


@pytest.mark.parametrize(
    ("form", "arguments", "words"),
    [
        ("YUV444PS", {}, r"YUV444PS is not among the formats that it takes: convert it, such as by clip\.resize"),
        ("GRAY32", {}, "Gray32 is not among the formats"),
        ("RGBS", {"frames": 4}, "frames=4: expected an odd number from 1 to 9"),
        ("RGBS", {"noise": 300}, "noise=300: expected a number from 0 to 255"),
        ("RGBS", {"noise": float("nan")}, "noise=nan: expected a number"),
        ("RGBS", {"strength": -1}, "strength=-1: expected a number from 0 to 1"),
        ("RGBS", {"model": "nothing"}, "nothing"),
        ("RGBS", {"model": "mallenet-raw"}, "only for camera RAW"),
        ("RGBS", {"model": "mallenet-vr", "noise": 5}, "finds the level itself"),
        ("RGBS", {"tile": 8}, "tile: expected at least 256"),
    ],
)
def test_what_it_cannot_do_is_said_before_the_work(
    form: str, arguments: dict[str, Any], words: str, denoise: Callable[..., Any]
) -> None:
    clip = vs.core.std.BlankClip(format=getattr(vs, form), width=W, height=H, length=1)
    with pytest.raises(vs.Error, match=words):
        denoise(clip, **arguments)


def test_clips_whose_size_changes_are_refused(denoise: Callable[..., Any]) -> None:
    small, large = (vs.core.std.BlankClip(format=vs.RGB24, width=side, height=side, length=1) for side in (64, 96))
    with pytest.raises(vs.Error, match="the size of the clip changes"):
        denoise(vs.core.std.Splice([small, large], mismatch=True))


def test_after_a_frame_that_cannot_be_had_others_can(denoise: Callable[..., Any]) -> None:
    frames = noisy_clip(8, ((H, W),))[:3]
    failing = [True]
    source = as_node(frames, vs.GRAY8)

    def sometimes(n: int, f: Any) -> Any:
        if n == 1 and failing:
            raise ValueError("lost")
        return f.copy()

    clean = denoise(source.std.ModifyFrame(source, sometimes), "mallenet-s", 20, frames=1)
    with pytest.raises(vs.Error, match="lost"):
        clean.get_frame(1)
    failing.clear()
    assert not np.array_equal(planes_of(clean.get_frame(1))[0], frames[1][0])
