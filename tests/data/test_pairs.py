from pathlib import Path

import pytest

from denoise_cli.data.photos import find_pairs
from denoise_cli.errors import UnreadableFile


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_of_one_name_are_pairs_in_order(tmp_path: Path) -> None:
    make(tmp_path, "noisy/b.png", "noisy/a.png", "noisy/deep/c.png", "noisy/notes.txt")
    make(tmp_path, "clean/a.png", "clean/deep/c.png", "clean/b.png", "else/d.png")
    names = ["a.png", "b.png", "deep/c.png"]
    assert find_pairs(tmp_path) == [(tmp_path / "noisy" / name, tmp_path / "clean" / name) for name in names]


@pytest.mark.parametrize("names", [["photo.png"], ["clean/photo.png"]])
def test_a_folder_without_noisy_photos_holds_no_pairs(tmp_path: Path, names: list[str]) -> None:
    make(tmp_path, *names)
    assert find_pairs(tmp_path) == []


def test_noisy_photos_without_their_truth_are_not_taken_for_clean_ones(tmp_path: Path) -> None:
    make(tmp_path, "noisy/photo.png")
    with pytest.raises(UnreadableFile, match="clean: no such folder"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(("side", "other"), [("noisy", "clean"), ("clean", "noisy")])
def test_a_photo_without_its_partner_is_named(tmp_path: Path, side: str, other: str) -> None:
    make(tmp_path, "noisy/a.png", "clean/a.png", f"{side}/b.png", f"{side}/c.png")
    with pytest.raises(UnreadableFile) as error:
        find_pairs(tmp_path)
    assert str(error.value) == f"{tmp_path / side / 'b.png'}: has no counterpart of the same name in {tmp_path / other}"


def test_an_empty_side_is_named(tmp_path: Path) -> None:
    make(tmp_path, "noisy/a.png", "clean/notes.txt")
    with pytest.raises(UnreadableFile, match=r"clean: holds no photos"):
        find_pairs(tmp_path)
