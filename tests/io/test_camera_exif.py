"""EXIF found in containers that are made here as cameras make them."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoise_cli.io import image
from denoise_cli.io.camera_exif import exif_of, exif_of_jpeg, with_adobe_note
from denoise_cli.io.exif import ASCII, BYTE, LONG, MAKER_NOTE, SHORT, UNDEFINED, Exif, Value, pack, parse
from denoise_cli.io.maker_note import moved
from denoise_cli.io.metadata import camera_name, keep_descriptive

LENS = b"EF24-105mm f/4L IS USM\x00"
DATE = "2024:05:06 07:08:09"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


@pytest.fixture
def shot() -> Exif:
    exif = Exif()
    exif.main = {271: exif.text("Maker"), 272: exif.text("Model 5")}
    exif.exif = {36867: exif.text(DATE), 42033: exif.text("12345678"), 42036: Value(ASCII, LENS)}
    exif.gps = {1: exif.text("N")}
    return exif


def jpeg_with(exif: Exif, xmp: bytes = b"") -> bytes:
    buffer = BytesIO()
    options = {"xmp": xmp} if xmp else {}
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", exif=b"Exif\x00\x00" + pack(exif), **options)
    return buffer.getvalue()


def raf(jpeg: bytes) -> bytes:
    head = b"FUJIFILMCCD-RAW 0201FF392201X-T5".ljust(84, b"\x00")
    return head + struct.pack(">II", 160, len(jpeg)) + bytes(68) + jpeg + b"the mosaic"


def rw2(jpeg: bytes) -> bytes:
    entries = struct.pack("<HHII", 2, 3, 1, 4000) + struct.pack("<HHII", 46, UNDEFINED, len(jpeg), 64)
    entries += struct.pack("<HHI", 271, ASCII, 4) + b"Pan\x00"
    return (b"IIU\x00\x08\x00\x00\x00" + struct.pack("<H", 3) + entries).ljust(64, b"\x00") + jpeg + b"the mosaic"


def mrw(exif: Exif) -> bytes:
    blocks = b"".join(
        name + struct.pack(">I", len(body)) + body
        for name, body in ((b"\x00PRD", bytes(24)), (b"\x00TTW", pack(exif)), (b"\x00WBG", bytes(12)))
    )
    return b"\x00MRM" + struct.pack(">I", len(blocks)) + blocks + b"the mosaic"


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(name[4:]) + len(body)) + name[:4] + name[4:] + body


def cr3(exif: Exif, note: dict[int, Value]) -> bytes:
    def alone(directory: dict[int, Value]) -> bytes:
        return pack(Exif(exif.order, directory))

    uuid = b"uuid" + bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    parts = [(b"CMT1", exif.main), (b"CMT2", exif.exif), (b"CMT3", note), (b"CMT4", exif.gps)]
    metadata = box(uuid, box(b"CNCV", b"CanonCR3") + b"".join(box(name, alone(part)) for name, part in parts))
    packet = box(b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), XMP)
    pixels = struct.pack(">I4sQ", 1, b"mdat", 16 + 9) + b"the mosaic"[:9]
    return box(b"ftyp", b"crx \x00\x00\x00\x01") + box(b"moov", metadata + box(b"trak", b"")) + packet + pixels


def heap(records: list[tuple[int, bytes]]) -> bytes:
    """A CIFF heap: the values, the directory, and where that is; values of records marked 0x4000 are in it."""
    values, entries = b"", b""
    for number, value in records:
        if number & 0x4000:
            entries += struct.pack("<H8s", number, value)
        else:
            entries += struct.pack("<HII", number, len(value), len(values))
            values += value
    return values + struct.pack("<H", len(records)) + entries + struct.pack("<I", len(values))


SETTINGS = struct.pack("<46h", 92, *[0] * 21, 251, 105, 24, 1, *[0] * 20)  # lens 251 of 24 to 105 mm, in 1 per mm
SHOT = struct.pack("<24h", 48, 32, 160, 0, 0, 0, -12, *[0] * 14, 140, 224, 0)  # twice ISO 100, -1/3, f/4.5, 1/128


def crw() -> bytes:
    props = heap(
        [
            (0x080A, b"Canon\x00Canon EOS 300D\x00".ljust(32, b"\x00")),
            (0x0810, b"Jos\xc3\xa9".ljust(32, b"\x00")),
            (0x102D, SETTINGS),
            (0x102A, SHOT),
            (0x5029, struct.pack("<4h", 1, 50, 907, 605)),
            (0x580B, struct.pack("<II", 1234567890, 0)),
            (0x180E, struct.pack("<III", 1076070609, 0, 0)),
        ]
    )
    return b"II\x1a\x00\x00\x00HEAPCCDR".ljust(26, b"\x00") + heap([(0x2005, b"the mosaic"), (0x300A, props)])


def test_a_raf_has_the_exif_of_its_jpeg(shot: Exif) -> None:
    found = exif_of(raf(jpeg_with(shot, XMP)))

    assert (found.exif, found.gps) == (shot.exif, shot.gps)
    assert found.main == shot.main | {700: Value(BYTE, XMP)}


def test_an_rw2_has_the_exif_of_its_jpeg(shot: Exif) -> None:
    assert exif_of(rw2(jpeg_with(shot))) == shot
    assert exif_of(rw2(b"no JPEG")).string(exif_of(rw2(b"no JPEG")).main[271]) == "Pan"


def test_an_mrw_has_the_exif_of_its_block(shot: Exif) -> None:
    assert exif_of(mrw(shot)) == shot


def test_a_cr3_has_the_exif_of_its_boxes_and_its_maker_s_note(shot: Exif) -> None:
    note = {6: Value(ASCII, b"Canon EOS R5\x00"), 16: shot.long(0x80000421), 149: Value(ASCII, LENS)}

    found = exif_of(cr3(shot, note))

    assert found.main == shot.main | {700: Value(BYTE, XMP)}
    assert found.gps == shot.gps
    written = pack(found)
    stored = parse(written).exif.pop(MAKER_NOTE)
    assert stored.place is not None
    assert written[stored.place :].startswith(b"\x03\x00\x06\x00\x02\x00")  # three entries, the first a text
    (place,) = struct.unpack_from("<I", stored.data, 2 + 2 * 12 + 8)
    assert written[place : place + len(LENS)] == LENS


def test_a_crw_is_translated() -> None:
    found = exif_of(crw())

    assert camera_name(found) == "Canon EOS 300D"
    assert found.string(found.main[315]) == "José"
    assert found.string(found.exif[36867]) == "2004:02:06 12:30:09"
    assert found.number(found.exif[34855]) == 200
    assert found.numbers(found.exif[33434]) == pytest.approx((1 / 128,), abs=1e-6)
    assert found.numbers(found.exif[33437]) == pytest.approx((4.5,))
    assert found.numbers(found.exif[37380]) == pytest.approx((-1 / 3,), abs=1e-6)
    assert found.numbers(found.exif[37386]) == (50,)
    assert found.numbers(found.exif[42034])[:2] == (24, 105)


def test_a_crw_s_records_are_a_maker_s_note_of_today() -> None:
    found = exif_of(crw())
    written = pack(found)

    stored = parse(written).exif[MAKER_NOTE]
    note = {
        tag: (kind, count, place)
        for tag, kind, count, place in struct.iter_unpack("<HHII", stored.data[2 : 2 + 12 * stored.data[0]])
    }
    assert list(note) == [1, 2, 4, 9, 12]
    assert note[12] == (LONG, 1, 1234567890)
    kind, count, place = note[1]
    assert (kind, count) == (SHORT, 46)
    assert written[place : place + len(SETTINGS)] == SETTINGS


def test_a_real_crw_names_its_lens(shared_data: Path) -> None:
    photo = image.read(shared_data / "raw" / "CRW.CRW")

    exif = parse(photo.metadata.exif or b"")
    assert exif.numbers(exif.exif[42034])[:2] == (16, 35)
    assert exif.string(exif.exif[36867]) == "2018:01:01 13:03:32"
    assert MAKER_NOTE in exif.exif


def test_what_tiff_ep_has_in_the_first_directory_belongs_to_the_shot() -> None:
    exif = Exif()
    exif.main = {33434: exif.rational(0.008), 34855: exif.short(400), 36867: exif.text(DATE), 271: exif.text("Maker")}

    found = exif_of(pack(exif))

    assert found.exif == {tag: exif.main[tag] for tag in (33434, 34855, 36867)}


def test_a_dng_s_serial_number_and_lens_are_in_the_exif_of_a_picture() -> None:
    exif = Exif()
    lens = exif.packed(5, [24, 70, 2.8, 2.8])
    exif.main = {50735: exif.text("0042"), 50736: lens}

    assert exif_of(pack(exif)).exif == {42033: exif.text("0042"), 42034: lens}


def test_a_model_that_only_the_unique_name_tells_is_kept() -> None:
    exif = Exif()
    exif.main = {50708: exif.text("Pixel 9 Pro"), 50721: exif.text("a matrix")}

    assert camera_name(exif) == "Pixel 9 Pro"
    assert keep_descriptive(exif).main == {272: exif.text("Pixel 9 Pro")}


def test_the_note_that_adobe_keeps_apart_is_the_maker_s_note_of_a_picture() -> None:
    note = struct.pack("<HHHIII", 1, 149, ASCII, len(LENS), 5000 + 18, 0) + LENS
    exif = Exif()
    sections = b"MakN" + struct.pack(">I2sI", 6 + len(note), b"II", 5000) + note + b"RAF " + bytes(8)
    exif.main = {50740: Value(BYTE, b"Adobe\x00" + sections)}

    written = parse(pack(with_adobe_note(exif))).exif[MAKER_NOTE]

    assert written.place is not None
    assert moved(written.data, "<", written.place, 5000) == note
    assert struct.unpack_from("<I", written.data, 10) == (written.place + 18,)


@pytest.mark.parametrize(
    "private", [b"", b"Adobe\x00", b"Adobe\x00MakN", b"Adobe\x00MakN\xff\xff\xff\xff", b"PENTAX \x00"]
)
def test_other_private_data_are_no_note(private: bytes) -> None:
    exif = Exif()
    exif.main = {50740: Value(BYTE, private)} if private else {}

    assert MAKER_NOTE not in with_adobe_note(exif).exif


def test_nothing_damaged_raises(shot: Exif, rng: np.random.Generator) -> None:
    jpeg = jpeg_with(shot)
    for whole in (raf(jpeg), rw2(jpeg), mrw(shot), cr3(shot, {149: Value(ASCII, LENS)}), crw(), jpeg):
        for _ in range(150):
            damaged = bytearray(whole)
            for place in rng.integers(16, len(damaged), 5):
                damaged[place] = rng.integers(0, 256)
            cut = bytes(damaged[: rng.integers(16, len(damaged))])
            pack(exif_of(cut))
            pack(exif_of_jpeg(cut))


def test_the_exif_of_a_jpeg_may_be_missing() -> None:
    buffer = BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")

    assert not exif_of_jpeg(buffer.getvalue())
