"""Makers' notes, made as cameras make them, stay whole wherever they are written."""

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise_cli.imaging.filters import ColourFilters
from denoise_cli.io import dng, image
from denoise_cli.io.exif import parse
from denoise_cli.io.maker_note import moved
from denoise_cli.io.photo import Photo

Read = Callable[..., Photo]
Entry = tuple[int, int, int, bytes]  # tag, type, count, value

SOFTWARE = "denoise 1.2 (mallenet-s, sigma 7.5)"
PLACE = 512  # where the note is in the source's EXIF
OWN_TIFF = b"Nikon\x00\x02\x10\x00\x00"


def directory(entries: list[Entry], order: str, start: int, gap: int = 0) -> bytes:
    """A directory that is at `start`, counted from where its places are counted, with its values behind it."""
    fields, values = b"", b""
    first = start + 2 + 12 * len(entries) + 4 + gap
    for tag, kind, count, value in entries:
        inline = value.ljust(4, b"\x00")
        if len(value) > 4:
            inline = struct.pack(order + "I", first + len(values))
            values += value + b"\x00" * (len(value) % 2)
        fields += struct.pack(order + "HHI", tag, kind, count) + inline
    return struct.pack(order + "H", len(entries)) + fields + bytes(4 + gap) + values


@dataclass(frozen=True)
class Maker:
    """A maker's note, the order of its EXIF, and a text in it with its names in exiftool and exiv2."""

    name: str
    model: str
    note: bytes
    order: str
    text: bytes
    in_exiftool: str
    in_exiv2: str
    counts_from_file: bool = True


def ascii_entry(tag: int, text: bytes) -> Entry:
    return tag, 2, len(text) + 1, text + b"\x00"


def canon() -> Maker:
    lens = b"EF24-105mm f/4L IS USM"
    settings = struct.pack("<46H", 92, *range(45))
    entries = [(1, 3, 46, settings), ascii_entry(6, b"Canon EOS 6D"), (16, 4, 1, struct.pack("<I", PLACE + 40))]
    note = directory([*entries, ascii_entry(149, lens)], "<", PLACE)
    note += b"II*\x00" + struct.pack("<I", PLACE)
    return Maker("Canon", "Canon EOS 6D", note, "<", lens, "Canon:LensModel", "Exif.Canon.LensModel")


def old_nikon() -> Maker:
    head = b"Nikon\x00\x01\x00"
    entries = [ascii_entry(2, b"E950 firmware v1.1"), (8, 5, 1, struct.pack("<II", 3, 10))]
    note = head + directory(entries, "<", PLACE + len(head))
    names = ("Nikon:Nikon_Type2_0x0002", "Exif.Nikon2.0x0002")
    return Maker("NIKON", "E950", note, "<", b"E950 firmware v1.1", *names)


def bare_nikon() -> Maker:
    entries = [ascii_entry(4, b"VERY FINE"), (132, 5, 4, struct.pack("<8I", 240, 10, 850, 10, 28, 10, 40, 10))]
    note = directory(entries, "<", PLACE)
    return Maker("NIKON", "NIKON D1", note, "<", b"VERY FINE", "Nikon:Quality", "Exif.Nikon1.Quality")


def old_olympus() -> Maker:
    """With a directory inside a value of no type, as the E-1 has it, whose values count from the file as well."""
    head = b"OLYMP\x00\x01\x00"
    upper_length = len(directory([(0x207, 2, 6, b"D4040\x00"), (0x2010, 7, 99, bytes(99))], "<", 0)) - 100
    below = PLACE + len(head) + upper_length
    equipment = [(0, 7, 4, b"0100"), ascii_entry(0x203, b"ZUIKO 14-54mm"), ascii_entry(0x101, b"0123456789")]
    equipment.sort()
    nested = directory(equipment, "<", below)
    note = head + directory([(0x207, 2, 6, b"D4040\x00"), (0x2010, 7, len(nested), nested)], "<", PLACE + len(head))
    return Maker("OLYMPUS CORPORATION", "E-1", note, "<", b"ZUIKO 14-54mm", "Olympus:LensModel", "")


def panasonic() -> Maker:
    head, lens = b"Panasonic\x00\x00\x00", b"LUMIX G VARIO 14-42/F3.5-5.6"
    entries = [(1, 3, 1, struct.pack("<H", 2)), (0x25, 7, 16, b"F301208150001\x00\x00\x00"), ascii_entry(0x51, lens)]
    note = head + directory(entries, "<", PLACE + len(head))
    return Maker("Panasonic", "DMC-GF1", note, "<", lens, "Panasonic:LensType", "Exif.Panasonic.LensType")


def pentax() -> Maker:
    """In the other byte order than its EXIF."""
    head = b"AOC\x00MM"
    entries = [(0, 1, 4, bytes([3, 0, 0, 0])), (0x39, 2, 12, b"Optio tested"), (0x3F, 1, 6, b"\x03\xffs\x00\x00\x00")]
    note = head + directory(entries, ">", PLACE + len(head))
    return Maker("PENTAX Corporation", "PENTAX K10D", note, "<", b"Optio tested", "", "")


def new_nikon() -> Maker:
    entries = [ascii_entry(4, b"NEF (RAW)"), ascii_entry(29, b"No. 3001234")]
    note = OWN_TIFF + b"MM\x00*\x00\x00\x00\x08" + directory(entries, ">", 8)
    return Maker(
        "NIKON CORPORATION", "NIKON D70", note, "<", b"NEF (RAW)", "Nikon:Quality", "Exif.Nikon3.Quality", False
    )


def new_olympus() -> Maker:
    """Its values are so far behind its directory that they would be inside the note by either way to count."""
    head = b"OLYMPUS\x00II\x03\x00"
    lens = b"OLYMPUS M.14-42mm F3.5-5.6"
    below = len(head) + len(directory([(0x2010, 13, 1, bytes(4))] * 2, "<", 0)) + 5  # of the type: to be even
    below += below % 2
    nested = directory([(0, 7, 4, b"0100"), ascii_entry(0x203, lens)], "<", below, gap=PLACE + 100)
    places = struct.pack("<I", below + len(nested))
    name = b"E-PL1 with a name that is long\x00"
    upper = struct.pack("<H", 2) + struct.pack("<HHI", 0x207, 2, len(name)) + places
    upper += struct.pack("<HHII", 0x2010, 13, 1, below) + bytes(4)
    note = (head + upper).ljust(below, b"\x00") + nested + name
    names = ("Olympus:LensModel", "Exif.OlympusEq.LensModel")
    return Maker("OLYMPUS IMAGING CORP.", "E-PL1", note, "<", lens, *names, False)


def fujifilm() -> Maker:
    entries = [(0, 7, 4, b"0130"), ascii_entry(0x1000, b"NORMAL quality")]
    note = b"FUJIFILM" + struct.pack("<I", 12) + directory(entries, "<", 12)
    names = ("FujiFilm:Quality", "Exif.Fujifilm.Quality")
    return Maker("FUJIFILM", "FinePix", note, ">", b"NORMAL quality", *names, False)


MAKERS = [
    canon(), old_nikon(), bare_nikon(), old_olympus(), panasonic(), pentax(), new_nikon(), new_olympus(), fujifilm()
]  # fmt: skip
IDS = [
    "Canon", "Nikon 1", "Nikon without a name", "Olympus 1", "Panasonic", "Pentax", "Nikon 3", "Olympus 2", "Fujifilm"
]  # fmt: skip
TARGETS = ["jpeg", "png", "tiff", "webp", "avif", "dng"]


def exif_with(maker: Maker) -> bytes:
    """A TIFF structure with the note at `PLACE`."""
    order = maker.order
    names = [ascii_entry(271, maker.name.encode()), ascii_entry(272, maker.model.encode())]
    below = 8 + len(directory([*names, (34665, 4, 1, bytes(4))], order, 8))
    first = directory([*names, (34665, 4, 1, struct.pack(order + "I", below))], order, 8)
    second = struct.pack(order + "HHHIII", 1, 37500, 7, len(maker.note), PLACE, 0)
    start = {"<": b"II*\x00\x08\x00\x00\x00", ">": b"MM\x00*\x00\x00\x00\x08"}[order] + first + second
    assert len(start) <= PLACE
    return start.ljust(PLACE, b"\x00") + maker.note


def with_note(maker: Maker, target: str, read_bytes: Read) -> bytes:
    """What the program makes of a JPEG with the note."""
    buffer = BytesIO()
    Image.new("RGB", (64, 48), "grey").save(buffer, "JPEG", exif=b"Exif\x00\x00" + exif_with(maker))
    photo = read_bytes(buffer.getvalue())
    if target != "dng":
        return image.encode(photo, target, SOFTWARE)
    exif = parse(photo.metadata.exif or b"")
    negative = dng.DigitalNegative(
        values=np.full((64, 64), 900, np.uint16),
        filters=ColourFilters("bayer", (0, 0)),
        black=(64.0,) * 4,
        white=4095,
        camera=dng.colour_tags(exif, np.eye(3), np.ones(3), maker.model),
        exif=exif,
        orientation=1,
        noise=None,
        preview=np.zeros((16, 16, 3), np.uint8),
    )
    return image.encode(negative, target, SOFTWARE)


def block_of(data: bytes, target: str) -> bytes:
    """The TIFF structure that holds the EXIF."""
    if target in ("tiff", "dng"):
        return data
    block: bytes = Image.open(BytesIO(data)).info["exif"]
    return block.removeprefix(b"Exif\x00\x00")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("maker", [maker for maker in MAKERS if maker.counts_from_file], ids=IDS[:6])
def test_a_note_that_counts_from_the_start_of_the_file_names_its_values_where_they_are(
    maker: Maker, target: str, read_bytes: Read
) -> None:
    block = block_of(with_note(maker, target, read_bytes), target)

    place = block.index(maker.text)
    order = ">" if b"MM" in maker.note[:6] else maker.order
    assert place != PLACE + maker.note.index(maker.text)  # it has moved
    note = parse(block).exif[37500]
    assert note.place is not None
    assert struct.pack(order + "I", place) in note.data
    assert struct.pack(order + "I", PLACE + maker.note.index(maker.text)) not in note.data
    assert moved(note.data, maker.order, note.place, PLACE) == maker.note  # nothing else has changed


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("maker", [maker for maker in MAKERS if not maker.counts_from_file], ids=IDS[6:])
def test_a_note_that_counts_from_its_own_start_is_carried_to_the_byte(
    maker: Maker, target: str, read_bytes: Read
) -> None:
    assert parse(block_of(with_note(maker, target, read_bytes), target)).exif[37500].data == maker.note


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("maker", [maker for maker in MAKERS if maker.in_exiftool], ids=lambda maker: maker.model)
def test_exiftool_reads_the_note(maker: Maker, target: str, read_bytes: Read, tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    path = tmp_path / f"result.{target}"
    path.write_bytes(with_note(maker, target, read_bytes))
    said = subprocess.run(
        ["exiftool", "-j", "-G1", "-a", "-u", path], capture_output=True, text=True, check=True
    ).stdout

    tags = json.loads(said)[0]
    assert tags[maker.in_exiftool].strip("\x00").upper() == maker.text.decode().upper()
    assert "ExifTool:Warning" not in tags


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "avif"])
@pytest.mark.parametrize("maker", [maker for maker in MAKERS if maker.in_exiv2], ids=lambda maker: maker.model)
def test_exiv2_reads_the_note(maker: Maker, target: str, read_bytes: Read, tmp_path: Path) -> None:
    if shutil.which("exiv2") is None:
        pytest.skip("exiv2 is not installed")
    path = tmp_path / f"result.{target}"
    path.write_bytes(with_note(maker, target, read_bytes))
    found = subprocess.run(["exiv2", "-u", "-PEkv", path], capture_output=True, text=True, check=True).stdout

    values = dict(line.split(maxsplit=1) for line in found.splitlines() if len(line.split()) > 1)
    assert values[maker.in_exiv2].strip() == maker.text.decode()


def test_canon_s_footer_says_where_the_note_is_now() -> None:
    note = moved(canon().note, "<", PLACE, 4000)

    assert note[-8:] == b"II*\x00" + struct.pack("<I", 4000)


def test_a_number_that_looks_like_a_place_stays_as_it_is() -> None:
    entry = struct.pack("<HHII", 16, 4, 1, PLACE + 40)
    assert entry in canon().note

    assert entry in moved(canon().note, "<", PLACE, 4000)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"KDK0100" + bytes(range(200)),
        bytes(range(256)) * 3,
        b"\xff" * 300,
        struct.pack("<HHHII", 1, 1, 2, 2**32 - 1, 2**32 - 1) + bytes(40),
        directory([(1, 2, 9, b"elsewhere")], "<", 90_000),
    ],
    ids=["empty", "binary", "counting", "ones", "a value larger than memory", "values elsewhere"],
)
def test_what_is_no_directory_is_left_alone(note: bytes) -> None:
    assert moved(note, "<", PLACE, 4000) == note


def test_damaged_notes_keep_their_length_and_raise_nothing(rng: np.random.Generator) -> None:
    for maker in MAKERS:
        for _ in range(200):
            damaged = bytearray(maker.note)
            for place in rng.integers(0, len(damaged), 6):
                damaged[place] = rng.integers(0, 256)
            cut = bytes(damaged[: rng.integers(0, len(damaged))])
            assert len(moved(cut, maker.order, PLACE, 4000)) == len(cut)
