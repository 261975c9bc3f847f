"""What MP4 and QuickTime say of how a video is shown, and FFmpeg does not write: 360 degrees, 3D, and what is cut away.

Sources: Google, "Spherical Video RFC", 1 and 2; ISO/IEC 14496-12, 12.1.4; Apple, "Apple HEVC Stereo Video".
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.boxes import HEADER, box, boxes_of
from denoise_cli.io.data_tracks import inside, movie_of, traks_of
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import CROPPING, SPHERICAL, STEREO

ENTRY_HEADER = 78  # bytes of a video's sample description before its boxes
SPHERICAL_XML = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")  # of a `uuid` box in the track
STEREO_TAG = "stereo_mode"  # by which FFmpeg reads and writes Matroska's element
# By the box: what it says, as users know it.
DISPLAY_BOXES = {b"sv3d": SPHERICAL, b"uuid": SPHERICAL, b"st3d": STEREO, b"clap": CROPPING}


def kept_beside_frames(clip: Reader, container: str) -> set[str]:
    """What a container, by FFmpeg's name, gets of a clip when all tracks are put together, as users know it."""
    if container in ("matroska", "webm") and STEREO_TAG in clip.stream.metadata:
        return {STEREO}
    if not clip.is_mp4 or container not in ("mp4", "mov"):
        return set()
    return {DISPLAY_BOXES[name] for name in display_boxes(clip.path, clip.number(clip.stream.index))}


def display_boxes(path: Path, number: int) -> Mapping[bytes, bytes]:
    """The boxes in an MP4 or QuickTime file about how a video is shown, of those in `DISPLAY_BOXES`: their contents.

    None are found where FFmpeg reads what this does not, such as a compressed movie header.

    Args:
        path: the file.
        number: of its track.
    """
    try:
        trak = traks_of(path)[number]
        _, entry = next(boxes_of(inside(trak, b"mdia", b"minf", b"stbl", b"stsd")[HEADER:]))
        found = dict(_boxes_before_an_end(entry[ENTRY_HEADER:]))
        found |= {name: body for name, body in boxes_of(trak) if name == b"uuid" and body.startswith(SPHERICAL_XML)}
    except (UnreadableFile, ValueError, KeyError, StopIteration):
        return {}
    return {name: body for name, body in found.items() if name in DISPLAY_BOXES}


def add_display_boxes(target: Path, place: int, added: Mapping[bytes, bytes]) -> None:
    """Add such boxes to a video, unless it has them.

    Args:
        target: a file that FFmpeg has written; changed in place.
        place: of the video among its tracks, from 0.
        added: the boxes, as `display_boxes` returns them.

    Raises:
        OSError: the target cannot be written.
    """
    if not added:
        return
    start, movie = movie_of(target)
    parts = list(boxes_of(movie))
    which = [i for i, (name, _) in enumerate(parts) if name == b"trak"][place]
    in_track = {name: body for name, body in added.items() if name == b"uuid"}
    in_entry = {name: body for name, body in added.items() if name != b"uuid"}

    def to_entry(body: bytes) -> bytes:
        (kind, entry), *others = boxes_of(body[HEADER:])
        present = {name for name, _ in _boxes_before_an_end(entry[ENTRY_HEADER:])}
        new = [box(name, inner) for name, inner in in_entry.items() if name not in present]
        return body[:HEADER] + b"".join([box(kind, entry, *new), *(box(*other) for other in others)])

    trak = _changed(parts[which][1], to_entry, b"mdia", b"minf", b"stbl", b"stsd")
    parts[which] = (b"trak", trak + b"".join(box(name, body) for name, body in in_track.items()))
    with target.open("r+b") as file:
        file.seek(start)
        file.truncate()
        file.write(box(b"moov", *(box(name, body) for name, body in parts)))


def _changed(body: bytes, change: Callable[[bytes], bytes], *names: bytes) -> bytes:
    """The contents of a box with those of a box inside others changed."""
    if not names:
        return change(body)
    first, *others = names
    return b"".join(
        box(name, _changed(inner, change, *others) if name == first else inner) for name, inner in boxes_of(body)
    )


def _boxes_before_an_end(data: bytes) -> list[tuple[bytes, bytes]]:
    """The boxes of a sample description, which QuickTime may end with four zeros."""
    return [] if len(data) < HEADER else list(boxes_of(data))
