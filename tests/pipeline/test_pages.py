"""Files with several pages, and pages in other colours than RGB, from file to file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io import image, tiff
from denoise_cli.io.profiles import D65, icc_profile
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.inspect import inspect
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.task import Settings

SETTINGS = Settings("mallenet-s", 0.1)


def load(name: str) -> Denoiser:
    return load_denoiser(name, "cpu", "fp32")


@pytest.fixture
def document(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A TIFF of a page in RGB, a reduced copy of it, one in CMYK, one of single bits, and one in Lab."""
    path = tmp_path / "document.tif"
    with tifffile.TiffWriter(path) as writer:
        rgb = rng.integers(100, 156, (40, 50, 3), np.uint8)
        writer.write(rgb, photometric="rgb", metadata=None)
        writer.write(rgb[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)
        writer.write(rng.integers(100, 156, (30, 20, 4), np.uint8), photometric="separated", metadata=None)
        writer.write(rng.random((20, 30)) < 0.5, photometric="minisblack", metadata=None)
        writer.write(rng.integers(100, 156, (20, 30, 3), np.uint8), photometric="icclab", metadata=None)
    return path


def pages(path: Path) -> list[np.ndarray]:
    with tifffile.TiffFile(path) as file:
        return [page.asarray() for page in file.pages if not page.aspage().is_reduced]


def test_every_page_is_denoised_and_stays_what_it_is(document: Path, tmp_path: Path) -> None:
    target, seen = tmp_path / "b.tif", []

    result = photo.run(Job(document, target, None), load, SETTINGS, seen.append)

    assert result.pages == 4
    assert (result.width, result.height) == (50, 40)
    assert result.sigma == pytest.approx(25.5)
    assert result.noise_from == "given"
    assert result.bytes_written == target.stat().st_size
    assert result.notes == (
        "reduced copies left out: they show the old picture",
        "page 3: black and white, without grey: left as it is",
    )
    for number, (before, after) in enumerate(zip(pages(document), pages(target), strict=True)):
        assert before.shape == after.shape
        assert before.dtype == after.dtype
        if number == 2:
            np.testing.assert_array_equal(after, before)
        else:
            assert after.astype(float).std() < 0.6 * before.astype(float).std()
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_a_page_in_linear_light_is_denoised_as_the_same_photo_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    linear = icc_profile(D65, (0.64, 0.33, 0.30, 0.60, 0.15, 0.06), 1.0)
    stored = [rng.integers(9000, 12000, (40, 50, 3), np.uint16) for _ in range(2)]
    document, alone = tmp_path / "document.tif", tmp_path / "alone.tif"
    with tifffile.TiffWriter(document) as writer:
        writer.write(stored[0], photometric="rgb", metadata=None)
        writer.write(stored[1], photometric="rgb", metadata=None, iccprofile=linear)
    tifffile.imwrite(alone, stored[1], photometric="rgb", metadata=None, iccprofile=linear)

    for source in (document, alone):
        photo.run(Job(source, source.with_name(f"{source.stem}-denoised.tif"), None), load, SETTINGS)

    (of_document,) = pages(tmp_path / "document-denoised.tif")[1:]
    (single,) = pages(tmp_path / "alone-denoised.tif")
    np.testing.assert_array_equal(of_document, single)
    assert single.astype(float).std() < 0.6 * stored[1].astype(float).std()


def test_no_page_is_changed_at_no_strength(document: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.tif"

    photo.run(Job(document, target, None), load, replace(SETTINGS, strength=0.0))

    for before, after in zip(pages(document), pages(target), strict=True):
        np.testing.assert_array_equal(after, before)


def test_no_more_than_one_page_is_in_memory(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, add, read = [], tiff._add, tiff.read_values

    def adding(*given: object) -> None:
        events.append("write")
        add(*given)  # type: ignore[arg-type]

    def reading(page: tifffile.TiffPage) -> object:
        events.append("read")
        return read(page)

    monkeypatch.setattr(tiff, "_add", adding)
    monkeypatch.setattr(tiff, "read_values", reading)
    photo.run(Job(document, tmp_path / "b.tif", None), load, replace(SETTINGS, strength=0.0))

    assert events == ["read", "write"] * 4


def test_a_document_does_not_become_a_single_picture(document: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.png"
    reason = "cannot be encoded as png: it holds a single picture, and there are 4 pages: choose .tif"

    failed = photo.run(Job(document, target, "png"), lambda _: pytest.fail("loaded a model"), SETTINGS)
    assert reason in (failed.error or "")
    assert photo.show_before_after(Job(document, target, "png"), load, SETTINGS).notes[-1] == "shows page 1 of 4"
    assert target.exists()


def test_a_damaged_page_is_named_and_nothing_is_written(document: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    with tifffile.TiffWriter(broken) as writer:
        for number in range(3):
            values = np.full((40, 50, 3), number, np.uint8)
            writer.write(values, photometric="rgb", metadata=None, compression="adobe_deflate")
    data = bytearray(broken.read_bytes())
    with tifffile.TiffFile(broken) as file:
        start = file.pages[1].dataoffsets[0]
    data[start : start + 8] = b"\xff" * 8
    broken.write_bytes(data)

    failed = photo.run(Job(broken, tmp_path / "b.tif", None), load, SETTINGS)
    assert "broken.tif, page 2: cannot be decoded" in (failed.error or "")
    assert not (tmp_path / "b.tif").exists()


def test_all_pages_become_srgb(document: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.tif"

    photo.run(Job(document, target, None), load, replace(SETTINGS, to_srgb=True))

    assert [page.shape for page in pages(target)] == [(40, 50, 3), (30, 20, 3), (20, 30), (20, 30, 3)]
    with tifffile.TiffFile(target) as file:
        assert file.pages[1].aspage().photometric == tifffile.PHOTOMETRIC.RGB


def test_cmyk_becomes_png_only_in_srgb(tmp_path: Path, rng: np.random.Generator) -> None:
    source = tmp_path / "a.tif"
    inks = rng.integers(100, 156, (30, 20, 4), np.uint8)
    tifffile.imwrite(source, inks, photometric="separated", metadata=None)

    failed = photo.run(Job(source, tmp_path / "b.png", "png"), lambda _: pytest.fail("loaded a model"), SETTINGS)
    assert "it cannot hold CMYK" in (failed.error or "")
    photo.run(Job(source, tmp_path / "b.png", "png"), load, replace(SETTINGS, to_srgb=True))

    assert image.read(tmp_path / "b.png").pixels.shape == (30, 20, 3)


def test_documents_and_colours_are_inspected(document: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    facts = inspect(document)
    assert (facts.pages, facts.colours, facts.bits) == (4, "RGB", 8)
    for photometric, values, colours, bits in (
        ("separated", rng.integers(0, 256, (20, 30, 4), np.uint8), "CMYK", 8),
        ("cielab", rng.integers(0, 65536, (20, 30, 3), np.uint16), "Lab", 16),
        ("minisblack", rng.random((20, 30)) < 0.5, "black and white", 1),
    ):
        path = tmp_path / f"{photometric}.tif"
        tifffile.imwrite(path, values, photometric=photometric, metadata=None)  # type: ignore[arg-type]
        facts = inspect(path)
        assert (facts.pages, facts.colours, facts.bits) == (1, colours, bits)
