import os
from pathlib import Path

import pytest

from denoise_cli.errors import UsageError
from denoise_cli.pipeline.names import Template


def test_every_field_stands_for_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    source = tmp_path / "holiday" / "a.b.jpg"
    source.parent.mkdir()
    source.touch()
    os.utime(source, (1_000_000_000, 1_000_000_000))
    template = Template("{folder}-{date}-{stem}-{model}{ext}", "weights/mine.safetensors")

    assert template.fill(source, ".png") == Path("holiday-2001-09-09-a.b-mine.png")
    assert template.fill(source, ".png", "other") == Path("holiday-2001-09-09-other-mine.png")


def test_the_folder_of_a_relative_path_is_its_true_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")

    assert Template("{folder}{ext}").fill(Path("a.jpg"), ".jpg") == Path("inner.jpg")
    assert Template("{folder}{ext}").fill(Path("../a.jpg"), ".jpg") == Path(f"{tmp_path.name}.jpg")


def test_braces_and_markup_in_names_mean_nothing() -> None:
    assert Template("{{{stem}}}{ext}").fill(Path("{x}[red].jpg"), ".jpg") == Path("{{x}[red]}.jpg")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{name}{ext}", "{name} stands for nothing: choose from {stem}, {ext}, {folder}, {date}, {model}"),
        ("{stem.__class__}", "{stem.__class__} stands for nothing: choose from"),
        ("{stem:>100000000}", "nothing can follow stem in its braces: write {stem}, as in '{stem}-clean{ext}'"),
        ("{stem!r}", "nothing can follow stem in its braces: write {stem}, as in '{stem}-clean{ext}'"),
        ("{stem", "a single { or }: write {{ or }} for the character itself, as in '{stem}-{{1}}{ext}'"),
        ("stem}", "a single { or }: write {{ or }} for the character itself, as in '{stem}-{{1}}{ext}'"),
        ("{}", "{} stands for nothing: choose from"),
        ("../{stem}{ext}", "leads out of the output folder: name that by --output, as in -o out/"),
        ("/tmp/{stem}{ext}", "leads out of the output folder: name that by --output, as in -o out/"),
        ("{stem}/", "names no file: end it with one, as in 'clean/{stem}{ext}'"),
        ("", "names no file: end it with one, as in 'clean/{stem}{ext}'"),
        ("{stem}-{model}{ext}", "{model} is not known before each file is read: add --model"),
    ],
)
def test_what_cannot_be_meant_is_said(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        Template(text)
    assert str(caught.value).startswith(f"--name {text}: {reason}")
