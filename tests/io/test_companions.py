"""What a JPEG carries beside its picture comes along or is named, and exiftool and Pillow find it."""

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from denoise_cli.errors import UnreadableFile
from denoise_cli.io import image
from denoise_cli.io.metadata import COMMENT, Metadata
from denoise_cli.io.mp_index import PREFIX, entries_of
from denoise_cli.io.photo import Photo
from tests.io.phone_files import (
    ISO,
    container,
    extended_depth,
    gain_map,
    indexed,
    jpeg,
    manifest,
    micro_video,
    motion_photo,
    mp4,
    mp_index,
    samsung,
    segment,
    ultra_hdr,
    with_segments,
    xmp,
)

Pixels = NDArray[np.uint8]
Read = Callable[..., Photo]
Exiftool = Callable[..., bytes]
WITH_XMP = ["png", "tiff", "webp", "avif", "jxl", "jp2"]
WITHOUT_METADATA = ["ppm", "pnm", "pfm", "hdr"]
CLIPS = {"Google's": motion_photo, "Google's older": micro_video, "Samsung's": samsung}


@pytest.fixture
def exiftool(tmp_path: Path) -> Exiftool:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool, which Debian has, is not here")

    def ask(data: bytes, *options: str) -> bytes:
        path = tmp_path / "asked.bin"
        path.write_bytes(data)
        return subprocess.run([program, *options, path], stdout=subprocess.PIPE, check=False).stdout

    return ask


@pytest.fixture
def second(rng: np.random.Generator) -> bytes:
    return gain_map(rng)


@pytest.fixture
def clip(rng: np.random.Generator) -> bytes:
    return mp4(rng)


def rewritten(data: bytes, read_bytes: Read, kind: str = "jpeg") -> bytes:
    return image.encode(read_bytes(data), kind, "test")


def packet(data: bytes, read_bytes: Read) -> bytes:
    return read_bytes(data).metadata.xmp or b""


def complaints(exiftool: Exiftool, data: bytes) -> set[str]:
    """What exiftool has to say against a file's structure; each of these files lacks some tags."""
    said = json.loads(exiftool(data, "-json", "-a", "-validate", "-warning", "-error"))[0]
    lines = said.get("Warning", [])
    return {line for line in ([lines] if isinstance(lines, str) else lines) if "Missing" not in line}


def clip_by(exiftool: Exiftool, data: bytes) -> bytes:
    """The clip where exiftool finds it, or as far before the end of the file as the tags that it reads say."""
    if found := exiftool(data, "-b", "-EmbeddedVideoFile"):
        return found
    said = json.loads(exiftool(data, "-json", "-n", "-XMP:all"))[0]
    lengths = [item["Length"] for item in items_by(exiftool, data) if item["Semantic"] == "MotionPhoto"]
    return data[-(lengths or [said["MicroVideoOffset"]])[0] :]


def items_by(exiftool: Exiftool, data: bytes) -> list[dict[str, Any]]:
    """The list of what follows the picture."""
    said = json.loads(exiftool(data, "-json", "-n", "-struct", "-XMP-Container:all"))[0]
    return [entry["Item"] for entry in said.get("Directory", said.get("ContainerDirectory", []))]


def test_a_gain_map_stays_to_the_byte_and_everything_still_points_at_it(
    picture: Pixels, second: bytes, read_bytes: Read, exiftool: Exiftool
) -> None:
    source = ultra_hdr(picture, second)

    result = rewritten(source, read_bytes)

    assert exiftool(result, "-b", "-MPImage2") == second
    assert complaints(exiftool, result) <= complaints(exiftool, source)
    said = json.loads(exiftool(result, "-json", "-n", "-MPImage2:all"))[0]
    assert [item["Length"] for item in items_by(exiftool, result)[1:]] == [len(second)]
    assert said["MPImageLength"] == len(second)
    assert said["MPImageStart"] == len(result) - len(second)
    assert ISO + bytes(4) in result
    assert read_bytes(result).notes == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_pillow_finds_a_second_picture(order: str, picture: Pixels, rng: np.random.Generator, read_bytes: Read) -> None:
    other = jpeg(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    source = indexed(jpeg(picture), [(0x020002, other)], b"\x00" * 5, order)

    result = rewritten(source, read_bytes)

    with Image.open(BytesIO(result)) as opened:
        assert opened.format == "MPO"
        opened.seek(1)
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(Image.open(BytesIO(other))))
    assert image.losses(read_bytes(source).metadata, "jpeg") == ("second picture carried over as it is",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stays_turned_as_the_gain_map_that_lies_over_it(
    orientation: int, picture: Pixels, second: bytes, read_bytes: Read
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    source = ultra_hdr(picture, second, exif=exif)

    result = rewritten(source, read_bytes)

    with Image.open(BytesIO(result)) as stored:
        assert stored.getexif().get(ExifTags.Base.Orientation, 1) == orientation
        assert np.abs(np.asarray(stored).astype(int) - picture).mean() < 4
    np.testing.assert_array_equal(read_bytes(result).pixels.shape, read_bytes(source).pixels.shape)
    with Image.open(BytesIO(rewritten(source, read_bytes, "png"))) as upright:
        assert upright.getexif().get(ExifTags.Base.Orientation, 1) == 1
        np.testing.assert_array_equal(np.asarray(upright), read_bytes(source).pixels)


def test_a_photo_without_anything_over_it_is_stored_upright(picture: Pixels, clip: bytes, read_bytes: Read) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6

    result = rewritten(motion_photo(picture, clip, exif=exif), read_bytes)

    with Image.open(BytesIO(result)) as stored:
        assert ExifTags.Base.Orientation not in stored.getexif()
        assert stored.size == (picture.shape[0], picture.shape[1])


@pytest.mark.parametrize("maker", CLIPS)
def test_a_clip_stays_to_the_byte(
    maker: str, picture: Pixels, clip: bytes, read_bytes: Read, exiftool: Exiftool
) -> None:
    source = CLIPS[maker](picture, clip)

    result = rewritten(source, read_bytes)

    assert clip_by(exiftool, result) == clip == clip_by(exiftool, source)
    assert packet(result, read_bytes) == packet(source, read_bytes)
    assert complaints(exiftool, result) <= complaints(exiftool, source)


def test_a_clip_behind_a_gain_map_stays_with_it(
    picture: Pixels, second: bytes, clip: bytes, read_bytes: Read, exiftool: Exiftool
) -> None:
    result = rewritten(ultra_hdr(picture, second, clip), read_bytes)

    assert result.endswith(second + clip)
    assert exiftool(result, "-b", "-MPImage2") == second
    assert clip_by(exiftool, result) == clip


def test_the_length_of_the_picture_itself_is_not_stated_wrong(picture: Pixels, second: bytes, read_bytes: Read) -> None:
    result = rewritten(ultra_hdr(picture, second, primary_length=4711), read_bytes)

    left = packet(result, read_bytes)
    assert b"4711" not in left
    assert f'Item:Length="{len(second)}"'.encode() in left


@pytest.mark.parametrize("target", WITH_XMP)
def test_what_a_format_cannot_hold_is_named_and_no_longer_claimed(
    target: str, picture: Pixels, second: bytes, clip: bytes, read_bytes: Read
) -> None:
    photo = read_bytes(ultra_hdr(picture, second, clip))

    left = packet(image.encode(photo, target, "test"), read_bytes)

    assert image.losses(photo.metadata, target) == (
        f"not carried over to {target}: HDR gain map, clip of a motion photo",
    )
    assert b'dc:source="film 12"' in left
    assert not re.search(rb"hdrgm|GainMap|MotionPhoto|Container:Directory", left)


@pytest.mark.parametrize("target", WITHOUT_METADATA)
def test_a_format_of_pixels_alone_is_said_to_lose_the_rest(
    target: str, picture: Pixels, second: bytes, read_bytes: Read
) -> None:
    photo = read_bytes(ultra_hdr(picture, second))
    assert image.losses(photo.metadata, target) == (f"not carried over to {target}: HDR gain map, XMP",)
    assert read_bytes(image.encode(photo, target, "test")).metadata.xmp is None


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_depth_map_in_extended_xmp_stays_over_its_picture(
    orientation: int, picture: Pixels, read_bytes: Read, exiftool: Exiftool
) -> None:
    depth = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + bytes(100_000) + b"</x:xmpmeta>"
    source = extended_depth(picture, depth, orientation)

    result = rewritten(source, read_bytes)

    parts = re.findall(rb"xmp/extension/\x00.{32}(.{8})", result, re.DOTALL)
    assert [struct.unpack(">II", part) for part in parts] == [(len(depth), at) for at in (0, 40_000, 80_000)]
    assert complaints(exiftool, result) <= complaints(exiftool, source)
    with Image.open(BytesIO(result)) as stored:
        assert stored.getexif().get(ExifTags.Base.Orientation, 1) == orientation
    photo = read_bytes(source)
    assert image.losses(photo.metadata, "png") == ("not carried over to png: depth map, extended XMP",)
    left = packet(image.encode(photo, "png", "test"), read_bytes)
    assert b"GDepth" not in left
    assert b"HasExtendedXMP" not in left
    assert b"film 12" in left


def test_extended_xmp_that_nothing_refers_to_is_left_out_and_named(picture: Pixels, read_bytes: Read) -> None:
    photo = read_bytes(extended_depth(picture, bytes(100)).replace(b"HasExtendedXMP", b"HadExtendedXMP"))

    assert photo.notes == (
        "damaged and left out: extended XMP",
        "removed from the XMP, as the file does not hold it: depth map",
    )
    assert b"xmp/extension" not in image.encode(photo, "jpeg", "test")


def test_incomplete_extended_xmp_is_no_longer_claimed(picture: Pixels, read_bytes: Read) -> None:
    source = extended_depth(picture, bytes(100_000))
    place = source.rindex(b"\xff\xe1")
    length = int.from_bytes(source[place + 2 : place + 4], "big")

    photo = read_bytes(source[:place] + source[place + 2 + length :])

    assert photo.notes == (
        "damaged and left out: extended XMP",
        "removed from the XMP, as the file does not hold it: depth map",
    )
    assert b"HasExtendedXMP" not in (photo.metadata.xmp or b"")
    assert b"xmp/extension" not in image.encode(photo, "jpeg", "test")


def test_a_manifest_goes_and_a_note_says_so(picture: Pixels, read_bytes: Read) -> None:
    other_box = segment(0xEB, b"JP" + struct.pack(">HI", 8, 1) + bytes(40))

    photo = read_bytes(with_segments(jpeg(picture), *manifest(), other_box))

    assert photo.notes == ("C2PA manifest removed: its signature does not hold for a picture that was edited",)
    result = image.encode(photo, "jpeg", "test")
    assert b"c2pa" not in result
    assert result.count(b"\xff\xeb") == 1
    assert other_box in result


def test_previews_of_the_old_picture_go_and_a_note_says_so(
    picture: Pixels, second: bytes, read_bytes: Read, exiftool: Exiftool
) -> None:
    preview = jpeg(picture[::2, ::2])
    photo = read_bytes(indexed(jpeg(picture), [(0x010002, preview), (0, second), (0x010001, preview)], b"\x00" * 3))

    result = image.encode(photo, "jpeg", "test")

    assert photo.notes == ("previews left out: they show the old picture",)
    assert preview not in result
    assert exiftool(result, "-b", "-MPImage2") == second
    assert json.loads(exiftool(result, "-json", "-NumberOfImages"))[0]["NumberOfImages"] == 2


def test_a_file_with_nothing_but_a_preview_becomes_one_without_an_index(picture: Pixels, read_bytes: Read) -> None:
    result = rewritten(indexed(jpeg(picture), [(0x010002, jpeg(picture[::2, ::2]))]), read_bytes)

    assert b"MPF\x00" not in result
    assert result.endswith(b"\xff\xd9")
    assert result.count(b"\xff\xd8\xff") == 1


def test_segments_of_makers_stay_to_the_byte(picture: Pixels, read_bytes: Read) -> None:
    segments = [
        segment(0xE1, b"FLIR\x00" + bytes(range(200))),
        segment(0xE5, b"RMETA\x00" + bytes(range(100))),
        segment(0xED, b"Photoshop 3.0\x00" + b"8BIM\x04\x0a\x00\x00\x00\x00\x00\x01\x01\x00"),  # a copyright flag
        segment(0xE0, b"JFXX\x00\x10" + jpeg(picture[::4, ::4])),
    ]
    photo = read_bytes(with_segments(jpeg(picture), *segments))

    result = image.encode(photo, "jpeg", "test")

    assert all(kept in result for kept in segments[:3])
    assert b"JFXX" not in result  # a thumbnail of the old picture
    assert image.losses(photo.metadata, "png") == ("not carried over to png: APP1, APP5, Photoshop's resources",)


def test_photoshop_s_thumbnail_goes_and_iptc_is_there_once(picture: Pixels, read_bytes: Read) -> None:
    def resource(number: int, body: bytes) -> bytes:
        return b"8BIM" + struct.pack(">HHI", number, 0, len(body)) + body + bytes(len(body) % 2)

    iptc = b"\x1c\x02\x78\x00\x05quiet"
    body = resource(0x040C, b"thumbnail") + resource(0x0404, iptc) + resource(0x040B, b"http://example.org/")
    photo = read_bytes(with_segments(jpeg(picture), segment(0xED, b"Photoshop 3.0\x00" + body)))

    result = image.encode(photo, "jpeg", "test")

    assert result.count(iptc) == 1
    assert b"thumbnail" not in result
    assert resource(0x040B, b"http://example.org/") in result


def test_all_comments_stay_to_the_byte_and_become_text_of_a_png(
    picture: Pixels, read_bytes: Read, exiftool: Exiftool
) -> None:
    comments = [b"by the sea", "Jos\xe9".encode("latin-1"), "José".encode()]
    photo = read_bytes(with_segments(jpeg(picture), *(segment(0xFE, comment) for comment in comments)))

    result = image.encode(photo, "jpeg", "test")

    assert [segment(0xFE, comment) in result for comment in comments] == [True] * 3
    assert exiftool(result, "-s3", "-a", "-Comment").split(b"\n")[0] == b"by the sea"
    with Image.open(BytesIO(image.encode(photo, "png", "test"))) as png:
        assert png.text["Comment"] == "José"
    assert image.losses(photo.metadata, "webp") == ("not carried over to webp: text (Comment, Comment, Comment)",)


def test_what_does_not_fit_is_named() -> None:
    metadata = Metadata(xmp=b"<x>" + b" " * 70_000 + b"</x>", iptc=b"\x1c", texts=(("Comment", "x" * 70_000),))

    assert image.losses(metadata, "jpeg") == ("not carried over to jpeg: XMP, text (Comment)",)
    assert image.losses(metadata, "png") == ("not carried over to png: IPTC",)
    assert image.losses(metadata, "tiff") == (f"not carried over to tiff: text ({COMMENT})",)


def test_names_from_a_file_stay_on_one_line() -> None:
    metadata = Metadata(texts=(("A\nB\x1b[2J", ""), *((f"text {number}", "") for number in range(8))))

    assert image.losses(metadata, "tiff") == (
        "not carried over to tiff: text (A?B?[2J, text 0, text 1, text 2, text 3, ...)",
    )


def test_unknown_bytes_behind_the_picture_are_named_and_fillers_are_not(picture: Pixels, read_bytes: Read) -> None:
    assert read_bytes(jpeg(picture) + b"unknown").notes == ("7 unknown bytes behind the picture left out",)
    assert read_bytes(jpeg(picture) + bytes(512)).notes == ()


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda data, second: data[: -len(second) // 2], "damaged and left out: HDR gain map"),
        (
            lambda data, second: data[: -len(second)].replace(b"MPF", b"XYZ"),
            "removed from the XMP, as the file does not hold it: HDR gain map",
        ),
        (lambda data, second: data[: -len(second)] + bytes(len(second)), "damaged and left out: HDR gain map"),
    ],
    ids=["truncated", "missing", "overwritten"],
)
def test_a_damaged_gain_map_is_left_out_and_no_longer_claimed(
    damage: Callable[[bytes, bytes], bytes],
    note: str,
    picture: Pixels,
    second: bytes,
    read_bytes: Read,
) -> None:
    photo = read_bytes(damage(ultra_hdr(picture, second), second))

    assert photo.notes == (note,)
    result = image.encode(photo, "jpeg", "test")
    assert b"MPF\x00" not in result
    assert not re.search(rb"hdrgm|GainMap|Directory", photo.metadata.xmp or b"")
    assert b"film 12" in (photo.metadata.xmp or b"")


def test_a_truncated_clip_goes_and_the_gain_map_stays(
    picture: Pixels, second: bytes, clip: bytes, read_bytes: Read
) -> None:
    photo = read_bytes(ultra_hdr(picture, second, clip)[:-10])

    result = image.encode(photo, "jpeg", "test")

    assert photo.notes == ("damaged and left out: clip of a motion photo",)
    assert result.endswith(second)
    assert b"MotionPhoto" not in (photo.metadata.xmp or b"")
    assert b"GainMap" in (photo.metadata.xmp or b"")


def test_claims_of_what_another_program_has_cut_off_are_removed(picture: Pixels, clip: bytes, read_bytes: Read) -> None:
    photo = read_bytes(micro_video(picture, clip).removesuffix(clip))

    assert photo.notes == ("removed from the XMP, as the file does not hold it: clip of a motion photo",)
    assert b"MicroVideo" not in (photo.metadata.xmp or b"")


def test_a_clip_of_which_no_xmp_speaks_stays(picture: Pixels, clip: bytes, read_bytes: Read) -> None:
    photo = read_bytes(jpeg(picture) + clip)

    assert image.encode(photo, "jpeg", "test").endswith(clip)
    assert image.losses(photo.metadata, "png") == ("not carried over to png: clip of a motion photo",)


def test_a_switch_that_is_off_claims_nothing(picture: Pixels, read_bytes: Read) -> None:
    attributes = 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="0"'

    assert read_bytes(with_segments(jpeg(picture), xmp(attributes))).notes == ()


@pytest.mark.parametrize("offset", [0, 1, 50, 2**31, 2**32 - 1])
@pytest.mark.parametrize("size", [0, 5, 2**32 - 1])
def test_an_index_that_points_anywhere_does_no_harm(
    offset: int, size: int, picture: Pixels, second: bytes, read_bytes: Read
) -> None:
    data = indexed(jpeg(picture), [(0, second)])
    at = data.index(b"MPF\x00") + 4 + 50 + 16 + 4
    data = data[:at] + struct.pack(">II", size, offset) + data[at + 8 :]

    photo = read_bytes(data)

    assert photo.notes == ("damaged and left out: second picture",)
    assert len(image.encode(photo, "jpeg", "test")) < 2 * len(data)


def test_pictures_that_claim_the_same_bytes_do_not_multiply_the_file(
    picture: Pixels, second: bytes, read_bytes: Read
) -> None:
    main = jpeg(picture)
    place = main.index(b"\xff\xdb")
    size = len(main) + 4 + 4 + 50 + 16 * 501
    index = mp_index([(0x20030000, size, 0)] + [(0, len(second), size - place - 8)] * 500)
    source = main[:place] + index + main[place:] + second

    result = rewritten(source, read_bytes)

    assert len(result) < len(source) + 2000


def test_whatever_bytes_change_a_photo_is_read_or_refused_in_one_line(
    picture: Pixels, second: bytes, clip: bytes, rng: np.random.Generator, read_bytes: Read
) -> None:
    whole = np.frombuffer(ultra_hdr(picture, second, clip), np.uint8)
    head = len(whole) - len(second) - len(clip)
    for _ in range(300):
        data = whole.copy()
        data[rng.integers(2, head, 6)] = rng.integers(0, 256, 6)
        data = data[: rng.integers(head // 2, len(data))] if rng.random() < 0.3 else data
        try:
            photo = read_bytes(data.tobytes())
        except UnreadableFile:
            continue
        image.encode(photo, "jpeg", "test")
        image.encode(photo, "png", "test")


def test_a_list_of_items_in_elements_is_understood(picture: Pixels, second: bytes, read_bytes: Read) -> None:
    def item(semantic: str, length: int) -> str:
        return (
            '<rdf:li><rdf:Description><Container:Item rdf:parseType="Resource">'
            f"<Item:Semantic>{semantic}</Item:Semantic><Item:Length>{length}</Item:Length>"
            "</Container:Item></rdf:Description></rdf:li>"
        )

    entries = item("Primary", 99) + item("GainMap", len(second))
    directory = re.sub("<rdf:Seq>.*</rdf:Seq>", f"<rdf:Seq>{entries}</rdf:Seq>", container())
    photo = read_bytes(with_segments(jpeg(picture), xmp("", directory)) + second)

    assert photo.notes == ()
    assert image.encode(photo, "jpeg", "test").endswith(second)
    assert b">99<" not in (photo.metadata.xmp or b"")
    assert image.losses(photo.metadata, "png") == ("not carried over to png: HDR gain map",)


def everything_said(picture: Pixels) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A maker"
    return with_segments(jpeg(picture, exif=exif), xmp())


def resources(number: int, body: bytes) -> bytes:
    return segment(0xED, b"Photoshop 3.0\x00" + b"8BIM" + struct.pack(">HHI", number, 0, len(body)) + body)


IPTC = b"\x1c\x02\x78\x00\x05quiet\x00"
# By the first cell of a row of the table in docs/cli.md: a JPEG that carries this and nothing else, and a part of it.
CARRIED: dict[str, Callable[[Pixels, bytes, bytes], tuple[bytes, bytes]]] = {
    "EXIF with the maker's notes, XMP": lambda picture, second, clip: (everything_said(picture), b"A maker"),
    "IPTC": lambda picture, second, clip: (with_segments(jpeg(picture), resources(0x0404, IPTC)), b"quiet"),
    "comments": lambda picture, second, clip: (with_segments(jpeg(picture), segment(0xFE, b"by the sea")), b"the sea"),
    "gain map (Ultra HDR, ISO 21496-1, Apple's)": lambda picture, second, clip: (ultra_hdr(picture, second), second),
    "clip of a motion photo (Google's two forms)": lambda picture, second, clip: (motion_photo(picture, clip), clip),
    "clip and other data in Samsung's trailer": lambda picture, second, clip: (samsung(picture, clip), clip),
    "second picture of a stereo pair or a panorama": lambda picture, second, clip: (
        indexed(jpeg(picture), [(0x020002, jpeg(picture[:9]))]),
        jpeg(picture[:9]),
    ),
    "depth map and other extended XMP": lambda picture, second, clip: (
        extended_depth(picture, b"far" * 999),
        b"far" * 999,
    ),
    "segments of makers (APP0 to APP15), such as FLIR's": lambda picture, second, clip: (
        with_segments(jpeg(picture), segment(0xE1, b"FLIR\x00heat")),
        b"FLIR\x00heat",
    ),
    "Photoshop's paths, guides and other resources": lambda picture, second, clip: (
        with_segments(jpeg(picture), resources(0x0408, b"guides")),
        b"guides",
    ),
    "previews behind the picture": lambda picture, second, clip: (
        indexed(jpeg(picture), [(0x010002, jpeg(picture[:9]))]),
        jpeg(picture[:9]),
    ),
    "thumbnails": lambda picture, second, clip: (
        with_segments(jpeg(picture), segment(0xE0, b"JFXX\x00\x10" + jpeg(picture[:9]))),
        jpeg(picture[:9]),
    ),
    "C2PA manifest": lambda picture, second, clip: (with_segments(jpeg(picture), *manifest()), b"c2pa"),
    "unknown data behind the picture": lambda picture, second, clip: (jpeg(picture) + b"unknown", b"unknown"),
}


def rows_of_the_docs() -> dict[str, list[str]]:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    table = page.split("<!-- in a JPEG -->")[1].split("<!-- end -->")[0].strip().splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {name: cells for name, *cells in rows}


def test_the_docs_have_a_row_for_everything_that_is_tested() -> None:
    assert list(rows_of_the_docs()) == list(CARRIED)


@pytest.mark.parametrize("name", CARRIED)
def test_the_docs_say_what_becomes_of_it(
    name: str, picture: Pixels, second: bytes, clip: bytes, read_bytes: Read
) -> None:
    source, part = CARRIED[name](picture, second, clip)
    photo = read_bytes(source)
    assert part in source

    def outcome(kind: str) -> str:
        kept = "kept" if part in image.encode(photo, kind, "test") else "removed"
        return kept + (", with a note" if photo.notes + image.losses(photo.metadata, kind) else "")

    assert [outcome(kind) for kind in ("jpeg", "png", "tiff", "webp")] == rows_of_the_docs()[name]
    assert outcome("avif") == outcome("webp")


@pytest.mark.parametrize("wrong", [-50, 10, 100_000])
def test_a_picture_whose_length_is_stated_wrong_is_kept_to_its_end(wrong: int, read_bytes: Read) -> None:
    buffer = BytesIO()
    first, *others = (Image.new("L", (32, 24), level) for level in (50, 100, 150))
    first.save(buffer, "MPO", save_all=True, append_images=others)
    data = bytearray(buffer.getvalue())
    index = data.index(PREFIX) + len(PREFIX)
    listed = entries_of(bytes(data[index:]))
    true_length = len(data) - index - listed[2].offset
    place = data.index(struct.pack("<III", *(getattr(listed[2], name) for name in ("attributes", "size", "offset"))))
    struct.pack_into("<I", data, place + 4, true_length + wrong)

    photo = read_bytes(bytes(data))

    assert photo.notes == ()
    with Image.open(BytesIO(image.encode(photo, "jpeg", "test"))) as result:
        assert result.n_frames == 3
        for number, level in enumerate((50, 100, 150)):
            result.seek(number)
            assert np.asarray(result).mean() == pytest.approx(level, abs=1)
