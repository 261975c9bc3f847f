"""Versions of a photo or of a clip, compared at 100 %: the places worth looking at, and how a clip changes over time.

Legend: H x W picture, T frames.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from denoise_cli.errors import DenoiseError, UnreadableFile, UsageError
from denoise_cli.imaging.yuv import to_rgb
from denoise_cli.io import image
from denoise_cli.io.page import THUMBNAIL_SIDE, View
from denoise_cli.io.photo import Photo
from denoise_cli.io.srgb import to_srgb
from denoise_cli.pipeline.before_after import SIDE, Bytes, Place, find_places, for_screens

if TYPE_CHECKING:
    from denoise_cli.io.video_frame import Frame

FRAMES = 300  # of a clip that are compared: the first ones
PROFILE_WIDTH = 2 * SIDE  # pixels of a line of frames that are followed over time
PROFILE_HEIGHT = 160  # pixels that a temporal profile has at least


@dataclass(frozen=True)
class Comparison:
    """What there is to see of the versions of a photo or a clip.

    Attributes:
        thumbnail: of the last version, (H, W, 3), sRGB.
        views: the places, each in all versions.
        changes: by how much each version but the first differs from that one, on average; 0 to 255. Of clips, in
            their first frame.
        notes: what the user should hear.
        sigma: the noise level of the first version, [0, 1]; None if it was not estimated.
    """

    thumbnail: Bytes
    views: tuple[View, ...]
    changes: tuple[float, ...]
    notes: tuple[str, ...] = ()
    sigma: float | None = None


def compare_photos(photos: Sequence[Photo]) -> Comparison:
    """Compare versions of a photo, two or more, of one size.

    Raises:
        ValueError: their sizes differ; with a message for the user.
    """
    _check_sizes([photo.shape for photo in photos])
    photos = [for_screens(replace(photo, others=())) for photo in photos]
    places = find_places([photo.as_rgb8() for photo in photos])
    views = [
        View(f"{what}, at {_where(place)}", tuple(_shown(_part(photo, *place)) for photo in photos))
        for what, place in _different({"most change": places.changed, "most detail": places.detail})
    ]
    step = max(1, max(photos[-1].shape) // (2 * THUMBNAIL_SIDE))
    every = slice(None, None, step)
    return Comparison(_thumbnail(_shown(_part(photos[-1], every, every))), tuple(views), places.changes)


def compare_frames(clips: Sequence[Iterable["Frame"]], names: Sequence[str], expected: int = 0) -> Comparison:
    """Compare the first `FRAMES` frames of versions of a clip.

    Args:
        clips: the frames of each version, two or more, all of one size.
        names: of the versions, for notes.
        expected: about how many frames they have; 0 if that is not known.

    Raises:
        ValueError: the sizes of the frames differ; with a message for the user.
        UnreadableFile: a clip cannot be read.
    """
    middle = min(expected or FRAMES, FRAMES) // 2
    views: list[View] = []
    lines: list[list[Bytes]] = []
    notes: tuple[str, ...] = ()
    pictures: list[Bytes] = []
    for number, frames in enumerate(islice(zip_longest(*clips), FRAMES)):
        ended = [name for name, frame in zip(names, frames, strict=True) if frame is None]
        if ended:
            notes = (f"compared up to frame {number}, at which {', '.join(ended)} ends",)
            break
        pictures = [_rgb8(frame) for frame in frames]
        if not lines:
            _check_sizes([picture.shape[:2] for picture in pictures])
            places = find_places(pictures)
            seen = _different({"most change": places.changed, "most detail": places.detail})
            thumbnail = _thumbnail(pictures[-1])
            line = _line(places.changed, *pictures[0].shape[:2])
        if number in (0, middle):
            views += _views_of(pictures, number, seen)
        lines.append([picture[line] for picture in pictures])
    if not lines:
        raise ValueError("no frames can be decoded of one of them")
    if len(lines) - 1 not in (0, middle):
        views += _views_of(pictures, len(lines) - 1, seen)
    height = max(1, -(-PROFILE_HEIGHT // len(lines)))
    profile = View(
        f"temporal profile: row {line[0]} of the frames 0 to {len(lines) - 1}, from top to bottom",
        tuple(np.repeat(np.stack(version), height, axis=0) for version in zip(*lines, strict=True)),
    )
    return Comparison(thumbnail, (profile, *views), places.changes, notes)


def compare_files(paths: Sequence[Path], max_pixels: int = image.MAX_PIXELS) -> Comparison:
    """Compare files: photos of any kind that can be read, or clips.

    Raises:
        UsageError: the sizes of the pictures differ.
        UnreadableFile: a file is missing, damaged or neither a photo nor a clip, or some are photos and others clips.
    """
    photos: list[Photo] = []
    try:
        for number, path in enumerate(paths):
            try:
                photos.append(image.read(path, max_pixels))
            except UnreadableFile as error:
                return _compare_clips(paths, number, error, max_pixels)
        found = compare_photos(photos)
    except ValueError as error:
        raise UsageError(f"{', '.join(map(str, paths))}: {error}") from error
    pages = zip(paths, (1 + len(photo.others) for photo in photos), strict=True)
    return replace(found, notes=tuple(f"{path}: shows page 1 of {count}" for path, count in pages if count > 1))


def _compare_clips(paths: Sequence[Path], no_photo: int, reason: UnreadableFile, max_pixels: int) -> Comparison:
    """Compare clips; the one of this number is no photo for the reason given, which is told if it is no clip either."""
    from denoise_cli.io.video import Reader  # for clips alone: FFmpeg's libraries take long to import

    with ExitStack() as opened:
        try:
            first = opened.enter_context(Reader(paths[no_photo]))
        except DenoiseError:
            raise reason from None
        clips = []
        for number, path in enumerate(paths):
            try:
                clips.append(first if number == no_photo else opened.enter_context(Reader(path)))
            except DenoiseError as error:
                raise _mixture(path, paths[no_photo], max_pixels) or error from None
        frames = [opened.enter_context(closing(clip.frames())) for clip in clips]
        expected = [count for clip in clips if (count := clip.expected_frames())]
        return compare_frames(frames, [str(path) for path in paths], min(expected, default=0))


def _mixture(path: Path, clip: Path, max_pixels: int) -> UnreadableFile | None:
    """The error for a file that is compared with a clip, if it is a photo."""
    try:
        image.read(path, max_pixels)
    except DenoiseError:
        return None
    advice = "compare photos with photos, and clips with clips"
    return UnreadableFile(path, f"is a photo, but {clip} is a clip: {advice}")


def _check_sizes(shapes: Sequence[tuple[int, ...]]) -> None:
    sizes = [f"{W} x {H}" for H, W in shapes]
    if len(set(sizes)) > 1:
        raise ValueError(f"their sizes differ: {', '.join(sizes)} pixels")


def _different(places: dict[str, Place]) -> list[tuple[str, Place]]:
    """Each place once, with all that it is."""
    once: dict[str, tuple[str, Place]] = {}
    for what, place in places.items():
        words = f"{once[repr(place)][0]} and {what}" if repr(place) in once else what
        once[repr(place)] = (words, place)
    return list(once.values())


def _where(place: Place) -> str:
    rows, columns = place
    return f"column {columns.start} and row {rows.start}"


def _part(photo: Photo, rows: slice, columns: slice) -> Photo:
    return replace(
        photo,
        pixels=photo.pixels[rows, columns],
        alpha=None,
        black=None if photo.black is None else photo.black[rows, columns],
    )


def _shown(photo: Photo) -> Bytes:
    """(H, W, 3), sRGB; as they are if the profile of the colours is damaged."""
    try:
        return to_srgb(photo).as_rgb8()
    except ValueError:
        return photo.as_rgb8()


def _thumbnail(picture: Bytes) -> Bytes:
    reduced = Image.fromarray(picture)
    reduced.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return np.asarray(reduced)


def _rgb8(frame: "Frame") -> Bytes:
    """(H, W, 3), in the clip's own encoding."""
    values = to_rgb(frame.planes, frame.layout)
    stored = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return np.repeat(stored, 3 // stored.shape[2], axis=2)


def _line(place: Place, height: int, width: int) -> tuple[int, slice]:
    """The row in the middle of a place, and as many of its columns as a profile shows, around the place."""
    rows, columns = place
    begin = max(0, min(columns.start + SIDE // 2 - PROFILE_WIDTH // 2, width - PROFILE_WIDTH))
    return (rows.start + min(rows.stop, height)) // 2, slice(begin, begin + PROFILE_WIDTH)


def _views_of(pictures: Sequence[Bytes], number: int, places: Sequence[tuple[str, Place]]) -> Iterator[View]:
    for what, place in places:
        parts = tuple(np.ascontiguousarray(picture[place]) for picture in pictures)
        yield View(f"frame {number}: {what}, at {_where(place)}", parts)
