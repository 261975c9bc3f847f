"""JPEGs as phones write them, built by hand: with gain maps, clips, more pictures, manifests and comments."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

XMP = b"http://ns.adobe.com/xap/1.0/\x00"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\x00"
ISO = b"urn:iso:std:iso:ts:21496:-1\x00"
PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="film 12" %s>%s'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
HDRGM = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" '
MOTION = (
    'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1" '
    'GCamera:MotionPhotoPresentationTimestampUs="100" '
)


def jpeg(pixels: NDArray[np.uint8], **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 95, "subsampling": 0, **options})
    return buffer.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments before its tables."""
    place = data.index(b"\xff\xdb")
    return data[:place] + b"".join(segments) + data[place:]


def xmp(attributes: str = "", elements: str = "") -> bytes:
    return segment(0xE1, XMP + (PACKET % (attributes, elements)).encode())


def container(*items: tuple[str, str, int, int]) -> str:
    """The list of items; each is a meaning, a type, a length and a padding."""
    entries = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{semantic}" Item:Mime="{mime}" '
        f'Item:Length="{length}" Item:Padding="{padding}"/></rdf:li>'
        for semantic, mime, length, padding in items
    )
    return (
        '<Container:Directory xmlns:Container="http://ns.google.com/photos/1.0/container/" '
        'xmlns:Item="http://ns.google.com/photos/1.0/container/item/">'
        f"<rdf:Seq>{entries}</rdf:Seq></Container:Directory>"
    )


def mp_index(entries: list[tuple[int, int, int]], order: str = ">") -> bytes:
    """An index of pictures; each entry is its attributes, size and offset."""
    rows = b"".join(struct.pack(order + "IIIHH", *entry, 0, 0) for entry in entries)
    head = (b"MM" if order == ">" else b"II") + struct.pack(order + "HIH", 42, 8, 3)
    fields = struct.pack(order + "HHI4s", 0xB000, 7, 4, b"0100")
    fields += struct.pack(order + "HHII", 0xB001, 4, 1, len(entries))
    fields += struct.pack(order + "HHII", 0xB002, 7, len(rows), 50)
    return segment(0xE2, b"MPF\x00" + head + fields + bytes(4) + rows)


def indexed(data: bytes, pictures: list[tuple[int, bytes]], padding: bytes = b"", order: str = ">") -> bytes:
    """A JPEG followed by pictures, each of a type, and an index that says where they are."""
    entries = [(0, 0, 0)] * (len(pictures) + 1)
    place = data.index(b"\xff\xdb")
    size = len(data) + len(mp_index(entries, order))
    entries, at = [(0x20030000, size, 0)], size
    for kind, picture in pictures:
        at += len(padding)
        entries.append((kind, len(picture), at - place - 8))
        at += len(picture)
    index = mp_index(entries, order)
    return data[:place] + index + data[place:] + b"".join(padding + picture for _, picture in pictures)


def gain_map(rng: np.random.Generator) -> bytes:
    """The second picture of an Ultra HDR file, with its metadata in both forms."""
    map_ = jpeg(rng.integers(0, 256, (16, 12), dtype=np.uint8))
    return with_segments(map_, xmp(HDRGM + 'hdrgm:GainMapMax="2"'), segment(0xE2, ISO + bytes(60)))


def ultra_hdr(
    pixels: NDArray[np.uint8], second: bytes, clip: bytes = b"", primary_length: int = 0, **options: object
) -> bytes:
    """A JPEG with a gain map and, perhaps, a clip behind it."""
    items = [("Primary", "image/jpeg", primary_length, 0), ("GainMap", "image/jpeg", len(second), 0)]
    items += [("MotionPhoto", "video/mp4", len(clip), 0)] if clip else []
    main = with_segments(
        jpeg(pixels, **options),
        xmp(HDRGM + (MOTION if clip else ""), container(*items)),
        segment(0xE2, ISO + bytes(4)),
    )
    return indexed(main, [(0, second)]) + clip


def motion_photo(pixels: NDArray[np.uint8], clip: bytes, **options: object) -> bytes:
    items = [("Primary", "image/jpeg", 0, 0), ("MotionPhoto", "video/mp4", len(clip), 0)]
    return with_segments(jpeg(pixels, **options), xmp(MOTION, container(*items))) + clip


def micro_video(pixels: NDArray[np.uint8], clip: bytes) -> bytes:
    """A clip as older phones by Google attach it."""
    attributes = (
        'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MicroVideo="1" GCamera:MicroVideoVersion="1" '
        f'GCamera:MicroVideoOffset="{len(clip)}" '
    )
    return with_segments(jpeg(pixels), xmp(attributes)) + clip


def samsung(pixels: NDArray[np.uint8], clip: bytes) -> bytes:
    """A clip in the trailer that Samsung's phones write."""
    name = b"MotionPhoto_Data"
    block = struct.pack("<HHI", 0, 0x0A30, len(name)) + name + clip
    directory = b"SEFH" + struct.pack("<II", 107, 1) + struct.pack("<HHII", 0, 0x0A30, len(block), len(block))
    return jpeg(pixels) + block + directory + struct.pack("<I", len(directory)) + b"SEFT"


def extended_depth(pixels: NDArray[np.uint8], depth: bytes, orientation: int = 1) -> bytes:
    """A JPEG whose depth map is in extended XMP."""
    name = b"0123456789ABCDEF" * 2
    attributes = (
        'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" GDepth:Format="RangeInverse" '
        f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{name.decode()}"'
    )
    step = 40_000
    parts = [
        segment(0xE1, EXTENDED + name + struct.pack(">II", len(depth), at) + depth[at : at + step])
        for at in range(0, len(depth), step)
    ]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return with_segments(jpeg(pixels, exif=exif), xmp(attributes), *parts)


def manifest() -> list[bytes]:
    """Two segments of a C2PA manifest."""
    box = struct.pack(">I4s", 100_000, b"jumb") + struct.pack(">I4s", 30, b"jumd") + b"c2pa" + bytes(18)
    return [
        segment(0xEB, b"JP" + struct.pack(">HI", 7, 1) + box + bytes(50_000)),
        segment(0xEB, b"JP" + struct.pack(">HI", 7, 2) + box[:8] + bytes(49_000)),
    ]


def mp4(rng: np.random.Generator) -> bytes:
    """A clip of four small frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=Fraction(4))
        stream.width, stream.height = 32, 32
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()
