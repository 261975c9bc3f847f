from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise_cli.errors import UnreadableFile, UsageError
from denoise_cli.imaging.transfer import LINEAR, linear_to_srgb
from denoise_cli.io.cicp import SRGB_PRIMARIES, CodePoints
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline.before_after import SIDE, find_places
from denoise_cli.pipeline.comparison import FRAMES, compare_files, compare_photos
from tests.conftest import FFmpeg

Bytes = np.ndarray


def photo(pixels: Bytes) -> Photo:
    return Photo(pixels, None, "png")


def grey(height: int, width: int, value: int = 120) -> Bytes:
    return np.full((height, width, 3), value, np.uint8)


def test_the_places_are_those_with_most_change_and_most_detail() -> None:
    before = grey(1200, 1600)
    before[800:1200, 1200:1600, 1] += 40
    after = grey(1200, 1600)
    for picture in (before, after):
        picture[:400, :400:2] = 30
    found = find_places([before, after])
    assert found.changed == (slice(800, 1200), slice(1200, 1600))
    assert found.detail == (slice(0, 400), slice(0, 400))
    assert found.changes == pytest.approx([40 * 400 * 400 / before.size])


@pytest.mark.parametrize("has_other", [False, True])
def test_the_places_differ_if_there_is_detail_elsewhere(has_other: bool, rng: np.random.Generator) -> None:
    before = np.full((1000, 1100, 3), 120, np.uint8)
    after = before.copy()
    for picture, contrast in ((before, 120), (after, 60)):  # most noise and most detail in one place
        picture[560:960, 640:1040] = rng.integers(120 - contrast, 120 + contrast, (SIDE, SIDE, 3))
        picture[0:400:8, 0:400] = 130 if has_other else 120
    found = find_places([before, after])
    assert found.changed == (slice(560, 960), slice(640, 1040))
    assert found.detail == ((slice(0, 400), slice(0, 400)) if has_other else found.changed)


def test_all_versions_count_for_the_place_with_most_change() -> None:
    versions = [grey(400, 1200) for _ in range(3)]
    versions[1][:, :400] += 3
    versions[2][:, 800:] += 9
    found = find_places(versions)
    assert found.changed[1] == slice(800, 1200)
    assert found.changes == pytest.approx([1, 3])


def test_each_place_is_shown_once_in_all_versions(rng: np.random.Generator) -> None:
    small = [rng.integers(0, 256, (90, 70, 3), np.uint8) for _ in range(3)]
    found = compare_photos([photo(pixels) for pixels in small])
    (view,) = found.views
    assert view.caption == "most change and most detail, at column 0 and row 0"
    for shown, pixels in zip(view.pictures, small, strict=True):
        np.testing.assert_array_equal(shown, pixels)
    np.testing.assert_array_equal(found.thumbnail, small[-1])


def test_places_and_thumbnails_of_large_photos_have_a_bound() -> None:
    found = compare_photos([photo(grey(1500, 4000)), photo(grey(1500, 4000, 125))])
    assert all(shown.shape == (SIDE, SIDE, 3) for view in found.views for shown in view.pictures)
    assert found.thumbnail.shape == (120, 320, 3)
    assert found.changes == (5,)


def test_colours_are_shown_as_srgb(rng: np.random.Generator) -> None:
    """Linear light in 16 bits, as a profile describes it, and as code points do."""
    light = rng.integers(0, 65536, (60, 60, 3), np.uint16)
    codes = CodePoints(SRGB_PRIMARIES, LINEAR)
    expected = np.rint(255 * linear_to_srgb(light / 65535))
    for meta in (Metadata(cicp=codes), Metadata(icc=codes.profile(is_grey=False))):
        linear = Photo(light, None, "png", meta)
        (view,) = compare_photos([linear, linear]).views
        assert np.abs(view.pictures[0] - expected).max() <= 1


def test_versions_of_different_sizes_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, width in zip(paths, (30, 31), strict=True):
        Image.fromarray(grey(20, width)).save(path)
    with pytest.raises(UsageError, match=r"a\.png, .*b\.png: their sizes differ: 30 x 20, 31 x 20 pixels"):
        compare_files(paths)


def test_pages_that_are_not_shown_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    pages = [Image.fromarray(grey(20, 30, value)) for value in (1, 2, 3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert compare_files([path, path]).notes == (f"{path}: shows page 1 of 3",) * 2


def test_clips_are_shown_in_three_frames_and_over_time(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    clip = ffmpeg.make(tmp_path / "clip.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp", frames=9)
    other = ffmpeg.make(tmp_path / "other.mkv", "-vf", "negate", "-c:v", "ffv1", "-pix_fmt", "gbrp", frames=9)
    found = compare_files([clip, other])
    profile, *frames = found.views
    assert profile.caption == "temporal profile: row 32 of the frames 0 to 8, from top to bottom"
    assert [view.caption.partition(":")[0] for view in frames] == ["frame 0", "frame 4", "frame 8"]
    decoded = []
    for each in (clip, other):
        ffmpeg("-i", each, "-f", "rawvideo", "-pix_fmt", "rgb24", tmp_path / "raw")
        decoded.append(np.frombuffer((tmp_path / "raw").read_bytes(), np.uint8).reshape(9, 64, 96, 3))
    for view, number in zip(frames, (0, 4, 8), strict=True):
        for shown, version in zip(view.pictures, decoded, strict=True):
            np.testing.assert_array_equal(shown, version[number])
    line = profile.pictures[0].shape[0] // 9
    for shown, version in zip(profile.pictures, decoded, strict=True):
        np.testing.assert_array_equal(shown[::line], version[:, 32])
    assert found.notes == ()


def test_of_a_long_clip_the_first_frames_are_compared(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    clip = ffmpeg.make(tmp_path / "clip.mkv", "-c:v", "ffv1", size="32x16", frames=FRAMES + 20)
    profile, *frames = compare_files([clip, clip]).views
    assert profile.pictures[0].shape == (FRAMES, 32, 3)
    last = f"frame {FRAMES - 1}"
    assert [view.caption.partition(":")[0] for view in frames] == ["frame 0", f"frame {FRAMES // 2}", last]


def test_a_clip_that_ends_before_the_others_is_named(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    clips = [ffmpeg.make(tmp_path / f"{frames}.mkv", "-c:v", "ffv1", frames=frames) for frames in (6, 4)]
    assert compare_files(clips).notes == (f"compared up to frame 4, at which {clips[1]} ends",)


def test_what_is_neither_a_photo_nor_a_clip_is_named(tmp_path: Path, ffmpeg: FFmpeg) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(grey(20, 30)).save(picture)
    clip = ffmpeg.make(tmp_path / "clip.mkv", "-c:v", "ffv1", frames=2)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(UnreadableFile, match=r"broken\.png: not a photo"):
        compare_files([picture, tmp_path / "broken.png"])
    with pytest.raises(UnreadableFile, match=r"a\.png: is a photo, but .*\.mkv is a clip: compare photos with photos"):
        compare_files([picture, clip])
    with pytest.raises(UnreadableFile, match=r"missing\.png: does not exist"):
        compare_files([tmp_path / "missing.png", picture])
