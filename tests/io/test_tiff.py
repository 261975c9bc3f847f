import gc
import struct
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from denoise_cli.errors import UnreadableFile
from denoise_cli.imaging.pixels import to_float
from denoise_cli.io import image, tiff, tiff_pages
from denoise_cli.io.exif import Exif, pack, parse
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.photo import Photo
from denoise_cli.io.tiff_pages import Values, read_values

Encode = Callable[..., bytes]
Read = Callable[..., Photo]
Pixels = NDArray[np.uint8]

ORDERS = {"little-endian": "<", "big-endian": ">"}


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", ["strips", "tiles", "planes"])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_every_layout_of_a_file_gives_the_same_pixels(
    compression: str | None,
    layout: str,
    dtype: type[np.generic],
    order: str,
    bigtiff: bool,
    rng: np.random.Generator,
    with_tifffile: Encode,
    read_bytes: Read,
) -> None:
    pixels = (rng.random((40, 50, 3)) * 250).astype(dtype)
    planes = layout == "planes"
    data = with_tifffile(
        np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planes else pixels,
        photometric="rgb",
        planarconfig="separate" if planes else "contig",
        tile=(16, 16) if layout == "tiles" else None,
        compression=compression,
        predictor=compression is not None,
        byteorder=ORDERS[order],
        bigtiff=bigtiff,
    )

    photo = read_bytes(data)

    assert photo.kind == "tiff"
    assert photo.pixels.dtype == dtype
    np.testing.assert_array_equal(photo.pixels, pixels)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_any_floating_point_is_read_unclipped(dtype: type[np.generic], with_tifffile: Encode, read_bytes: Read) -> None:
    values = np.array([[-2.5, 0.0, 1.0, 1000.0]], dtype)

    photo = read_bytes(with_tifffile(values, photometric="minisblack"))

    assert photo.pixels.dtype == np.float32
    assert photo.pixels.ravel().tolist() == [-2.5, 0.0, 1.0, 1000.0]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_an_odd_number_of_bits_reaches_white(bits: int, with_tifffile: Encode, read_bytes: Read) -> None:
    values = np.array([[[0, 1, 2**bits - 1]]], np.uint16)

    photo = read_bytes(packed(values, bits))

    assert photo.pixels.dtype == np.uint16
    assert photo.pixels.ravel().tolist() == [0, round(65535 / (2**bits - 1)), 65535]


def packed(values: NDArray[np.uint16], bits: int) -> bytes:
    """A TIFF of one RGB pixel, its values packed without gaps."""
    stream = "".join(f"{value:0{bits}b}" for value in values.ravel())
    stream += "0" * (-len(stream) % 8)
    body = int(stream, 2).to_bytes(len(stream) // 8, "big")
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 8 + 2 + 9 * 12 + 4), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 8 + 2 + 9 * 12 + 4 + 6), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, len(body))]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\x00" + struct.pack("<I", 8) + directory + bytes(4) + struct.pack("<HHH", bits, bits, bits) + body


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_one_bit_is_black_and_white(white_is_zero: bool, with_tifffile: Encode, read_bytes: Read) -> None:
    ink = np.array([[True, False, True, True, False, False, True, False, True]])

    photo = read_bytes(with_tifffile(ink, photometric="miniswhite" if white_is_zero else "minisblack"))

    np.testing.assert_array_equal(photo.pixels[..., 0], np.where(ink ^ white_is_zero, 255, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_where_zero_is_white_grey_is_turned_round_and_alpha_is_not(
    dtype: type[np.generic], with_tifffile: Encode, read_bytes: Read
) -> None:
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    values = np.array([[[0, 0], [0, white], [white, white]]], dtype)

    photo = read_bytes(
        with_tifffile(values, photometric="miniswhite", planarconfig="contig", extrasamples=["unassalpha"])
    )

    assert photo.pixels.ravel().tolist() == [white, white, 0]
    assert photo.alpha is not None
    assert photo.alpha.ravel().tolist() == [0, white, white]


def test_a_palette_becomes_rgb(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    palette = Image.fromarray(picture).quantize(16)

    np.testing.assert_array_equal(read_bytes(with_pillow(palette, "TIFF")).pixels, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_alpha_that_was_multiplied_in_is_taken_out(
    dtype: type[np.generic], rng: np.random.Generator, with_tifffile: Encode, read_bytes: Read
) -> None:
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    straight = rng.random((6, 7, 3))
    alpha = rng.uniform(0.5, 1, (6, 7, 1))
    alpha[0, 0] = 0
    stored = np.concatenate([straight * alpha, alpha], axis=2) * white
    stored = stored.astype(dtype) if white == 1 else np.rint(stored).astype(dtype)

    photo = read_bytes(with_tifffile(stored, photometric="rgb", extrasamples=["assocalpha"]))

    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, stored[..., 3])
    off = np.abs(to_float(photo.pixels) - straight)
    off[0, 0] = 0  # nothing says what is under full transparency
    # Half a step in colour and in alpha, doubled by the smallest alpha, and half a step in the result.
    assert off.max() <= (2.5 / white if white > 1 else 1e-6)


def test_a_further_channel_that_is_not_alpha_is_left_out_and_said_so(
    picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    infrared = np.zeros((*picture.shape[:2], 1), np.uint8)
    data = with_tifffile(np.concatenate([picture, infrared], axis=2), photometric="rgb", extrasamples=["unspecified"])

    photo = read_bytes(data)

    np.testing.assert_array_equal(photo.pixels, picture)
    assert photo.alpha is None
    assert photo.notes == ("an extra channel that is not transparency is left out",)


def test_jpeg_inside_tiff_is_read_in_its_colours(picture: Pixels, with_tifffile: Encode, read_bytes: Read) -> None:
    data = with_tifffile(picture, photometric="rgb", compression="jpeg", compressionargs={"level": 95})
    with tifffile.TiffFile(BytesIO(data)) as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.YCBCR

    photo = read_bytes(data)

    assert np.abs(photo.pixels.astype(int) - picture).mean() < 6
    assert np.abs(photo.pixels.astype(int) - np.asarray(Image.open(BytesIO(data)).convert("RGB"))).mean() < 1


def test_ycbcr_outside_of_jpeg_is_refused(picture: Pixels, with_tifffile: Encode, read_bytes: Read) -> None:
    with pytest.raises(UnreadableFile, match=r"YCBCR colours: convert it to RGB or grey first$"):
        read_bytes(with_tifffile(picture, photometric="ycbcr", subsampling=(1, 1)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_refused(value: float, with_tifffile: Encode, read_bytes: Read) -> None:
    values = np.zeros((4, 5), np.float32)
    values[2, 3] = value

    with pytest.raises(UnreadableFile, match=r"holds values that are not numbers \(NaN or infinity\)$"):
        read_bytes(with_tifffile(values, photometric="minisblack"))


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_integers_with_a_sign_stay_what_they_are(
    dtype: type[np.int8 | np.int16], rng: np.random.Generator, with_tifffile: Encode, read_bytes: Read
) -> None:
    values = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (40, 50, 3), dtype, endpoint=True)

    photo = read_bytes(with_tifffile(values, photometric="rgb"))

    assert photo.is_signed
    np.testing.assert_array_equal(photo.pixels.astype(int) + np.iinfo(dtype).min, values)
    written = tifffile.imread(BytesIO(image.encode(photo, "tiff", "test")))
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, values)
    with pytest.raises(ValueError, match=r"^it cannot hold integers with a sign: choose .tif$"):
        image.encode(photo, "png", "test")


@pytest.mark.parametrize(
    ("values", "becomes", "note"),
    [
        (np.array([[0, 65535]], np.int32), np.uint16, "32 bits per value become 16, in which all values fit"),
        (np.array([[0, 65535]], np.uint32), np.uint16, "32 bits per value become 16, in which all values fit"),
        (np.array([[-32768, 32767]], np.int32), np.int16, "32 bits per value become 16, in which all values fit"),
    ],
)
def test_integers_of_32_bits_keep_their_values_if_16_bits_hold_them(
    values: NDArray[Any], becomes: type[np.generic], note: str, with_tifffile: Encode, read_bytes: Read
) -> None:
    photo = read_bytes(with_tifffile(values, photometric="minisblack"))

    assert photo.notes == (note,)
    written = tifffile.imread(BytesIO(image.encode(photo, "tiff", "test")))
    assert written.dtype == becomes
    np.testing.assert_array_equal(written, values)


def test_integers_that_16_bits_do_not_hold(with_tifffile: Encode, read_bytes: Read) -> None:
    photo = read_bytes(with_tifffile(np.array([[0, 2**32 - 1]], np.uint32), photometric="minisblack"))

    assert photo.pixels.ravel().tolist() == [0, 65535]
    assert photo.notes == ("32 bits per value are reduced to 16",)
    with pytest.raises(UnreadableFile, match=r"int32 values that do not fit into 16 bits: convert it to floating"):
        read_bytes(with_tifffile(np.array([[-1, 70000]], np.int32), photometric="minisblack"))


def test_integers_with_a_sign_and_transparency_are_refused(with_tifffile: Encode, read_bytes: Read) -> None:
    data = with_tifffile(np.zeros((4, 5, 4), np.int16), photometric="rgb", extrasamples=["unassalpha"])

    with pytest.raises(UnreadableFile, match=r"values with a sign, and transparency: convert it to unsigned integers"):
        read_bytes(data)


def test_floating_point_of_64_bits_becomes_32_and_is_said_so(with_tifffile: Encode, read_bytes: Read) -> None:
    photo = read_bytes(with_tifffile(np.full((4, 5), 0.25), photometric="minisblack"))

    assert photo.notes == ("64 bits of floating point become 32",)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk_is_light_when_read_and_ink_when_written(
    dtype: type[np.uint8 | np.uint16],
    planes: bool,
    alpha: bool,
    rng: np.random.Generator,
    with_tifffile: Encode,
    read_bytes: Read,
) -> None:
    inks = rng.integers(0, np.iinfo(dtype).max, (40, 50, 4 + alpha), dtype, endpoint=True)
    data = with_tifffile(
        np.ascontiguousarray(np.moveaxis(inks, -1, 0)) if planes else inks,
        photometric="separated",
        planarconfig="separate" if planes else "contig",
        extrasamples=["unassalpha"] if alpha else None,
        compression="lzw",
        iccprofile=b"\x00" * 12 + b"prtrCMYKLab " + b"\x00" * 104,
    )

    photo = read_bytes(data)

    assert photo.black is not None
    white = np.iinfo(dtype).max
    np.testing.assert_array_equal(np.dstack([photo.pixels, photo.black]), white - inks[..., :4])
    encoded = image.encode(photo, "tiff", "test")
    with tifffile.TiffFile(BytesIO(encoded)) as file:
        page = file.pages.first
        assert page.photometric == tifffile.PHOTOMETRIC.SEPARATED
        np.testing.assert_array_equal(page.asarray(), inks)
    assert read_bytes(encoded).metadata.icc == photo.metadata.icc is not None
    if dtype == np.uint8 and not alpha:
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(encoded))), inks)
    with pytest.raises(ValueError, match=r"^it cannot hold CMYK: choose .tif or .jpg, or add --to-srgb$"):
        image.encode(photo, "png", "test")


def test_other_inks_than_those_of_cmyk_are_refused(with_tifffile: Encode, read_bytes: Read) -> None:
    data = with_tifffile(np.zeros((4, 5, 4), np.uint8), photometric="separated", extratags=[(332, "H", 1, 2, True)])

    with pytest.raises(UnreadableFile, match=r"inks that are not those of CMYK: convert it to RGB or CMYK first$"):
        read_bytes(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("convention", ["cielab", "icclab"])
def test_lab_has_its_colours_when_read_and_its_values_when_written(
    convention: str,
    dtype: type[np.uint8 | np.uint16],
    rng: np.random.Generator,
    with_tifffile: Encode,
    read_bytes: Read,
) -> None:
    lab = rng.integers(0, np.iinfo(dtype).max, (40, 50, 3), dtype, endpoint=True)

    photo = read_bytes(with_tifffile(lab, photometric=convention))

    assert photo.lab is not None
    assert photo.bits == 8 * np.dtype(dtype).itemsize
    with tifffile.TiffFile(BytesIO(image.encode(photo, "tiff", "test"))) as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC[convention.upper()]
        np.testing.assert_array_equal(file.asarray(), lab)
    assert read_bytes(image.encode(photo, "png", "test")).pixels.dtype == dtype
    assert image.conversions(photo, "png") == (
        "Lab becomes sRGB, and colours outside of that are clipped: .tif keeps them",
    )
    assert image.conversions(photo, "tiff") == ()


def test_lab_in_floating_point_is_kept(rng: np.random.Generator, with_tifffile: Encode, read_bytes: Read) -> None:
    lab = (rng.random((40, 50, 3)) * [100, 60, 60]).astype(np.float32)

    photo = read_bytes(with_tifffile(lab, photometric="cielab"))

    written = tifffile.imread(BytesIO(image.encode(photo, "tiff", "test")))
    np.testing.assert_allclose(written, lab, atol=1e-3)


def test_lab_looks_like_the_rgb_that_it_is_made_of(picture: Pixels, with_pillow: Encode, read_bytes: Read) -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(picture), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )

    photo = read_bytes(with_pillow(lab, "TIFF"))

    assert np.abs(photo.as_rgb8().astype(int) - picture).mean() < 1


def test_lab_with_transparency(rng: np.random.Generator, with_tifffile: Encode, read_bytes: Read) -> None:
    values = rng.integers(0, 256, (40, 50, 4), np.uint8)
    photo = read_bytes(with_tifffile(values, photometric="cielab", extrasamples=["unassalpha"]))

    np.testing.assert_array_equal(tifffile.imread(BytesIO(image.encode(photo, "tiff", "test"))), values)


def test_a_palette_with_transparency_becomes_rgb(
    rng: np.random.Generator, with_tifffile: Encode, read_bytes: Read
) -> None:
    colours = rng.integers(0, 256, (3, 256), np.uint16)
    values = rng.integers(0, 256, (20, 30, 2), np.uint8)
    data = bytearray(
        with_tifffile(
            values,
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"],
            extratags=[(320, "H", 768, (colours * 257).ravel().tolist(), True)],
        )
    )
    with tifffile.TiffFile(BytesIO(bytes(data))) as file:
        place = file.pages.first.tags["PhotometricInterpretation"].valueoffset
    data[place] = tifffile.PHOTOMETRIC.PALETTE.value

    photo = read_bytes(bytes(data))

    np.testing.assert_array_equal(photo.pixels, np.moveaxis(colours, 0, -1)[values[..., 0]])
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, values[..., 1])


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_one_bit_stays_one_bit(
    white_is_zero: bool, rng: np.random.Generator, with_tifffile: Encode, read_bytes: Read
) -> None:
    ink = rng.random((70, 33)) < 0.3
    photo = read_bytes(with_tifffile(ink, photometric="miniswhite" if white_is_zero else "minisblack"))

    assert photo.is_bilevel
    with tifffile.TiffFile(BytesIO(image.encode(photo, "tiff", "test"))) as file:
        assert file.pages.first.bitspersample == 1
        np.testing.assert_array_equal(file.asarray(), ink ^ white_is_zero)


def several_pages(order: str = "<", **options: Any) -> tuple[bytes, list[NDArray[Any]]]:
    """A TIFF of three pages of different kinds, each with a description, and their values."""
    rng = np.random.default_rng(0)
    pages = [
        rng.integers(0, 256, (20, 30, 3), np.uint8),
        rng.integers(0, 65536, (40, 10), np.uint16),
        rng.random((16, 24)) < 0.5,
    ]
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=order, **options) as writer:  # type: ignore[arg-type]
        for number, page in enumerate(pages):
            writer.write(
                page,
                photometric="rgb" if page.ndim == 3 else "minisblack",
                metadata=None,
                software=False,
                description=f"page {number}" if number else None,
                resolution=(300, 300),
                resolutionunit="inch",
                extratags=[(297, "H", 2, (number, 3), True), (285, "s", 0, f"name {number}", True)],
            )
    return buffer.getvalue(), pages


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_page_is_read_and_written_with_its_tags(order: str, bigtiff: bool, read_bytes: Read) -> None:
    data, pages = several_pages(order, bigtiff=bigtiff)

    photo = read_bytes(data)
    read = [photo, *(page() for page in photo.others)]

    assert [len(page.others) for page in read] == [2, 0, 0]
    written = image.encode(photo, "tiff", "test")
    with tifffile.TiffFile(BytesIO(written)) as file:
        assert len(file.pages) == 3
        for number, (page, values) in enumerate(zip(file.pages, pages, strict=True)):
            np.testing.assert_array_equal(page.asarray(), values)
            tags = page.aspage().tags
            assert tags[297].value == (number, 3)
            assert tags[285].value == f"name {number}"
            assert (270 in tags) == (number > 0)
            assert tags[305].value == "test"
            assert tags[282].value == (300, 1)
            assert page.aspage().subfiletype == 2
    with pytest.raises(ValueError, match=r"^it holds a single picture, and there are 3 pages: choose .tif$"):
        image.encode(photo, "png", "test")


def test_each_page_keeps_its_own_exif(picture: Pixels, read_bytes: Read) -> None:
    def page(lens: str) -> Photo:
        exif = Exif(">")
        exif.exif[0xA434] = exif.text(lens)
        return Photo(picture, None, "test", Metadata(exif=pack(exif)))

    data = image.encode_pages([(page("first"), "test"), (page("second"), "test")])

    photo = read_bytes(data)
    (other,) = photo.others
    found = [parse(one.metadata.exif or b"").exif[0xA434].data for one in (photo, other())]
    assert found == [b"first\x00", b"second\x00"]


def test_a_page_is_only_decoded_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, with_tifffile: Encode, read_bytes: Read
) -> None:
    decoded = []

    def reading(page: tifffile.TiffPage) -> Values:
        decoded.append(page.index)
        return read_values(page)

    monkeypatch.setattr(tiff, "read_values", reading)
    photo = read_bytes(several_pages()[0])

    assert decoded == [0]
    photo.others[1]()
    assert decoded == [0, 2]


def test_reduced_copies_and_masks_are_named(picture: Pixels, read_bytes: Read) -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(picture, photometric="rgb", metadata=None)
        writer.write(picture[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)
        writer.write(picture[..., 0] > 9, photometric="mask", metadata=None, subfiletype=4)

    photo = read_bytes(buffer.getvalue())

    assert photo.others == ()
    assert photo.notes == (
        "reduced copies left out: they show the old picture",
        "a transparency mask is left out",
    )


def test_a_page_that_cannot_be_read_is_named_before_anything_is_decoded(
    monkeypatch: pytest.MonkeyPatch, read_bytes: Read
) -> None:
    monkeypatch.setattr(tiff, "read_values", lambda page: pytest.fail(f"decoded page {page.index}"))
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.zeros((4, 5), np.uint8), photometric="minisblack", metadata=None)
        writer.write(np.zeros((4, 5, 9), np.uint8), photometric="minisblack", planarconfig="contig", metadata=None)

    with pytest.raises(UnreadableFile, match=r"page 2: 9 channels: only grey, RGB, Lab or CMYK"):
        read_bytes(buffer.getvalue())


def three_pages(**options: bool) -> bytes:
    """A file of three pages, of which the second one is the highest."""
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, **options) as writer:
        for number, height in enumerate((20, 40, 30)):
            writer.write(np.full((height, 10, 3), number, np.uint8), photometric="rgb", metadata=None)
    return buffer.getvalue()


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_file_that_ends_early_keeps_its_whole_pages_and_names_the_loss(bigtiff: bool, tmp_path: Path) -> None:
    data, path = three_pages(bigtiff=bigtiff), tmp_path / "cut.tif"
    counts = set()
    for length in [*range(16, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        try:
            photo = image.read(path)
        except UnreadableFile:
            counts.add(0)
            continue
        pages = [photo, *(decode() for decode in photo.others)]
        for number, page in enumerate(pages):
            assert page.shape == ((20, 40, 30)[number], 10)
            assert (page.pixels == number).all()
        assert photo.repairs
        assert set(photo.repairs) <= set(photo.notes)
        assert all("left out" in line for line in photo.repairs)
        with pytest.raises(UnreadableFile, match="left out: "), image.opened(path, strict=True):
            pass
        counts.add(len(pages))
    assert counts == {0, 1, 2}
    path.write_bytes(data)
    assert image.read(path).repairs == ()


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_page_with_missing_strips_is_left_out(lost: int, read_bytes: Read) -> None:
    buffer = BytesIO(three_pages())
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        file.pages[lost].aspage().tags["StripByteCounts"].overwrite(0)

    photo = read_bytes(buffer.getvalue())

    assert [page.pixels[0, 0, 0] for page in (photo, *(decode() for decode in photo.others))] == [
        number for number in range(3) if number != lost
    ]
    assert photo.repairs == (f"page {lost + 1} of 3 is left out: 1 of its 1 strips are missing: it is damaged",)
    assert photo.repairs[0] in photo.others[0]().notes  # so that it is not taken for a note on the first page alone


def test_a_chain_of_too_many_pages_is_refused(monkeypatch: pytest.MonkeyPatch, read_bytes: Read) -> None:
    monkeypatch.setattr(tiff_pages, "MAX_PAGES", 2)

    with pytest.raises(UnreadableFile, match="holds more than 2 pages: split it"):
        read_bytes(several_pages()[0])


def test_a_stack_of_imagej_in_one_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((5, 20, 30), np.uint8), imagej=True)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        first = file.pages.first
        place = first.offset + 2 + 12 * len(first.tags)
    data[place : place + 4] = bytes(4)  # as ImageJ itself writes stacks of more than 4 GB
    path.write_bytes(data)

    with pytest.raises(UnreadableFile, match="5 pictures in one page, as ImageJ stores a stack: split it"):
        image.read(path)


def test_a_thumbnail_is_not_a_second_page(picture: Pixels, read_bytes: Read) -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(picture, photometric="rgb", metadata=None)
        writer.write(picture[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)

    np.testing.assert_array_equal(read_bytes(buffer.getvalue()).pixels, picture)


def test_pages_that_lead_back_to_the_first_are_one_page(
    picture: Pixels, with_tifffile: Encode, read_bytes: Read
) -> None:
    data = bytearray(with_tifffile(picture, photometric="rgb", byteorder="<"))
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)

    np.testing.assert_array_equal(read_bytes(bytes(data)).pixels, picture)


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (
            np.zeros((16, 16, 16), np.uint8),
            {"volumetric": True},
            "16 slices of a volume: split it into single pictures",
        ),
        (np.zeros((8, 9, 9), np.uint8), {"planarconfig": "contig"}, "9 channels: only grey, RGB, Lab or CMYK"),
        (np.zeros((8, 9, 3), np.uint8), {"planarconfig": "contig", "tile": (16384, 16384)}, "tiles of 16384 x 16384"),
    ],
)
def test_what_would_take_more_memory_than_its_size_says_is_refused(
    pixels: NDArray[np.uint8], options: dict[str, Any], reason: str, with_tifffile: Encode, read_bytes: Read
) -> None:
    compression = {"compression": "adobe_deflate"} if "tile" in options else {}
    data = with_tifffile(pixels, photometric="minisblack", **options, **compression)

    with pytest.raises(UnreadableFile, match=reason):
        read_bytes(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_programs_read_what_is_written(channels: int, dtype: type[np.generic], rng: np.random.Generator) -> None:
    pixels = (rng.random((70, 33, channels)) * 200).astype(dtype)

    data = image.encode(Photo(pixels, None, "test"), "tiff", "test")

    np.testing.assert_array_equal(np.atleast_3d(tifffile.imread(BytesIO(data))), pixels)
    if channels == 1 or dtype == np.uint8:  # Pillow has no more modes than these
        np.testing.assert_array_equal(np.atleast_3d(np.asarray(Image.open(BytesIO(data)))), pixels)


@pytest.mark.parametrize("emptied", ["ByteCounts", "Offsets"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 16}, {"tile": (16, 16)}, {"tile": (16, 16), "bigtiff": True}])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "jpeg"])
def test_strips_and_tiles_that_are_missing_are_damage_and_not_black(
    compression: str | None, layout: dict[str, Any], emptied: str, rng: np.random.Generator, read_bytes: Read
) -> None:
    buffer = BytesIO()
    pixels = (rng.random((64, 48, 3)) * 250).astype(np.uint8)
    tifffile.imwrite(buffer, pixels, photometric="rgb", compression=compression, **layout)
    assert read_bytes(buffer.getvalue(), ".tif").shape == (64, 48)
    what = "Tile" if "tile" in layout else "Strip"
    buffer.seek(0)
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        tag = file.pages[0].aspage().tags[what + emptied]
        tag.overwrite((*tag.value[:-1], 0))
    count = len(tag.value)
    with pytest.raises(UnreadableFile, match=f"1 of its {count} {what.lower()}s are missing: it is damaged"):
        read_bytes(buffer.getvalue(), ".tif")


def test_a_plane_that_is_left_out_anyway_may_be_missing(rng: np.random.Generator, read_bytes: Read) -> None:
    buffer = BytesIO()
    planes = (rng.random((4, 64, 48)) * 250).astype(np.uint8)
    tifffile.imwrite(buffer, planes, photometric="rgb", planarconfig="separate", extrasamples=["unspecified"])
    buffer.seek(0)
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        tag = file.pages[0].aspage().tags["StripByteCounts"]
        tag.overwrite((*tag.value[:-1], 0))
    photo = read_bytes(buffer.getvalue(), ".tif")
    np.testing.assert_array_equal(photo.pixels, planes[:3].transpose(1, 2, 0))
    assert photo.alpha is None


def test_a_list_of_strips_that_is_too_short_is_damage(rng: np.random.Generator, read_bytes: Read) -> None:
    buffer = BytesIO()
    tifffile.imwrite(buffer, rng.random((64, 48)).astype(np.float32), compression="lzw", rowsperstrip=16)
    buffer.seek(0)
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        for name in ("StripOffsets", "StripByteCounts"):
            tag = file.pages[0].aspage().tags[name]
            tag.overwrite(tag.value[:2])
    with pytest.raises(UnreadableFile, match="2 of its 4 strips are missing"):
        read_bytes(buffer.getvalue(), ".tif")


@pytest.mark.parametrize("compression", [None, "adobe_deflate"])
def test_neither_the_file_nor_its_copy_outlives_decoding(rng: np.random.Generator, compression: str | None) -> None:
    """By references, without the collector of cycles, of which tifffile's objects are one."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, rng.integers(0, 256, (64, 48, 3), np.uint8), photometric="rgb", compression=compression)
    data = bytes(buffer.getbuffer())
    gc.disable()
    try:
        before = sys.getrefcount(data)
        photo = tiff.decode(data, image.MAX_PIXELS)
        assert photo.shape == (64, 48)
        assert sys.getrefcount(data) == before
    finally:
        gc.enable()
