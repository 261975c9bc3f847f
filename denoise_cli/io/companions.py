"""What a JPEG carries beside its picture and the metadata that every format has: more pictures, clips, segments.

All that follows the picture in its file (gain maps, the second picture of a stereo pair, clips, trailers by makers) is
carried as one block, byte for byte: what is found from the end of the file, or from the end of the picture, is then
found in the result as well, and only the index of pictures (MPF), which counts from its own place, is rewritten.

Sources: CIPA DC-007 (MPF); ISO 21496-1 (gain maps); JPEG XT, ISO/IEC 18477-3 (boxes in APP11); those of `xmp_claims`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from denoise_cli.io import mp_index, photoshop
from denoise_cli.io.jpeg import (
    APP0,
    APP1,
    APP2,
    APP11,
    APP13,
    APP14,
    END,
    MAX_SEGMENT,
    START,
    Segment,
    packed,
    picture_end,
    segments_of,
)
from denoise_cli.io.mp_index import Entry, entries_of, rewritten
from denoise_cli.io.xmp import XMP_PREFIX
from denoise_cli.io.xmp_claims import (
    CLIP,
    DEPTH_MAP,
    EXTENDED,
    GAIN_MAP,
    Claims,
    Item,
    claims_of,
    without_claims,
    without_primary_length,
)

EXTENDED_PREFIX = b"http://ns.adobe.com/xmp/extension/\x00"
EXTENDED_HEADER = struct.Struct(">32sII")  # an identifier, the length of the whole, and where this part belongs
ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\x00"
MARKS_OF_GAIN_MAPS = (ISO_GAIN_MAP, b"http://ns.adobe.com/hdr-gain-map/1.0/", b"http://ns.apple.com/HDRGainMap/1.0/")
MARKS_ARE_WITHIN = 2**16  # bytes from the beginning of a picture
# Segments that every result has anew, or has from other metadata, by their beginnings.
REWRITTEN = {
    APP0: (b"JFIF\x00", b"JFXX\x00"),
    APP1: (b"Exif\x00", XMP_PREFIX, EXTENDED_PREFIX),
    APP2: (b"ICC_PROFILE\x00", mp_index.PREFIX, ISO_GAIN_MAP),
    APP13: (photoshop.PREFIX,),
    APP14: (b"Adobe",),
}
BOX = b"JP"  # the beginning of a segment of APP11 that holds a box, or a part of one
BOX_NUMBER = slice(2, 4)
SAMSUNG_END = b"SEFT"
SAMSUNG_CLIP = b"MotionPhoto_Data"
SAMSUNG_DEPTH_MAP = b"DualShot_DepthMap"
FILLING = b"\x00\xff"

# What there is, in words for the user.
OTHER_PICTURE = "second picture"
SAMSUNG = "Samsung's data behind the picture"
RESOURCES = "Photoshop's resources"


@dataclass(frozen=True)
class Companions:
    """What a JPEG carries beside its picture.

    Attributes:
        what: all of it, in words for the user.
        segments: complete segments.
        index: of the pictures in `behind`, without `mp_index.PREFIX`; None if they are not listed.
        pictures: those that stay in the index, apart from the first, with their numbers in it; their offsets are from
            the beginning of `behind`.
        behind: what follows the picture.
        gain_maps: where each begins and ends in `behind`.
        orientation: that the picture has to be stored in, 1 to 8, because something that is carried lies over it.
    """

    what: tuple[str, ...] = ()
    segments: tuple[bytes, ...] = ()
    index: bytes | None = None
    pictures: tuple[tuple[int, Entry], ...] = ()
    behind: bytes = b""
    gain_maps: tuple[tuple[int, int], ...] = ()
    orientation: int = 1

    def attached_to(self, jpeg: bytes) -> bytes:
        """A JPEG, whose picture ends it, with all this.

        Raises:
            ValueError: a segment is longer than segments can be.
        """
        place = _end_of_application_data(jpeg)
        others = b"".join(self.segments)
        index_at = place + len(others) + 4 + len(mp_index.PREFIX)
        size = len(jpeg) + len(others)
        listed = b""
        if self.index is not None:
            size += 4 + len(mp_index.PREFIX) + len(self.index)
            listed = packed(APP2, mp_index.PREFIX + self._index_for(size, index_at))
        return b"".join([jpeg[:place], others, listed, jpeg[place:], self.behind])

    def _index_for(self, size: int, index_at: int) -> bytes:
        """The index, for a picture of this size in bytes and a place of the index in the file."""
        if self.index is None:
            raise ValueError("there is no index")
        first = replace(entries_of(self.index)[0], size=size, offset=0)
        others = [replace(entry, offset=size + entry.offset - index_at) for _, entry in self.pictures]
        return rewritten(self.index, [first, *others], [0, *(number for number, _ in self.pictures)])


@dataclass(frozen=True)
class Found:
    """What was found in a JPEG.

    Attributes:
        companions: None without any.
        xmp: the packet that was given, without what is not true of the file.
        notes: what the user should hear of what is left out.
    """

    companions: Companions | None
    xmp: bytes | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Behind:
    """What can be told of what follows the picture; places are in bytes from its beginning.

    Attributes:
        intact: in words for the user, and where each begins and ends.
        pictures: those of the index that are intact, with their numbers in it.
        previews: where those begin and end that only show the first picture smaller.
        damaged: in words for the user.
    """

    intact: tuple[tuple[str, int, int], ...]
    pictures: tuple[tuple[int, Entry], ...]
    previews: tuple[tuple[int, int], ...]
    damaged: tuple[str, ...]

    @property
    def stop(self) -> int:
        """Where the last intact thing ends."""
        return max((stop for _, _, stop in self.intact), default=0)


def read(data: bytes, xmp: bytes | None, orientation: int) -> Found:
    """Find what a JPEG carries beside its picture.

    Args:
        data: the file.
        xmp: its main packet.
        orientation: of its picture, 1 to 8.
    """
    segments, end = segments_of(data), picture_end(data)
    claims, behind = claims_of(xmp), data[end:]
    index = next((s for s in segments if s.marker == APP2 and s.body.startswith(mp_index.PREFIX)), None)
    known = _look_behind(behind, end, index, claims)
    stored = [s.body for s in segments if s.marker == APP1 and s.body.startswith(EXTENDED_PREFIX)]
    extended = [packed(APP1, body) for body in stored] if EXTENDED in claims.what and _is_complete(stored) else []
    if stored and not extended:
        known = replace(known, damaged=(*known.damaged, EXTENDED))
    whats = {what for what, _, _ in known.intact} | ({EXTENDED} if extended else set())
    if DEPTH_MAP in claims.what and (extended or b":Data" in (xmp or b"")):
        whats.add(DEPTH_MAP)
    untrue = claims.what - whats
    kept = _kept_segments(segments)
    names = {_name_of(segment) for segment in kept}
    if GAIN_MAP in whats:
        kept += [packed(APP2, s.body) for s in segments if s.marker == APP2 and s.body.startswith(ISO_GAIN_MAP)]
    cuts = _cuts(known)
    carried = _without(behind[: known.stop], cuts)
    pictures = tuple((number, replace(entry, offset=_moved(entry.offset, cuts))) for number, entry in known.pictures)
    companions = Companions(
        what=(*sorted(whats), *sorted(names)),
        segments=(*extended, *kept),
        index=index.body[len(mp_index.PREFIX) :] if index is not None and pictures else None,
        pictures=pictures,
        behind=carried,
        gain_maps=tuple((_moved(start, cuts), _moved(stop, cuts)) for start, stop in _gain_maps(behind, known)),
    )
    if {GAIN_MAP, OTHER_PICTURE, DEPTH_MAP} & whats or SAMSUNG_DEPTH_MAP in carried:
        companions = replace(companions, orientation=orientation)
    xmp = xmp and without_primary_length(without_claims(xmp, untrue))
    notes = tuple(_notes(behind, known, untrue))
    return Found(companions if companions != Companions() else None, xmp, notes)


def manifests_in(segments: list[Segment]) -> set[bytes]:
    """The numbers of the boxes of a JPEG that hold C2PA manifests."""
    return {s.body[BOX_NUMBER] for s in segments if _is_box(s) and b"c2pa" in s.body}


def _look_behind(behind: bytes, end: int, index: Segment | None, claims: Claims) -> _Behind:
    intact, damaged = [], []
    pictures, previews = [], []
    for number, listed in _listed_pictures(index, end):
        entry = _with_its_length(listed, behind)
        start, stop = entry.offset, entry.offset + entry.size
        what = _kind_of_picture(behind, start, claims)
        if not _is_picture(behind, start, entry.size):
            damaged += [] if entry.is_preview else [what]
        elif entry.is_preview:
            previews.append((start, stop))
        else:
            pictures.append((number, entry))
            intact.append((what, start, stop))
    at = claims.padding
    for item in claims.items:
        place = _place_of(item, behind, at)
        if place is None:
            damaged += [item.what] if at < len(behind) else []  # it may never have been in the file
        else:
            intact.append((item.what, place, place + item.length))
        at += item.length + item.padding
    clip = len(behind) - claims.clip_length
    if claims.clip_length and _is_clip(behind, clip):
        intact.append((CLIP, clip, len(behind)))
    if behind.endswith(SAMSUNG_END):
        intact.append((SAMSUNG, 0, len(behind)))
        clip = behind.find(SAMSUNG_CLIP)
        if clip >= 0 and _is_clip(behind, clip + len(SAMSUNG_CLIP)):
            intact.append((CLIP, clip, len(behind)))
    if _is_clip(behind, 0):  # also if an editor has removed the XMP that speaks of it
        intact.append((CLIP, 0, len(behind)))
    found = {what for what, _, _ in intact}
    lost = tuple(dict.fromkeys(what for what in damaged if what not in found))
    return _Behind(tuple(intact), tuple(pictures), tuple(previews), lost)


def _listed_pictures(index: Segment | None, end: int) -> Iterator[tuple[int, Entry]]:
    """The pictures of an index apart from the first, with their numbers in it, and with offsets from `end`."""
    if index is None:
        return
    origin = index.place + len(mp_index.PREFIX)
    for number, entry in enumerate(entries_of(index.body[len(mp_index.PREFIX) :])[1:], 1):
        yield number, replace(entry, offset=origin + entry.offset - end)


def _with_its_length(entry: Entry, behind: bytes) -> Entry:
    """An entry whose length reaches to the end of its picture, and not beyond the file: Pillow writes wrong ones."""
    start = entry.offset
    if not 0 <= start <= len(behind) - len(START) or not behind.startswith(START, start):
        return entry
    whole = picture_end(behind[start:])
    is_whole = behind.endswith(END, start, start + whole)
    return replace(entry, size=whole) if is_whole and not whole <= entry.size <= len(behind) - start else entry


def _place_of(item: Item, behind: bytes, at: int) -> int | None:
    """Where a listed item begins: behind the one before it or, of a clip, before the end; None if it is damaged."""
    length = item.length
    if length == 0 or length > len(behind):
        return None
    if item.what == CLIP:
        places = (len(behind) - length - item.padding, len(behind) - length, at)
        return next((place for place in places if _is_clip(behind, place, length)), None)
    whole = _is_picture(behind, at, length) if item.what == GAIN_MAP else at + length <= len(behind)
    return at if whole else None


def _is_picture(behind: bytes, start: int, size: int) -> bool:
    return start >= 0 and start + size <= len(behind) and size > 4 and behind[start : start + 2] == START


def _is_clip(behind: bytes, start: int, length: int = 8) -> bool:
    """Whether an MP4 of this many bytes begins here."""
    return start >= 0 and start + length <= len(behind) and behind[start + 4 : start + 8] == b"ftyp"


def _kind_of_picture(behind: bytes, start: int, claims: Claims) -> str:
    head = behind[start : start + MARKS_ARE_WITHIN] if start >= 0 else b""
    return GAIN_MAP if GAIN_MAP in claims.what or any(mark in head for mark in MARKS_OF_GAIN_MAPS) else OTHER_PICTURE


def _gain_maps(behind: bytes, known: _Behind) -> list[tuple[int, int]]:
    """Where each gain map begins and ends; of pictures that are taken for one, those that say so themselves."""
    places = {start: stop for what, start, stop in known.intact if what == GAIN_MAP}
    return [(start, stop) for start, stop in sorted(places.items()) if _is_marked(behind[start:stop])]


def _is_marked(picture: bytes) -> bool:
    return any(mark in segment.body for segment in segments_of(picture) for mark in MARKS_OF_GAIN_MAPS)


def _cuts(known: _Behind) -> list[tuple[int, int]]:
    """Where previews begin and end, ascending, which can be taken out of what follows the picture."""
    listed = {(entry.offset, entry.offset + entry.size) for _, entry in known.pictures}
    if any((start, stop) not in listed for _, start, stop in known.intact):
        return []  # there are things that are found by what surrounds them
    return [
        (start, stop)
        for start, stop in _joined(known.previews)
        if not any(start < other_stop and other_start < stop for other_start, other_stop in listed)
    ]


def _moved(place: int, cuts: list[tuple[int, int]]) -> int:
    """Where a place is once what lies before it is taken out."""
    return place - sum(stop - start for start, stop in cuts if stop <= place)


def _joined(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Ranges, ascending, with those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _without(data: bytes, ranges: list[tuple[int, int]]) -> bytes:
    """What is outside of ascending ranges."""
    starts, stops = [0, *(stop for _, stop in ranges)], [*(start for start, _ in ranges), len(data)]
    return b"".join(data[start:stop] for start, stop in zip(starts, stops, strict=True))


def _is_complete(extended: list[bytes]) -> bool:
    """Whether the bodies of segments are all the parts of one packet."""
    header = len(EXTENDED_PREFIX) + EXTENDED_HEADER.size
    if not extended or any(len(body) < header for body in extended):
        return False
    heads = {EXTENDED_HEADER.unpack_from(body, len(EXTENDED_PREFIX))[:2] for body in extended}
    return len(heads) == 1 and {length for _, length in heads} == {sum(len(body) - header for body in extended)}


def _kept_segments(segments: list[Segment]) -> list[bytes]:
    """Complete segments that are carried as they are, which those of C2PA manifests are not."""
    manifests = manifests_in(segments)
    kept = [
        packed(s.marker, s.body)
        for s in segments
        if s.is_application_data
        and not s.body.startswith(REWRITTEN.get(s.marker, ()))
        and not (_is_box(s) and s.body[BOX_NUMBER] in manifests)
    ]
    in_photoshop = b"".join(
        s.body[len(photoshop.PREFIX) :] for s in segments if s.marker == APP13 and s.body.startswith(photoshop.PREFIX)
    )
    resources, step = photoshop.other_resources(in_photoshop), MAX_SEGMENT - len(photoshop.PREFIX)
    kept += [
        packed(APP13, photoshop.PREFIX + resources[start : start + step]) for start in range(0, len(resources), step)
    ]
    return kept


def _is_box(segment: Segment) -> bool:
    return segment.marker == APP11 and segment.body.startswith(BOX)


def _name_of(segment: bytes) -> str:
    return RESOURCES if segment[4:].startswith(photoshop.PREFIX) else f"APP{segment[1] - APP0}"


def _notes(behind: bytes, known: _Behind, untrue: frozenset[str]) -> Iterator[str]:
    if known.damaged:
        yield f"damaged and left out: {', '.join(known.damaged)}"
    if missing := sorted(untrue - set(known.damaged)):
        yield f"removed from the XMP, as the file does not hold it: {', '.join(missing)}"
    if known.previews:
        yield "previews left out: they show the old picture"
    rest = _without(behind, _joined((*known.previews, (0, known.stop))))
    if rest.strip(FILLING) and not known.damaged:
        yield f"{len(rest)} unknown bytes behind the picture left out"


def _end_of_application_data(jpeg: bytes) -> int:
    """Where the segments APP0 to APP15 at the beginning of a file end."""
    end = len(START)
    for segment in segments_of(jpeg):
        if not segment.is_application_data:
            break
        end = segment.place + len(segment.body)
    return end
