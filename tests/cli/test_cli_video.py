import json
import shutil
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image

from denoise_cli.io import segments
from denoise_cli.models import manifest
from denoise_cli.pipeline import clips, photo
from tests.cli.conftest import Cli, run_in_room
from tests.conftest import FFmpeg

CLIPS = ".mp4, .m4v, .mov, .mkv, .webm"


@pytest.fixture
def clip(tmp_path: Path, ffmpeg: FFmpeg) -> Path:
    return ffmpeg.make(tmp_path / "clip.mp4", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac")


def test_a_clip_is_denoised_beside_the_source(cli: Cli, clip: Path, ffmpeg: FFmpeg) -> None:
    done = cli("video", clip, "--model", "mallenet-s", "--noise", "10", "--json")
    assert done.code == 0, done.err
    target = clip.with_name("clip-denoised.mp4")
    record = json.loads(done.out)
    assert record["target"] == str(target)
    assert record["frames"] == 8
    assert record["sigma"] == 10
    assert f"{clip} -> {target}: mallenet-s, noise 10.0, 8 frames" in done.err
    assert ffmpeg.times(target) == ffmpeg.times(clip)


def test_raw_frames_go_to_standard_output(tmp_path: Path, clip: Path, ffmpeg: FFmpeg) -> None:
    command = [
        sys.executable,
        "-m",
        "denoise_cli",
        "video",
        clip,
        "--model",
        "mallenet-s",
        "--strength",
        "0",
        "-o",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    raw = tmp_path / "raw.y4m"
    raw.write_bytes(done.stdout)
    assert [checksum for _, checksum in ffmpeg.frames(raw)] == [checksum for _, checksum in ffmpeg.frames(clip)]


def test_a_dry_run_writes_nothing(cli: Cli, clip: Path) -> None:
    done = cli("video", clip, "--dry-run", "--codec", "hevc")
    target = clip.with_name("clip-denoised.mp4")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{clip} -> {target}: mallenet-vr, libx265 in yuv420p\n"
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]
    assert cli("video", clip, "-o", clip, "--dry-run").code == 1


def test_a_dry_run_prints_json_if_asked(cli: Cli, clip: Path) -> None:
    done = cli("video", clip, "--dry-run", "--json")
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    assert {name: value for name, value in record.items() if value is not None} == {
        "source": str(clip),
        "target": str(clip.with_name("clip-denoised.mp4")),
        "model": "mallenet-vr",
        "codec": "libx264",
        "pixel_format": "yuv420p",
        "notes": [],
        "complete": True,
        "skipped": False,
        "dry_run": True,
    }


def test_a_preview(cli: Cli, clip: Path, ffmpeg: FFmpeg) -> None:
    target = clip.with_name("preview.mkv")
    done = cli("video", clip, "-o", target, "--model", "mallenet-s", "--start", "0.08", "--duration", "0.12", "-q")
    assert (done.code, done.err) == (0, "")
    assert ffmpeg.times(target) == [Fraction(0), Fraction(1, 25), Fraction(2, 25)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--frames", "4"), "--frames 4: expected an odd number from 1 to 9"),
        (("--frames", "11"), "--frames 11: expected an odd number from 1 to 9"),
        (
            ("--codec", "h266"),
            "--codec h266: no such encoder is available: choose one of "
            + ", ".join(["libx264", "libx264rgb", "libx265", "libsvtav1", "libvpx-vp9"]),
        ),
        (
            ("--pix-fmt", "yuv411p"),
            "--pix-fmt yuv411p: not supported in mp4 by libx264 or libx264rgb or libx265 or libsvtav1 or libvpx-vp9",
        ),
        (("--crf", "99"), "--crf 99: libx264 takes 0 to 51"),
        (("--codec", "vp9", "--crf", "70"), "--crf 70: libvpx-vp9 takes 0 to 63"),
        (("--codec", "av1", "--preset", "slow"), "--preset slow: libsvtav1 takes " + ", ".join(map(str, range(14)))),
        (("--codec", "h264", "-o", "-"), "--codec h264: y4m on standard output is not compressed: try --format mkv"),
        (("--codec", "mpeg4", "--crf", "-1"), "--crf -1: mpeg4 has no such setting"),
        (("--codec", "mpeg4", "--crf", "20"), "--crf 20: mpeg4 has no such setting"),
        (("--noise", "loud"), "--noise loud: expected auto or a number from 0 to 255"),
        (
            ("-o", "clip.txt"),
            "clip.txt: expected a name that ends in .mp4, .m4v, .mov, .mkv, .webm, .gif, .png, .apng, .webp, .avif",
        ),
        (("-o", "-", "--resume"), "--resume: nothing is kept of what goes to standard output: name an output file"),
        (("-o", "-", "--format", "avi"), "--format avi: choose one of y4m, nut, mkv"),
        (("-o", "a.mkv", "--format", "mkv"), "--format mkv: only for standard output: leave it out, or write -o -"),
        (("-o", "-", "--json"), "--json and -o - both write to standard output: choose one"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    cli: Cli, clip: Path, options: tuple[str, ...], complaint: str
) -> None:
    done = cli("video", clip, "--model", "mallenet-s", *options)
    assert (done.code, done.err) == (2, f"denoise: {complaint}\n")
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]


def test_damage_is_said_in_one_line(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.write_bytes(b"nothing of the kind")
    done = cli("video", source, "--model", "mallenet-s")
    assert done.code == 1
    assert done.err == f"denoise: {source}: cannot be read as video (Invalid data found when processing input)\n"


WITH_SHORT_SEGMENTS = """
from denoise_cli.__main__ import main
from denoise_cli.io import kept_frames, segments

segments.SEGMENT_LENGTH = 20
kept_frames.INTERVAL = 0.0
main()
"""


@pytest.mark.parametrize("left", ["00000.part", "00000.005.kept", "00001.003.kept"])
def test_killed_and_resumed_it_gives_the_same_frames(
    left: str, cli: Cli, tmp_path: Path, ffmpeg: FFmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_LENGTH", 20)
    source = ffmpeg.make(tmp_path / "clip.mp4", "-vf", "noise=alls=20:allf=t", frames=50)
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    options = ("--model", "mallenet-s", "--noise", "20", "-q")
    assert cli("video", source, "-o", whole, *options).code == 0
    running = subprocess.Popen([sys.executable, "-c", WITH_SHORT_SEGMENTS, "video", source, "-o", target, *options])
    part = tmp_path / "out.mp4.parts" / left
    for _ in range(6000):
        if part.exists():
            break
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert not target.exists()
    done = cli("video", source, "-o", target, *options, "--resume", "--json")
    assert done.code == 0
    assert json.loads(done.out)["made"] < 50
    assert target.read_bytes() == whole.read_bytes()


PARTS_KEPT = "the parts that are finished are kept in {}: continue this clip with --resume"
INTERRUPTED = [(KeyboardInterrupt(), 130), (SystemExit(143), 143)]


@pytest.mark.parametrize(("signal", "code"), INTERRUPTED)
@pytest.mark.parametrize(
    ("options", "left", "kept"),
    [
        ((), "out.mp4.parts", PARTS_KEPT),
        (
            ("--resume",),
            "out.mp4.parts",
            PARTS_KEPT,
        ),
        (
            ("--skip-done",),
            "out.mp4.parts",
            "the parts that are finished are kept in {}: continue with the same command",
        ),
        ((), None, "nothing is kept of it: begin again"),
    ],
)
def test_an_interrupted_run_says_what_is_kept_and_how_to_go_on(
    cli: Cli,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    signal: BaseException,
    code: int,
    options: tuple[str, ...],
    left: str | None,
    kept: str,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        if left is not None:
            (tmp_path / left).mkdir()
        raise signal

    monkeypatch.setattr(clips.clip, "run", interrupted)
    done = cli("video", clip, "-o", tmp_path / "out.mp4", "--model", "mallenet-s", *options)
    assert done.code == code
    assert done.err.splitlines()[0] == f"{clip}: interrupted: {kept.format(tmp_path / str(left))}"


@pytest.mark.parametrize(("signal", "code"), INTERRUPTED)
def test_an_interrupted_sequence_says_what_is_kept(
    cli: Cli, pictures: Path, monkeypatch: pytest.MonkeyPatch, signal: BaseException, code: int
) -> None:
    write, written = photo.write, list[object]()

    def interrupted(*arguments: Any) -> Any:
        if written:
            raise signal
        written.append(write(*arguments))
        return written[0]

    monkeypatch.setattr(photo, "write", interrupted)
    options = "--model", "mallenet-s", "--strength", "0"
    done, folder = cli("video", pictures, *options), f"{pictures}-denoised"
    assert done.code == code
    kept = f"the frames that are finished are kept in {folder}: continue with --resume"
    assert f"{pictures}: interrupted: {kept}\n" in done.err
    assert [path.name for path in Path(folder).glob("*.png")] == ["0001.png"]


@pytest.mark.parametrize(
    ("frames", "noise", "model", "sigma"),
    [
        (5, "auto", "mallenet-vr", None),
        (1, "auto", "mallenet-r", None),
        (5, "10", "mallenet-v", 10),
        (3, "10", "mallenet-v", 10),
        (1, "10", "mallenet-s", 10),
    ],
)
def test_the_usual_model_is_one_for_as_many_frames_that_finds_the_noise_or_is_told(
    cli: Cli, clip: Path, frames: int, noise: str, model: str, sigma: float | None
) -> None:
    done = cli("video", clip, "--frames", frames, "--noise", noise, "--json", "-q")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert (record["model"], record["sigma"]) == (model, sigma)


def test_a_clip_that_is_cut_off_is_written_and_ends_with_1(cli: Cli, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-vf", "noise=alls=50:allf=t", "-g", "5", frames=40)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    done = cli("video", source, "--model", "mallenet-s", "--strength", "0", "--json")
    assert done.code == 1
    assert "of 1.6 s: it may be cut off" in done.err
    record = json.loads(done.out)
    assert record["complete"] is False
    assert Path(record["target"]).is_file()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three numbered pictures."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 4):
        Image.effect_noise((64, 48), 20).convert("RGB").save(folder / f"{number:04d}.png")
    return folder


def test_a_sequence_becomes_one_with_a_line_for_what_is_missing(cli: Cli, pictures: Path) -> None:
    (pictures / "0002.png").write_bytes(b"no picture")
    done = cli("video", pictures / "%04d.png", "--model", "mallenet-s", "--strength", "0", "--json")
    target = pictures.with_name("frames-denoised")
    record = json.loads(done.out)
    assert (done.code, record["complete"], record["frames"], record["target"]) == (1, False, 2, str(target))
    assert f"denoise: {pictures}/0002.png: not a photo of a known format, or damaged at its start\n" in done.err
    assert "left out 1 that could not be denoised: frame 2" in done.err
    assert sorted(path.name for path in target.iterdir()) == ["0001.png", "0003.png"]


def test_a_dry_run_of_a_sequence_writes_nothing(cli: Cli, pictures: Path) -> None:
    done = cli("video", pictures, "-o", pictures / "out_%d.jpg", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{pictures} -> {pictures}/out_%d.jpg: mallenet-vr, 3 frames\n"
    assert len(list(pictures.iterdir())) == 3


@pytest.mark.parametrize(("rate", "expected"), [("24", "24"), ("23.976", "24000/1001"), ("30000/1001", "30000/1001")])
def test_a_sequence_becomes_a_clip_of_any_rate(
    cli: Cli, pictures: Path, ffmpeg: FFmpeg, rate: str, expected: str
) -> None:
    target = pictures.with_name("out.mp4")
    done = cli("video", pictures, "-o", target, "--fps", rate, "--model", "mallenet-s", "--strength", "0", "-q")
    assert (done.code, done.err) == (0, "")
    assert ffmpeg.times(target) == [place / Fraction(expected) for place in range(3)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--crf", "20"), "--crf: only for clips: leave it out, or name one as the output, such as clip.mp4"),
        (("--start", "1"), "--start: only for clips: leave it out, or name one as the output, such as clip.mp4"),
        (("--fps", "24"), "--fps: only for clips: leave it out, or name one as the output, such as clip.mp4"),
        (("-o", "clip.mp4", "--fps", "0"), "--fps 0: expected a rate above 0, at most 1000, such as 24000/1001"),
        (("-o", "clip.mp4", "--resume"), "--resume: a clip of numbered pictures is made in one go: leave out --resume"),
        (("-o", "a.tif"), "a.tif: expected a number for each frame, such as a_%04d.tif"),
        (("--noise", "0.003,0.002"), "--noise 0.003,0.002: expected auto or a number from 0 to 255"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_of_a_sequence_is_said_in_one_line(
    cli: Cli, pictures: Path, options: tuple[str, ...], complaint: str
) -> None:
    done = cli("video", pictures, "--model", "mallenet-s", *options)
    assert (done.code, done.err) == (2, f"denoise: {complaint}\n")
    assert [path.name for path in pictures.parent.iterdir()] == ["frames"]


@pytest.mark.parametrize("target", [(), ("-o", "clip.mp4")])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--skip-done",), "--skip-done"),
        (("--name", "{stem}{ext}"), "--name"),
        (("--in-place", "--backup", ".old"), "--in-place"),
        (("--backup", ".old"), "--backup"),
        (("--shard", "1/2"), "--shard"),
    ],
)  # fmt: skip
def test_what_is_for_many_files_is_refused_for_a_sequence(
    cli: Cli, pictures: Path, target: tuple[str, ...], options: tuple[str, ...], named: str
) -> None:
    done = cli("video", pictures, *target, *options)
    assert (done.code, done.err) == (2, f"denoise: {named}: not for a sequence of numbered pictures: leave it out\n")
    assert [path.name for path in pictures.parent.iterdir()] == ["frames"]


ALONE = "a sequence of numbered pictures: denoise it on its own, with no other input and without --recursive"


@pytest.mark.parametrize("sequence", ["frames", "frames/%04d.png"])
def test_a_sequence_among_clips_is_named_and_the_clips_are_denoised(
    cli: Cli, pictures: Path, clip: Path, sequence: str
) -> None:
    named = pictures.parent / sequence
    done = cli("video", named, clip, "-o", f"{pictures.parent}/out/", "--model", "mallenet-s", "--json", "-q")
    assert (done.code, done.err) == (1, f"denoise: {named}: {ALONE}\n")
    *records, total = [json.loads(line) for line in done.out.splitlines()]
    assert [record["error"] for record in records] == [f"{named}: {ALONE}", None]
    assert (total["done"], total["failed"]) == (1, 1)


def test_below_a_folder_sequences_are_named_and_pictures_of_a_folder_of_clips_are_not(
    cli: Cli, pictures: Path, clip: Path
) -> None:
    folder = pictures.parent
    shutil.copytree(pictures, folder / "frames-denoised")
    mixed = folder / "mixed"
    mixed.mkdir()
    shutil.copy(clip, mixed)
    for number in range(2):
        shutil.copy(pictures / "0001.png", mixed / f"IMG_{number}.png")
    shutil.copytree(mixed, folder / "single", ignore=shutil.ignore_patterns("*_1.png", "*.m*"))
    done = cli("video", folder, "-r", "-o", f"{folder}/out/", "--dry-run", "--json")
    *records, _ = [json.loads(line) for line in done.out.splitlines()]
    assert [Path(record["source"]).name for record in records if record["error"]] == ["frames"]
    assert {Path(record["source"]).name for record in records if not record["error"]} == {clip.name}
    alone = cli("video", mixed, "--dry-run")
    assert (alone.code, alone.out.partition(" -> ")[0]) == (0, str(mixed / clip.name))


def test_a_folder_with_neither_clips_nor_frames_is_refused(cli: Cli, tmp_path: Path) -> None:
    done = cli("video", tmp_path)
    assert (done.code, done.err) == (
        2,
        f"denoise: {tmp_path}: holds no clips and no numbered pictures: add --recursive to search subfolders\n",
    )


def photographed(folder: Path, *names: str, **tags: object) -> Path:
    """A folder of pictures with tags of EXIF, by their names in Pillow."""
    folder.mkdir()
    exif = Image.Exif()
    for name, value in tags.items():
        tag = ExifTags.Base[name].value
        (exif.get_ifd(ExifTags.IFD.Exif) if name == "ExposureTime" else exif)[tag] = value
    for name in names:
        Image.effect_noise((64, 48), 20).convert("RGB").save(folder / name, exif=exif)
    return folder


@pytest.mark.parametrize("names", [("beach2.jpg", "cat.jpg"), ("dog1.png", "cat2.png")])
def test_a_folder_of_photos_is_no_clip(cli: Cli, tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = photographed(tmp_path / "photos", *names)
    done = cli("video", folder)
    complaint = (
        f"holds no clips, and no pictures whose names differ only in a number: for photos, use  denoise image {folder}"
    )
    assert (done.code, done.err) == (2, f"denoise: {folder}: {complaint}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("extension", "tags"),
    [
        ("jpg", {"ExposureTime": 0.01}),
        ("png", {"Make": "A maker", "ExposureTime": 0.01}),
        ("tif", {"Model": "A camera"}),
        ("webp", {"Model": "A camera"}),
    ],
)
def test_numbered_photos_of_a_camera_are_frames_if_a_pattern_says_so(
    cli: Cli, tmp_path: Path, extension: str, tags: dict[str, object]
) -> None:
    folder = photographed(tmp_path / "photos", *(f"IMG_{number:04d}.{extension}" for number in range(3)), **tags)
    pattern = folder / f"IMG_%04d.{extension}"
    (folder / f"IMG_0000.{extension}").write_bytes(b"nothing")
    done = cli("video", folder, "--dry-run")
    complaint = f"holds numbered photos of a camera, not frames of a clip: use  denoise image {folder}"
    frames = f"if they are frames, as in a time-lapse, use  denoise video {pattern}"
    assert (done.code, done.err) == (2, f"denoise: {folder}: {complaint}; {frames}\n")
    (folder / f"IMG_0000.{extension}").unlink()
    done = cli("video", pattern, "--dry-run")
    assert (done.code, done.out) == (0, f"{pattern} -> {folder}-denoised: mallenet-vr, 2 frames\n")


def test_photos_of_a_camera_below_a_folder_of_clips_are_left_alone(cli: Cli, clip: Path, tmp_path: Path) -> None:
    photographed(clip.parent / "photos", "IMG_1.jpg", "IMG_2.jpg", Model="A camera")
    done = cli("video", tmp_path, "-r", "-o", f"{tmp_path}/out/", "--dry-run", "--json")
    *records, total = [json.loads(line) for line in done.out.splitlines()]
    assert [(Path(record["source"]), record["error"]) for record in records] == [(clip, None)]
    assert (done.code, total["done"]) == (0, 1)


def test_a_single_frame_is_one_frame(cli: Cli, pictures: Path) -> None:
    pattern = pictures / "%03d.png"
    (pictures / "0001.png").rename(pictures / "001.png")
    assert cli("video", pattern, "--dry-run").out == f"{pattern} -> {pictures}-denoised: mallenet-vr, 1 frame\n"


def test_a_frame_is_no_clip_and_a_line_says_how_to_name_all_of_them(cli: Cli, pictures: Path) -> None:
    files, pattern = sorted(pictures.iterdir()), pictures / "%04d.png"
    complaint = (
        "is a still picture, not a clip: use denoise image; if it is a frame of a clip, name its folder or the pattern"
    )
    for named in (files[:1], files):
        done = cli("video", *named, "-o", f"{pictures}-out/deep/", "--model", "mallenet-s", "-q")
        lines = "".join(f"denoise: {file}: {complaint} {pattern}\n" for file in named)
        assert (done.code, done.err) == (1, lines)
    assert [path.name for path in pictures.parent.iterdir()] == ["frames"]


def test_a_name_that_the_shell_was_to_expand_is_explained(cli: Cli, pictures: Path) -> None:
    done = cli("video", pictures / "*.png", "--model", "mallenet-s")
    frames = f"frames of a clip are meant by their folder, {pictures}, or by a pattern, such as {pictures}/%04d.png"
    reason = f"matches no file; if the name is in quotes, leave them out, so that the shell finds files; {frames}"
    assert (done.code, done.err) == (1, f"denoise: {pictures}/*.png: {reason}\n")


def test_a_clip_becomes_numbered_pictures(cli: Cli, clip: Path, tmp_path: Path) -> None:
    pattern = tmp_path / "out" / "%02d.png"
    planned = cli("video", clip, "-o", pattern, "--model", "mallenet-s", "--dry-run")
    assert (planned.code, planned.out) == (
        0,
        (
            f"{clip} -> {pattern}: mallenet-s, png in rgb8; track 1 (audio, aac) is left out: pictures have none; "
            "pictures state no times: 25 frames per second\n"
        ),
    )
    assert not (tmp_path / "out").exists()
    done = cli("video", clip, "-o", pattern, "--model", "mallenet-s", "--noise", "10", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    assert (record["frames"], record["codec"], record["target"]) == (8, "png", str(pattern))
    assert sorted(path.name for path in pattern.parent.iterdir()) == [f"{number:02d}.png" for number in range(1, 9)]
    again = cli("video", clip, "-o", pattern, "--model", "mallenet-s")
    assert (again.code, again.err) == (
        1,
        f"denoise: {tmp_path}/out/01.png: already exists: use --overwrite to replace it\n",
    )


@pytest.mark.parametrize(
    "options", [("--codec", "h264"), ("--resume",), ("--skip-done",), ("--compare", "a.mp4"), ("--touch",)]
)
def test_options_for_clips_are_refused_for_pictures(cli: Cli, clip: Path, options: tuple[str, ...]) -> None:
    done = cli("video", clip, "-o", "out/%04d.png", *options)
    assert (done.code, done.err) == (
        2,
        f"denoise: {options[0]}: not for numbered pictures from a clip: leave it out\n",
    )


def test_only_numbered_pictures_have_no_rate_of_their_own(cli: Cli, clip: Path) -> None:
    assert cli("video", clip, "--fps", "24").err == (
        "denoise: --fps 24: only for numbered pictures: a clip keeps its own times: leave it out\n"
    )


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (("--compare", "{0}"), 1, "{0}: is the input itself: choose another name for the output"),
        (
            ("--compare", "both.gif"),
            2,
            "--compare both.gif: expected a name that ends in .mp4, .m4v, .mov, .mkv, .webm",
        ),
        (("--grain-table", "{0}"), 1, "{0}: is the input itself: choose another name for the output"),
        (("--grain-table", "missing/a.tbl"), 1, "missing/a.tbl: there is no folder missing: create it first"),
        (("--grain-table", "-"), 2, "--grain-table -: name a file other than the other outputs"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(
    cli: Cli, clip: Path, options: tuple[str, ...], code: int, complaint: str
) -> None:
    for more in (("--dry-run",), ("--model", "mallenet-s")):
        done = cli("video", clip, *(option.format(clip) for option in options), *more)
        assert (done.code, done.err) == (code, f"denoise: {complaint.format(clip)}\n")


def test_weights_are_not_replaced_by_a_grain_table(cli: Cli, clip: Path, tmp_path: Path) -> None:
    weights = manifest.weights_folder() / "mallenet-v.safetensors"
    file = tmp_path / "own.safetensors"
    file.write_bytes(weights.read_bytes())
    for more in ((), ("--dry-run",)):
        done = cli("video", clip, "--model", file, "--noise", "5", "--grain-table", file, "--overwrite", *more)
        assert (done.code, done.err) == (
            1,
            f"denoise: {file}: is the input itself: choose another name for the output\n",
        )
    assert file.read_bytes() == weights.read_bytes()


def test_a_dry_run_refuses_grain_that_av1_does_not_have(cli: Cli, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    source = ffmpeg.make(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp")
    done = cli("video", source, "--grain-table", tmp_path / "a.tbl", "--dry-run")
    assert done.code == 2
    assert "AV1 has film grain for grey, 4:2:0, 4:2:2 and 4:4:4, not for gbrp" in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
@pytest.mark.parametrize("megabytes", [380, 400, 410, 500])
def test_a_clip_with_too_little_memory_ends_with_a_line(megabytes: int, tmp_path: Path, ffmpeg: FFmpeg) -> None:
    clip, target = ffmpeg.make(tmp_path / "in.mkv", frames=4), tmp_path / "out.mkv"
    done = run_in_room(megabytes, "video", clip, "-o", target, "-q")
    assert done.code == 1
    assert done.err.startswith("denoise: ")
    assert "memory" in done.err
    assert done.err.count("\n") == 1
    assert not target.exists()
