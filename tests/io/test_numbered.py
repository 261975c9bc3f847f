"""Which files are the frames of a sequence."""

from pathlib import Path

import pytest

from denoise_cli.errors import DenoiseError, UnreadableFile, UsageError
from denoise_cli.io.numbered import find, in_words, is_sequence, named, notes_on, ranges


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_pattern_names_files_by_their_numbers_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "a0010.png", "a0002.png", "a10000.png", "a3.png", "a0004.tif", "b0005.png", "a00006.png")
    found = find(tmp_path / "a%04d.png")
    assert [(number, file.name) for number, file in found.files.items()] == [
        (2, "a0002.png"),
        (10, "a0010.png"),
        (10000, "a10000.png"),
    ]
    assert found.gaps == [(3, 9), (11, 9999)]
    assert found.others == ()


def test_a_pattern_without_zeros_names_numbers_without_them(tmp_path: Path) -> None:
    touch(tmp_path, "9.png", "10.png", "08.png")
    assert list(find(tmp_path / "%d.png").files) == [9, 10]


def test_percent_signs_and_brackets_in_names_are_meant(tmp_path: Path) -> None:
    touch(tmp_path, "5%[a]_1.png", "5%[a]_2.png", "5%a_3.png")
    assert list(find(tmp_path / "5%%[a]_%d.png").files) == [1, 2]
    assert named(tmp_path / "5%%_%03d.png", 7).name == "5%_007.png"


def test_a_folder_is_its_only_sequence(tmp_path: Path) -> None:
    folder = touch(tmp_path / "take2", "A001_C002_0001.png", "A001_C002_0003.png", "sound.wav", ".hidden1.png")
    touch(folder, "Thumbs.db", "._A001_C002_0002.png", "slate2.png")
    (folder / "1").mkdir()
    found = find(folder)
    assert {number: file.name for number, file in found.files.items()} == {
        1: "A001_C002_0001.png",
        3: "A001_C002_0003.png",
    }
    assert notes_on(found) == [
        "the numbering has gaps (2): the frames around them are taken to follow each other",
        "left out what is no frame: slate2.png, sound.wav",
    ]


@pytest.mark.parametrize(
    ("names", "asked", "error", "complaint"),
    [
        (
            ("a_01.png", "a_02.png", "b_1.png", "b_10.png"),
            "",
            UsageError,
            "holds 2 sequences: name one of {0}/a_%02d.png, {0}/b_%d.png",
        ),
        (("01.png", "1.png"), "", UsageError, "have the same number: name a pattern"),
        (
            ("a.png", "b1.png", "c.txt"),
            "",
            UnreadableFile,
            "holds no pictures whose names differ only in a number",
        ),
        (("1.png",), "%04d.png", UnreadableFile, "there is no such file in {0}, for any number"),
        (("1.png",), "%d_%d.png", UsageError, "expected a single number, as in frames/%04d.png"),
        (("1.png",), "%s%d.png", UsageError, "expected a single number, as in frames/%04d.png"),
        (("00001.png",), "%5d.png", UsageError, "%5d pads numbers with spaces: write %05d, with leading zeros"),
        (("1.png",), "%d/%d.png", UsageError, "expected a single number, as in frames/%04d.png"),
    ],
)
def test_what_is_no_sequence_is_refused(
    names: tuple[str, ...], asked: str, error: type[DenoiseError], complaint: str, tmp_path: Path
) -> None:
    touch(tmp_path, *names)
    with pytest.raises(error) as caught:
        find(tmp_path / asked)
    assert complaint.format(tmp_path) in str(caught.value)


def test_a_file_that_is_named_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "%04d.png")
    assert not is_sequence(tmp_path / "%04d.png")
    assert is_sequence(tmp_path / "%03d.png")
    assert not is_sequence(tmp_path / "100%%.png")


def test_numbers_in_words_are_few() -> None:
    assert in_words(ranges([1, 2, 3, 5, 7, 9, 11])) == "1 to 3, 5, 7, 9, ..."
