"""Data tracks of MP4 and QuickTime files, copied with their descriptions: timecode, telemetry, timed metadata.

FFmpeg has no codecs for them. Its MP4 writer refuses most, and its QuickTime writer leaves out the sample description
(`stsd`), without which nobody can read the samples. So these tracks are added to the file that FFmpeg has written.
Sources: ISO/IEC 14496-12; Apple, "QuickTime File Format", of the timecode.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO

import av

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.boxes import HEADER, LENGTH_FOLLOWS, LONG_HEADER, box, boxes_of, top_boxes
from denoise_cli.io.clip_file import read_errors
from denoise_cli.io.playlists import open_input

TIMECODE = b"tmcd"
FIRST_OFFSET = 4  # bytes: the version and the flags


@dataclass(frozen=True)
class Sample:
    """Where a sample is in the written file.

    Attributes:
        time, duration: in ticks of its track.
        offset, size: in bytes.
    """

    time: int
    duration: int
    offset: int
    size: int


def formats_of_tracks(source: Path) -> dict[int, str]:
    """The four letters by which each track of an MP4 or QuickTime file names its format, by the track's number.

    Tracks with several sample descriptions, which FFmpeg does not tell apart, are left out.

    Raises:
        UnreadableFile: the file is damaged.
    """
    descriptions = {
        number: inside(trak, b"mdia", b"minf", b"stbl", b"stsd") for number, trak in traks_of(source).items()
    }
    return {
        number: description[12:16].decode("latin-1").strip()
        for number, description in descriptions.items()
        if struct.unpack_from(">I", description, FIRST_OFFSET)[0] == 1
    }


def hidden_timecode(source: Path) -> Fraction:
    """How much of the track of timecodes of an MP4 or QuickTime file its edit list skips, in seconds.

    It is 0 without such a track, and where FFmpeg reads what this does not, such as a compressed movie header.
    """
    try:
        traks = traks_of(source)
        numbers = [number for number, form in formats_of_tracks(source).items() if form.encode() == TIMECODE]
    except (UnreadableFile, ValueError, KeyError):
        return Fraction(0)
    return _hidden(traks[numbers[0]]) if numbers else Fraction(0)


def add_tracks(
    source: Path, target: Path, kept: Sequence[int], added: Sequence[int], origin: Fraction, seconds: float
) -> None:
    """Copy tracks from one file to another, with everything that says what is in them.

    A sample that began before `origin` is shown from then on, if it lasts that long; a timecode is counted on.

    Args:
        source: an MP4 or QuickTime file.
        target: one that FFmpeg has written, without them; changed in place.
        kept: FFmpeg's numbers of the tracks of the source that the target has, in the target's order.
        added: FFmpeg's numbers of the tracks to add.
        origin: the time in the source that is 0 in the target, in seconds.
        seconds: how much of the source to copy from there.

    Raises:
        UnreadableFile: the source is damaged.
        OSError: the target cannot be written.
    """
    originals = traks_of(source)
    with read_errors(source), open_input(source) as container:
        numbers = [stream.id for stream in container.streams]
    place, movie = movie_of(target)
    boxes = list(boxes_of(movie))
    written = [body for name, body in boxes if name == b"trak"]
    taken = [_track_number(body) for body in written]
    renumbered = {numbers[index]: number for index, number in zip(kept, taken, strict=False)}
    renumbered |= {numbers[index]: max(taken) + 1 + i for i, index in enumerate(added)}
    clock = _timescale(dict(boxes)[b"mvhd"])
    with target.open("r+b") as file:
        file.seek(place)
        file.truncate()
        samples = _copy_samples(source, file, added, {i: originals[numbers[i]] for i in added}, origin, seconds)
        place = file.tell()
        new = {
            index: _rebuilt(originals[numbers[index]], renumbered[numbers[index]], samples[index], clock, renumbered)
            for index in added
        }
        # The order of the source, so that programs which go by it find each track where it was.
        traks = [
            (index, _with_references(body, _references(originals[numbers[index]], renumbered, set(taken))))
            for index, body in zip(kept, written, strict=False)
        ]
        ordered = [body for _, body in sorted([*traks, *new.items()], key=lambda pair: pair[0])]
        ordered += written[len(kept) :]  # FFmpeg's own, of chapters
        others = [(name, body) for name, body in boxes if name not in (b"mvhd", b"trak")]
        header = _next_number(dict(boxes)[b"mvhd"], max(taken) + 1 + len(added))
        parts = [(b"mvhd", header), *((b"trak", body) for body in ordered), *others]
        file.write(box(b"moov", *(box(name, body) for name, body in parts)))


def _copy_samples(
    source: Path, file: IO[bytes], added: Sequence[int], traks: Mapping[int, bytes], origin: Fraction, seconds: float
) -> dict[int, list[Sample]]:
    samples: dict[int, list[Sample]] = {index: [] for index in added}
    # As the user typed it: 0.08 as a binary fraction is later than 2/25.
    stop = None if math.isinf(seconds) else Fraction(seconds).limit_denominator(av.time_base)
    start = file.tell()
    file.write(struct.pack(">I4sQ", LENGTH_FOLLOWS, b"mdat", LONG_HEADER))
    with read_errors(source), open_input(source) as container:
        for packet in container.demux([container.streams[index] for index in added]):
            if packet.pts is None or not packet.size:
                continue
            index, tick = packet.stream.index, packet.time_base
            begin = packet.pts * tick - origin
            end = begin + (packet.duration or 0) * tick
            if (stop is not None and begin >= stop) or (begin < 0 and end <= 0):
                continue
            data = bytes(packet)
            # FFmpeg has the first sample begin where the edit list does, whatever that skips of it.
            hidden = Fraction(0) if samples[index] else _hidden(traks[index])
            if begin < 0 or hidden:
                data = _counted_on(data, traks[index], hidden - min(begin, Fraction(0)))
            last = end if stop is None else min(end, stop)
            time = round(max(begin, Fraction(0)) / tick)
            samples[index].append(Sample(time, max(round(last / tick) - time, 0), file.tell(), len(data)))
            file.write(data)
    end_of_samples = file.tell()
    file.seek(start + HEADER)
    file.write(struct.pack(">Q", end_of_samples - start))
    file.seek(end_of_samples)
    return samples


def _counted_on(data: bytes, trak: bytes, elapsed: Fraction) -> bytes:
    """A timecode as many frames later as there are in that time; other samples as they are."""
    description = inside(trak, b"mdia", b"minf", b"stbl", b"stsd")
    if description[12:16] != TIMECODE or len(data) != 4:
        return data
    timescale, frame = struct.unpack_from(">II", description, 32)  # after the entry's head, 8 + 8, and the flags
    (counter,) = struct.unpack(">I", data)
    return struct.pack(">I", (counter + round(elapsed * timescale / max(frame, 1))) % 2**32)


def _hidden(trak: bytes) -> Fraction:
    """How much of a track's media its edit list skips at the beginning, in seconds."""
    try:
        edits = inside(trak, b"edts", b"elst")
    except KeyError:
        return Fraction(0)
    entry = struct.Struct(">QqI" if edits[0] == 1 else ">IiI")
    whole = (len(edits) - HEADER) // entry.size * entry.size
    times = (time for _, time, _ in entry.iter_unpack(edits[HEADER : HEADER + whole]) if time >= 0)
    return Fraction(next(times, 0), _timescale(inside(trak, b"mdia", b"mdhd")))


def _rebuilt(trak: bytes, number: int, samples: Sequence[Sample], clock: int, renumbered: Mapping[int, int]) -> bytes:
    """A track with other samples: its tables are new, and everything else is the original's."""
    media = inside(trak, b"mdia")
    timescale = _timescale(inside(media, b"mdhd"))
    start = samples[0].time if samples else 0
    times = [sample.time for sample in samples] + [samples[-1].time + samples[-1].duration] if samples else [0]
    durations = [after - before for before, after in pairwise(times)]
    shown, delay = (round(Fraction(ticks * clock, timescale)) for ticks in (times[-1] - start, start))
    tables = [
        box(b"stsd", inside(media, b"minf", b"stbl", b"stsd")),
        box(b"stts", struct.pack(">II", 0, len(samples)), *(struct.pack(">II", 1, ticks) for ticks in durations)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, 1, 1)),
        box(b"stsz", struct.pack(">III", 0, 0, len(samples)), *(struct.pack(">I", one.size) for one in samples)),
        box(b"co64", struct.pack(">II", 0, len(samples)), *(struct.pack(">Q", one.offset) for one in samples)),
    ]
    information = [box(name, body) for name, body in boxes_of(inside(media, b"minf")) if name != b"stbl"]
    changed = {
        b"mdhd": _lasting(inside(media, b"mdhd"), times[-1] - start),
        b"minf": b"".join([*information, box(b"stbl", *tables)]),
    }
    media = b"".join(box(name, changed.get(name, body)) for name, body in boxes_of(media))
    header = _lasting(inside(trak, b"tkhd"), delay + shown, number)
    kept = [box(name, body) for name, body in boxes_of(trak) if name not in (b"tkhd", b"edts", b"tref", b"mdia")]
    references = _references(trak, renumbered, set())
    return b"".join([
        box(b"tkhd", header),
        *([box(b"edts", _edits(delay, shown))] if delay else []),
        *([box(b"tref", *(box(kind, body) for kind, body in references))] if references else []),
        box(b"mdia", media),
        *kept,
    ])  # fmt: skip


def _edits(delay: int, shown: int) -> bytes:
    """The track begins after a while, in the movie's ticks."""
    once = 1 << 16  # the rate, in fixed point
    return box(b"elst", struct.pack(">IIQqIQqI", 1 << 24, 2, delay, -1, once, shown, 0, once))


def _references(trak: bytes, renumbered: Mapping[int, int], without: set[int]) -> list[tuple[bytes, bytes]]:
    """What a track says about others, by their new numbers; nothing about those that are not there or are `without`."""
    found = []
    for kind, body in boxes_of(dict(boxes_of(trak)).get(b"tref", b"")):
        numbers = [renumbered.get(number) for (number,) in struct.iter_unpack(">I", body)]
        present = [number for number in numbers if number is not None and number not in without]
        if present:
            found.append((kind, struct.pack(f">{len(present)}I", *present)))
    return found


def _with_references(trak: bytes, references: Sequence[tuple[bytes, bytes]]) -> bytes:
    if not references:
        return trak
    own = dict(boxes_of(trak)).get(b"tref", b"")
    whole = box(b"tref", own, *(box(kind, body) for kind, body in references))
    parts = [box(name, body) for name, body in boxes_of(trak) if name != b"tref"]
    return b"".join([parts[0], whole, *parts[1:]])


def movie_of(path: Path) -> tuple[int, bytes]:
    """Where the `moov` box of a file is, and its contents.

    Raises:
        UnreadableFile: there is none.
    """
    with path.open("rb") as file:
        for name, place, start, stop in top_boxes(file):
            if name == b"moov":
                file.seek(start)
                return place, file.read(stop - start)
    raise UnreadableFile(path, "has no movie header, or is damaged")


def traks_of(path: Path) -> dict[int, bytes]:
    """The contents of the boxes of an MP4's or a QuickTime file's tracks, by the tracks' numbers.

    Raises:
        UnreadableFile: the file is damaged.
    """
    try:
        bodies = [body for name, body in boxes_of(movie_of(path)[1]) if name == b"trak"]
        return {_track_number(body): body for body in bodies}
    except (ValueError, KeyError, struct.error) as error:
        raise UnreadableFile(path, "its movie header is damaged") from error


def inside(body: bytes, *names: bytes) -> bytes:
    """The contents of a box inside others.

    Raises:
        KeyError: there is none.
    """
    for name in names:
        body = dict(boxes_of(body))[name]
    return body


def _layout(header: bytes) -> str:
    """Of a `mvhd`, `mdhd` or `tkhd` after its version and flags, up to the duration of the first two."""
    return ">QQI" if header[0] == 1 else ">III"


def _timescale(header: bytes) -> int:
    return int(struct.unpack_from(_layout(header), header, FIRST_OFFSET)[2])


def _track_number(trak: bytes) -> int:
    header = inside(trak, b"tkhd")
    return int(struct.unpack_from(_layout(header), header, FIRST_OFFSET)[2])


def _lasting(header: bytes, duration: int, number: int | None = None) -> bytes:
    """A `mdhd`, or with a number a `tkhd`, with another duration, in ticks."""
    head, tail = _layout(header), "Q" if header[0] == 1 else "I"
    fields = list(struct.unpack_from(head, header, FIRST_OFFSET))
    place = FIRST_OFFSET + struct.calcsize(head) + (4 if number is not None else 0)  # a `tkhd` has a gap there
    changed = bytearray(header)
    if number is not None:
        struct.pack_into(head, changed, FIRST_OFFSET, *fields[:2], number)
    struct.pack_into(f">{tail}", changed, place, min(duration, 2 ** (8 * struct.calcsize(f">{tail}")) - 1))
    return bytes(changed)


def _next_number(header: bytes, number: int) -> bytes:
    return header[:-4] + struct.pack(">I", number)
