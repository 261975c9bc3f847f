import base64
import hashlib
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.io import page
from denoise_cli.io.page import Entry, Page, View, page_path, pictures_folder
from tests.io.pages import ReadPage

# What would be markup, end the data, begin a comment, or run, if anything in the page took it for more than text.
AWKWARD = [
    "<b>x</b>.jpg",
    "</script><script>alert(1)</script>.jpg",
    "<!--<script>.jpg",
    "a&amp;b&lt;.png",
    "\"onerror='alert(1)'.png",
    "javascript:alert(1).jpg",
    "$title ${data} %41 # ? .png",
    "new\nline\u2028\u202egpj.exe",
    "\udcff.jpg",
]


def picture(value: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def entry(name: str = "a.png", value: int = 90) -> Entry:
    view = View("most change", (picture(value), picture(value + 50)))
    return Entry(name, "done", "noise 3", versions=("before", "after"), views=(view,), thumbnail=picture(value))


def write(path: Path, *entries: Entry, overwrite: bool = False, embeds: bool = False) -> ReadPage:
    with Page(path, "Denoised", overwrite, embeds) as shown:
        for one in entries:
            shown.add(one)
    return ReadPage(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


@pytest.mark.parametrize("name", AWKWARD)
def test_names_are_text_and_never_markup(path: Path, tmp_path: Path, name: str) -> None:
    plain = write(path, entry())
    odd = Entry(name, "failed", name, name, (name,), ((name, name),), {}, ((name, tmp_path / name),), (name,))
    found = write(tmp_path / "odd.html", odd)
    assert found.elements == plain.elements
    (read,) = found.entries
    assert [read["name"], read["summary"], read["error"], *read["notes"], *read["versions"]] == [name] * 5
    assert read["facts"] == [[name, name]]
    ((what, shown, address),) = read["links"]
    assert (what, shown) == (name, str(tmp_path / name))
    assert os.fsencode(found.file(address)) == os.fsencode(tmp_path / name)


def test_a_heading_is_text_as_well(path: Path) -> None:
    with Page(path, "<b>x</b>", overwrite=False, embeds=True) as shown:
        shown.about = "\udcff</p><script>"
        shown.add(entry())
    found = ReadPage(path)
    assert found.text_of("h1") == "<b>x</b>"
    assert [tag for tag, _ in found.elements].count("script") == 2
    assert r"\udcff</p><script>" in found.texts.values()


def test_every_picture_that_is_referred_to_is_there_and_no_other(path: Path) -> None:
    found = write(path, entry(), entry("b.png", 120))
    files = {found.file(address) for address in found.pictures()}
    assert len(files) == 6
    assert files == set(pictures_folder(path).iterdir())
    assert set(path.parent.iterdir()) == {path, pictures_folder(path)}
    for one, value in zip(found.entries, (90, 120), strict=True):
        (view,) = one["views"]
        for address, level in zip(view["pictures"], (value, value + 50), strict=True):
            with Image.open(found.file(address)) as shown:
                assert shown.size == (view["width"], view["height"]) == (60, 40)
                assert np.abs(np.asarray(shown).astype(int) - level).max() <= 1


def test_embedded_pictures_are_in_the_page_without_loss(path: Path, rng: np.random.Generator) -> None:
    noisy = rng.integers(0, 256, (30, 50, 3), np.uint8)
    found = write(path, Entry("a", "done", "", versions=("a",), views=(View("all", (noisy,)),)), embeds=True)
    assert set(path.parent.iterdir()) == {path}
    (address,) = found.pictures()
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), noisy)


def test_the_page_names_no_other_source_and_admits_its_own_script_alone(path: Path) -> None:
    found = write(path, entry(), embeds=True)
    assert not re.findall(r"https?://|@import|url\(", found.source)
    (policy,) = (a["content"] for _, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    scripts = [number for number, (tag, a) in enumerate(found.elements) if tag == "script" and not a]
    styles = [number for number, (tag, _) in enumerate(found.elements) if tag == "style"]
    for kind, (number,) in (("script", scripts), ("style", styles)):
        digest = base64.b64encode(hashlib.sha256(found.texts[number].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_a_page_is_replaced_with_its_pictures_and_only_when_asked(path: Path) -> None:
    write(path, entry(), entry())
    old = path.read_bytes()
    with pytest.raises(UnwritableFile, match=r"report\.html: already exists: use --overwrite to replace it"):
        write(path, entry(value=10))
    assert path.read_bytes() == old
    path.chmod(0o640)
    found = write(path, entry(value=10), overwrite=True)
    assert path.stat().st_mode & 0o777 == 0o640
    assert {found.file(address) for address in found.pictures()} == set(pictures_folder(path).iterdir())
    path.unlink()
    with pytest.raises(UnwritableFile, match="report-files: already exists: use --overwrite to replace it"):
        write(path, entry())


def test_the_report_of_an_earlier_run_is_renewed_and_nothing_else_is(path: Path) -> None:
    def renew() -> ReadPage:
        with Page(path, "Denoised", overwrite=False, embeds=False, renews=True) as shown:
            shown.add(entry(value=10))
        return ReadPage(path)

    write(path, entry(), entry())
    found = renew()
    assert len(found.entries) == 1
    assert {found.file(address) for address in found.pictures()} == set(pictures_folder(path).iterdir())
    path.unlink()
    with pytest.raises(UnwritableFile, match="report-files: already exists"):
        renew()
    shutil.rmtree(pictures_folder(path))
    for foreign in (b"<!doctype html><title>Precious</title>", b""):
        path.write_bytes(foreign)
        with pytest.raises(UnwritableFile, match=r"report\.html: already exists"):
            renew()
        assert path.read_bytes() == foreign
    write(path, entry(), overwrite=True, embeds=True)  # by `denoise compare`
    with pytest.raises(UnwritableFile, match=r"report\.html: already exists"):
        renew()


def test_a_folder_that_holds_anything_else_is_never_replaced(path: Path) -> None:
    folder = pictures_folder(path)
    folder.mkdir()
    (folder / "precious.jpg").write_bytes(b"precious")
    with pytest.raises(UnwritableFile, match=r"holds precious\.jpg, which is no picture of a page"):
        write(path, entry(), overwrite=True)
    assert (folder / "precious.jpg").read_bytes() == b"precious"
    assert not path.exists()


def test_a_link_in_the_place_of_the_folder_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    pictures_folder(path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnwritableFile, match="is a symbolic link"):
        write(path, entry(), overwrite=True)


def test_neither_inputs_nor_outputs_are_in_the_way(path: Path) -> None:
    for other in (path, pictures_folder(path) / "00001-1-1.jpg"):
        with pytest.raises(UnwritableFile, match="would take the place of"):
            Page(path, "", overwrite=True, embeds=False, others=[other])
    Page(path, "", overwrite=True, embeds=True, others=[pictures_folder(path) / "00001-1-1.jpg"])


def test_an_interrupted_run_leaves_a_page_of_what_it_has_done(path: Path) -> None:
    def run() -> None:
        with Page(path, "", overwrite=False, embeds=False) as shown:
            shown.add(entry())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    found = ReadPage(path)
    assert len(found.entries) == 1
    assert all(found.file(address).is_file() for address in found.pictures())


def test_a_run_that_fails_before_it_begins_leaves_the_old_page(path: Path) -> None:
    write(path, entry())
    old = path.read_bytes()
    with pytest.raises(UsageError), Page(path, "", overwrite=True, embeds=False):
        raise UsageError("no such model")
    assert path.read_bytes() == old
    assert set(path.parent.iterdir()) == {path, pictures_folder(path)}


def test_a_page_that_cannot_be_written_leaves_the_old_one_with_its_pictures(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, entry())
    before = {file: file.read_bytes() for file in (path, *pictures_folder(path).iterdir())}

    def refuse(*_: object, **__: object) -> None:
        raise UnwritableFile(path, "cannot write: No space left on device")

    monkeypatch.setattr(page, "write_atomically", refuse)
    with pytest.raises(UnwritableFile, match="No space left"):
        write(path, entry(value=10), entry(), overwrite=True)
    assert {file: file.read_bytes() for file in (path, *pictures_folder(path).iterdir())} == before
    assert set(path.parent.iterdir()) == {path, pictures_folder(path)}


def test_an_entry_whose_pictures_cannot_be_written_is_there_without_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Page(path, "", overwrite=False, embeds=False) as shown:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", refuse)
            with pytest.raises(UnwritableFile, match="No space left"):
                shown.add(entry("a.png"))
        shown.add(entry("b.png"))
    found = ReadPage(path)
    assert [(one["name"], len(one["views"])) for one in found.entries] == [("a.png", 0), ("b.png", 1)]


def test_a_page_is_named_by_its_file_or_by_a_folder(tmp_path: Path) -> None:
    assert page_path("a.HTML", "--report") == Path("a.HTML")
    assert page_path("new/", "--report") == Path("new/index.html")
    assert page_path(str(tmp_path), "--report") == tmp_path / "index.html"
    with pytest.raises(UsageError, match=r"^--report a\.pdf: expected a name that ends in \.html, or a folder"):
        page_path("a.pdf", "--report")
    write(page_path(f"{tmp_path}/new/deep/", "--report"), entry())
    assert (tmp_path / "new" / "deep" / "index.html").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableFile, match="file"):
        write(tmp_path / "file" / "report.html", entry())
