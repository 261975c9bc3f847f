from pathlib import Path

import pytest

from denoise_cli.io.xmp import EMPTY_XMP
from denoise_cli.pipeline.sidecar import Sidecar, carry, sidecars_of

PACKET = b'<x tiff:Orientation="6" photoshop:SidecarForExtension="CR2"/>'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path


def write(folder: Path, *names: str, packet: bytes = b"<x/>") -> None:
    for name in names:
        (folder / name).write_bytes(packet)


def carried(folder: Path, source: str, target: str, overwrite: bool = False) -> list[str]:
    return list(carry(folder / source, folder / target, overwrite, turned=False, developed=False))


def test_each_convention_is_kept(folder: Path) -> None:
    write(folder, "a.CR2", "a.xmp", "a.CR2.xmp", "b.xmp", "ab.xmp")

    assert sidecars_of(folder / "a.CR2", folder / "out" / "clean.dng") == [
        Sidecar(folder / "a.xmp", folder / "out" / "clean.xmp"),
        Sidecar(folder / "a.CR2.xmp", folder / "out" / "clean.dng.xmp"),
    ]


def test_capitals_are_kept(folder: Path) -> None:
    write(folder, "A.NEF", "A.XMP")

    assert sidecars_of(folder / "A.NEF", folder / "b.png") == [Sidecar(folder / "A.XMP", folder / "b.XMP")]


def test_a_sidecar_beside_raw_and_jpeg_is_that_of_the_raw(folder: Path) -> None:
    write(folder, "a.dng", "a.jpg", "a.xmp", "b[1].jpg", "b[1].xmp", "b1.dng")

    assert not sidecars_of(folder / "a.jpg", folder / "out" / "a.jpg")
    assert sidecars_of(folder / "a.dng", folder / "out" / "a.png")
    assert sidecars_of(folder / "b[1].jpg", folder / "out" / "b.jpg")


def test_the_sidecar_of_another_raw_beside_the_result_stays(folder: Path) -> None:
    write(folder, "a.dng", "a.xmp", "b.dng", "b.xmp")

    assert sidecars_of(folder / "a.dng", folder / "b.png") == [Sidecar(folder / "a.xmp", folder / "b.png.xmp")]


def test_a_sidecar_that_names_an_extension_is_that_file_s(folder: Path) -> None:
    write(folder, "a.cr2", "a.dng", "a.jpg")
    write(folder, "a.xmp", packet=PACKET)

    assert sidecars_of(folder / "a.cr2", folder / "out" / "a.png")
    assert not sidecars_of(folder / "a.dng", folder / "out" / "a.png")
    assert not sidecars_of(folder / "a.jpg", folder / "out" / "a.png")


def test_a_sidecar_that_serves_the_result_as_it_is_stays(folder: Path) -> None:
    write(folder, "a.nef", "a.xmp")

    assert not sidecars_of(folder / "a.nef", folder / "a.dng")
    assert not carried(folder, "a.nef", "a.dng", overwrite=True)


def test_standard_input_and_output_have_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    write(folder, "-.xmp", "a.nef", "a.xmp")

    assert not sidecars_of(Path("-"), Path("a.png"))
    assert not sidecars_of(Path("a.nef"), Path("-"))


def test_it_is_copied_under_the_result_s_name_and_named(folder: Path) -> None:
    write(folder, "a.CR2")
    write(folder, "a.xmp", packet=PACKET)

    notes = carried(folder, "a.CR2", "out/clean.dng")

    assert notes == [f"a.xmp becomes {folder}/out/clean.xmp"]
    assert (folder / "out" / "clean.xmp").read_bytes() == PACKET.replace(b"CR2", b"dng")


def test_an_existing_one_is_replaced_only_if_asked(folder: Path) -> None:
    write(folder, "a.nef", "a.nef.xmp", packet=b"<new/>")
    write(folder, "out/a.png.xmp", packet=b"<old/>")
    place = folder / "out" / "a.png.xmp"

    kept = carried(folder, "a.nef", "out/a.png")

    assert kept == [f"{place} already exists and is not replaced by a.nef.xmp: use --overwrite"]
    assert place.read_bytes() == b"<old/>"
    assert carried(folder, "a.nef", "out/a.png", overwrite=True) == [f"a.nef.xmp becomes {place}"]
    assert place.read_bytes() == b"<new/>"


@pytest.mark.parametrize("turned", [False, True])
def test_the_orientation_is_reset_where_the_result_is_upright(turned: bool, folder: Path) -> None:
    write(folder, "a.jpg")
    write(folder, "a.jpg.xmp", packet=PACKET)

    list(carry(folder / "a.jpg", folder / "out" / "b.jpg", False, turned=turned, developed=False))

    written = (folder / "out" / "b.jpg.xmp").read_bytes()
    assert (b'tiff:Orientation="1"' in written) == turned


@pytest.mark.parametrize("developed", [False, True])
def test_settings_for_raw_do_not_go_with_a_picture(developed: bool, folder: Path) -> None:
    settings = b"<x xmlns:crs='http://ns.adobe.com/camera-raw-settings/1.0/' crs:Exposure2012='+1.00'/>"
    write(folder, "a.nef")
    write(folder, "a.xmp", packet=settings)

    list(carry(folder / "a.nef", folder / "out" / "b.jpg", False, turned=developed, developed=developed))

    assert (b"Exposure2012" in (folder / "out" / "b.xmp").read_bytes()) == (not developed)


def test_the_sidecar_of_a_dng_says_that_it_is_denoised(folder: Path) -> None:
    write(folder, "a.nef")
    write(folder, "a.nef.xmp", packet=EMPTY_XMP)

    for marked in (True, False):
        list(carry(folder / "a.nef", folder / "b.dng", True, turned=False, developed=False, marked=marked))
        assert (b"neural_restore" in (folder / "b.dng.xmp").read_bytes()) == marked
