import errno
import gc
import os
import tempfile
import weakref
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from denoise_cli.data.photos import CropSource, find_photos
from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image

Pixels = NDArray[np.uint8]


@pytest.fixture
def save(tmp_path: Path, rng: np.random.Generator) -> "Save":
    return Save(tmp_path, rng)


class Save:
    """Makes photos of random pixels: no two windows of one are equal."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self.folder = folder
        self.rng = rng

    def __call__(self, name: str, height: int, width: int) -> tuple[Path, Pixels]:
        pixels = self.rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path, pixels


def crops(source: CropSource, count: int, patch: int, seed: int = 0) -> list[Pixels]:
    rng = np.random.default_rng(seed)
    return [np.rint(source.draw(rng, patch) * 255).astype(np.uint8) for _ in range(count)]


def source_of(*paths: Path, budget: int = 2 << 30) -> CropSource:
    return CropSource([(path,) for path in paths], budget)


def turned_and_mirrored(pixels: Pixels) -> set[bytes]:
    quarters = [np.rot90(pixels, quarter) for quarter in range(4)]
    return {turned.tobytes() for quarter in quarters for turned in (quarter, quarter[:, ::-1])}


def windows(pixels: Pixels, patch: int) -> set[bytes]:
    H, W = pixels.shape[:2]
    corners = [(y, x) for y in range(H - patch + 1) for x in range(W - patch + 1)]
    return set().union(*(turned_and_mirrored(pixels[y : y + patch, x : x + patch]) for y, x in corners))


def test_photos_are_found_in_folders_of_folders_folder_by_folder(save: Save) -> None:
    for name in ("b/2.png", "b/1.JPG", "b/deep/er/3.webp", "a/4.tiff"):
        save(name, 8, 8)
    (save.folder / "b" / "notes.txt").write_text("no photo")
    found = find_photos([save.folder / "b", save.folder / "a"])
    assert [str(path.relative_to(save.folder)) for path in found] == [
        "b/1.JPG",
        "b/2.png",
        "b/deep/er/3.webp",
        "a/4.tiff",
    ]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile) as error:
        find_photos([tmp_path / "none"])
    assert str(error.value) == f"{tmp_path / 'none'}: no such folder"


def test_a_folder_without_photos_is_named_even_beside_one_with(save: Save) -> None:
    save("full/1.png", 8, 8)
    (save.folder / "empty").mkdir()
    (save.folder / "empty" / "notes.txt").write_text("no photo")
    with pytest.raises(UnreadableFile) as error:
        find_photos([save.folder / "full", save.folder / "empty"])
    assert str(error.value) == f"{save.folder / 'empty'}: holds no photos"


def test_a_folder_that_may_not_be_read_is_named_and_not_left_out(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    save("open/1.png", 8, 8)
    save("open/closed/2.png", 8, 8)
    closed, scandir = save.folder / "open" / "closed", os.scandir

    def refusing(path: str) -> object:
        if Path(path) == closed:  # root may read everything
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UnreadableFile) as error:
        find_photos([save.folder])
    assert str(error.value) == f"{closed}: cannot read: Permission denied"


def test_a_photo_is_not_a_folder(save: Save) -> None:
    path, _ = save("1.png", 8, 8)
    with pytest.raises(UnreadableFile, match="is a file: name its folder"):
        find_photos([path])


def test_no_photos_make_no_source() -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        CropSource([])


@pytest.mark.parametrize("patch", [1, 16, 24])
def test_crops_have_the_asked_shape_and_range(save: Save, rng: np.random.Generator, patch: int) -> None:
    source = source_of(save("1.png", 24, 40)[0], save("2.png", 31, 24)[0])
    for _ in range(5):
        crop = source.draw(rng, patch)
        assert crop.shape == (patch, patch, 3)
        assert crop.dtype == np.float32
        assert crop.min() >= 0
        assert crop.max() <= 1


def test_white_and_black_are_one_and_zero(tmp_path: Path, rng: np.random.Generator) -> None:
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(tmp_path / "white.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "black.png")
    white, black = (source_of(tmp_path / name) for name in ("white.png", "black.png"))
    assert (white.draw(rng, 4) == 1).all()
    assert (black.draw(rng, 4) == 0).all()


def test_every_crop_is_a_window_of_a_photo_and_every_window_is_drawn(save: Save) -> None:
    path, pixels = save("1.png", 6, 5)
    drawn = {crop.tobytes() for crop in crops(source_of(path), 2000, 4)}
    assert drawn == windows(pixels, 4)


def test_every_photo_is_drawn(save: Save) -> None:
    photos = [save(f"{i}.png", 8, 8) for i in range(5)]
    drawn = {crop.tobytes() for crop in crops(source_of(*(path for path, _ in photos)), 100, 8)}
    assert all(drawn & turned_and_mirrored(pixels) for _, pixels in photos)


@pytest.mark.parametrize(("height", "width"), [(5, 7), (7, 40), (40, 3), (1, 1), (15, 16)])
def test_a_photo_smaller_than_the_crop_is_continued_by_reflection(save: Save, height: int, width: int) -> None:
    path, pixels = save("1.png", height, width)
    continued = np.pad(pixels, ((0, max(16 - height, 0)), (0, max(16 - width, 0)), (0, 0)), mode="reflect")
    assert {crop.tobytes() for crop in crops(source_of(path), 20, 16)} <= windows(continued, 16)


def test_the_same_seed_draws_the_same_crops(save: Save) -> None:
    paths = [save(f"{i}.png", 20, 30)[0] for i in range(3)]
    first, again, other = (
        np.stack(crops(source, 8, 16, seed))
        for source, seed in ((source_of(*paths), 1), (source_of(*paths), 1), (source_of(*paths), 2))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """All photos that were decoded, in order."""
    paths: list[Path] = []
    read = image.read
    monkeypatch.setattr(image, "read", lambda path: paths.append(path) or read(path))
    return paths


@pytest.mark.parametrize("held", [0, 1, 3, 4])
def test_what_the_budget_does_not_hold_is_in_files_and_decoded_once_too(
    save: Save, held: int, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(f"{i}.png", 20, 30)[0] for i in range(4)]
    expected = np.stack(crops(source_of(*paths), 40, 16))
    decoded.clear()
    folders: list[Path] = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: folders.append(dir) or make(dir=dir))  # noqa: A006
    scratch = save.folder / "scratch"
    scratch.mkdir()
    source = CropSource([(path,) for path in paths], budget=held * 20 * 30 * 3, scratch=scratch)
    for _ in range(2):
        assert np.array_equal(np.stack(crops(source, 40, 16)), expected)
    assert sorted(decoded) == sorted(paths)
    assert folders == [scratch] * (4 - held)
    assert not list(scratch.iterdir())  # nothing that a kill could leave


def test_where_the_disk_is_full_photos_are_decoded_again(
    save: Save, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    paths = [save(f"{i}.png", 20, 30)[0] for i in range(2)]
    expected = np.stack(crops(source_of(*paths), 10, 16))
    decoded.clear()
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert np.array_equal(np.stack(crops(source_of(*paths, budget=0), 10, 16)), expected)
    assert len(decoded) == 10


# Photos that belong together.


def test_photos_of_a_group_are_cropped_alike(save: Save, rng: np.random.Generator) -> None:
    groups = []
    for name in ("a", "b"):
        noisy, pixels = save(f"noisy/{name}.png", 12, 20)
        clean = save.folder / f"{name}.png"
        Image.fromarray(255 - pixels).save(clean)
        groups.append((noisy, clean))
    source = CropSource(groups)
    for patch in (4, 12, 16):
        drawn = source.draw(rng, patch)
        assert drawn.shape == (patch, patch, 6)
        np.testing.assert_allclose(drawn[..., :3] + drawn[..., 3:], 1, atol=1e-6)


def test_photos_of_a_group_that_differ_in_size_are_skipped(save: Save, rng: np.random.Generator) -> None:
    uneven = (save("a.png", 12, 20)[0], save("b.png", 20, 12)[0])
    even = (save("c.png", 12, 20)[0], save("d.png", 12, 20)[0])
    source = CropSource([uneven, even])
    assert {source.draw(rng, 8).shape for _ in range(10)} == {(8, 8, 6)}
    assert {group: str(error) for group, error in source.skipped.items()} == {
        uneven: f"{uneven[0]}: its size differs from that of {uneven[1]}"
    }


# Photos that cannot be read.


def test_unreadable_photos_are_drawn_around_and_kept_in_mind(save: Save) -> None:
    good = [save(f"{i}.png", 8, 8) for i in range(2)]
    bad = [save.folder / name for name in ("bad.png", "gone.png")]
    bad[0].write_bytes(b"no photo")
    source = source_of(bad[0], good[0][0], bad[1], good[1][0])
    drawn = {crop.tobytes() for crop in crops(source, 50, 8)}
    assert drawn <= set().union(*(turned_and_mirrored(pixels) for _, pixels in good))
    assert all(drawn & turned_and_mirrored(pixels) for _, pixels in good)
    assert {group: type(error) for group, error in source.skipped.items()} == {(path,): UnreadableFile for path in bad}


def test_photos_that_cannot_be_read_keep_nothing_of_their_callers_alive(save: Save) -> None:
    def draw_beside_a_network() -> weakref.ref[nn.Module]:
        network = nn.Identity()
        assert len(crops(source, 50, 8)) == 50
        return weakref.ref(network)

    good, bad = save("good.png", 8, 8)[0], save.folder / "bad.png"
    bad.write_bytes(b"no photo")
    source = source_of(bad, good)
    network = draw_beside_a_network()
    assert list(source.skipped) == [(bad,)]
    gc.collect()
    assert network() is None


def test_what_is_drawn_does_not_depend_on_what_is_known_to_be_unreadable(save: Save) -> None:
    paths = [save(f"{i}.png", 8, 8)[0] for i in range(3)]
    paths[1].write_bytes(b"no photo")
    source = source_of(*paths)
    assert np.array_equal(np.stack(crops(source, 20, 8)), np.stack(crops(source, 20, 8)))


@pytest.mark.parametrize("times", [1, 2])
def test_photos_none_of_which_can_be_read_are_an_error(save: Save, rng: np.random.Generator, times: int) -> None:
    paths = [save.folder / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(b"no photo")
    source = source_of(*paths * times)
    for _ in range(2):
        with pytest.raises(UnreadableFile, match=r"[ab]\.png: not a photo"):
            source.draw(rng, 8)
    assert len(source.skipped) == 2
