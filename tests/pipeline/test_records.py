import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from denoise_cli.errors import UnwritableFile
from denoise_cli.pipeline import records
from denoise_cli.pipeline.records import Contents, Record

MODEL = "mallenet-s"
SETTINGS = records.settings_of(MODEL, {"strength": 1.0, "noise": None, "seconds": float("inf"), "parts": (1, 2)})


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A source, and its result with a record."""
    source, target = tmp_path / "in" / "a.png", tmp_path / "out" / "a.png"
    for path, data in ((source, b"noisy"), (target, b"clean")):
        path.parent.mkdir()
        path.write_bytes(data)
    made_from, result = Contents.of_file(source), Contents.of_bytes(b"clean")
    records.write(target, Record(made_from, result, MODEL, records.weights_of(MODEL), SETTINGS, {"turned": True}))
    return source, target


def test_a_result_is_known_again(pair: tuple[Path, Path]) -> None:
    source, target = pair
    found = records.find(target, source, SETTINGS)
    assert found is not None
    assert (found.model, found.facts) == (MODEL, {"turned": True})


def _resize(source: Path, target: Path) -> None:
    source.write_bytes(b"noisier")


def _change(source: Path, target: Path) -> None:
    source.write_bytes(b"other")
    os.utime(source, (1, 1))


def _truncate(source: Path, target: Path) -> None:
    os.truncate(target, 3)


def _flip(source: Path, target: Path) -> None:
    about = target.stat()
    target.write_bytes(b"cleaN")
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))


def _delete_source(source: Path, target: Path) -> None:
    source.unlink()


def _delete(source: Path, target: Path) -> None:
    target.unlink()


def _damage_record(source: Path, target: Path) -> None:
    next((target.parent / records.FOLDER).iterdir()).write_bytes(b'{"source": 1}')


def _forget(source: Path, target: Path) -> None:
    shutil.rmtree(target.parent / records.FOLDER)


@pytest.mark.parametrize(
    "differ", [_resize, _change, _truncate, _flip, _delete_source, _delete, _damage_record, _forget]
)
def test_whatever_differs_is_not_done(pair: tuple[Path, Path], differ: Any) -> None:
    differ(*pair)
    assert records.find(pair[1], pair[0], SETTINGS) is None


def test_other_settings_and_other_weights_are_not_done(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = pair
    assert records.find(target, source, SETTINGS | {"strength": 0.5}) is None
    assert records.find(target, source, SETTINGS | {"model": "auto"}) is None
    monkeypatch.setattr(records, "weights_of", lambda _: "others")
    assert records.find(target, source, SETTINGS) is None


def test_a_copy_of_both_folders_without_their_times_is_still_done(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for path in pair:
        shutil.copytree(path.parent, tmp_path / "disk" / path.parent.name, copy_function=shutil.copyfile)
    source, target = (tmp_path / "disk" / path.parent.name / path.name for path in pair)
    os.utime(source, (1, 1))
    assert records.find(target, source, SETTINGS) is not None


def test_a_file_in_settings_stands_for_what_it_holds(tmp_path: Path) -> None:
    for name, text in (("a", "1 2"), ("b", "1 2"), ("c", "3 4")):
        (tmp_path / name).write_text(text)
    a, b, c = (records.settings_of("auto", {"hot_pixels": tmp_path / name}) for name in "abc")
    assert a == b != c


def test_of_a_result_in_the_place_of_its_source_nothing_else_is_asked(pair: tuple[Path, Path]) -> None:
    pair[0].unlink()
    assert records.find(pair[1], None, SETTINGS) is not None


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "line\nbreak.png", "[red]x.png"])
def test_records_of_any_name_are_kept(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.write_bytes(b"noisy")
    contents = Contents.of_file(source)
    record = Record(contents, contents, MODEL, records.weights_of(MODEL), SETTINGS)
    records.write(source, record)
    assert records.find(source, source, SETTINGS) == record


def test_what_is_in_the_way_is_said(pair: tuple[Path, Path]) -> None:
    with pytest.raises(UnwritableFile, match=r"a.png: already exists, and no record says .*: use --overwrite"):
        records.check_free(pair[1], pair[0])
    records.check_free(pair[1].with_name("none.png"), pair[0])
