"""What an encoding keeps of a clip: its first frame is encoded and decoded again before the work begins."""

import errno
from collections.abc import Iterable, Iterator
from dataclasses import replace

import av

from denoise_cli.errors import UnreadableFile, UnwritableFile, UsageError
from denoise_cli.io.conversion import UNSPECIFIED, usual_matrix
from denoise_cli.io.display_boxes import kept_beside_frames
from denoise_cli.io.dolby_vision import check_colours, kinds_in
from denoise_cli.io.encode import CONTAINERS, NUT_ENCODER, RAW_ENCODER, Encoding, Writer, codec_of
from denoise_cli.io.transparency import loss_of
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import SUBSAMPLINGS, Frame, chroma_shifts, has_alpha
from denoise_cli.temporary_files import scratch_folder

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
MATRIX_NAMES = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020", 10: "BT.2020 CL"}
MASTERING = "the mastering-display metadata"
ROTATION = "the rotation for display"
USUAL_SITING = "left"  # where chroma lies if nothing is stated
TAGS = {"color_primaries": "primaries", "color_trc": "transfer function", "colorspace": "matrix"}


def settle(clip: Reader, first: Frame, encoding: Encoding, *, is_given: bool = False) -> tuple[Encoding, list[str]]:
    """An encoding whose range the encoder can state, and a line for everything that the result will lack.

    Args:
        clip: the source.
        first: its first frame.
        encoding: how to compress it.
        is_given: whether the user named the codec.

    Raises:
        UsageError: the encoder does not work here, or not with this clip.
        UnwritableFile: there is no room for a temporary file.
    """
    kept = None
    if encoding.encoder != RAW_ENCODER:
        kept = _tried(clip, first, encoding)
        settled = _as_stated(encoding, kept)
        if settled != encoding:
            encoding, kept = settled, _tried(clip, first, settled)
    return encoding, [
        *_samples(clip, first, encoding, kept),
        *_codec(clip, encoding, is_given),
        *_tags(clip, first, encoding, kept),
    ]


def watched(
    frames: Iterable[Frame], clip: Reader, first: Frame, encoding: Encoding | None, lost: list[str]
) -> Iterator[Frame]:
    """The same frames; a line is added for what begins after the first frame and is lost: side data, and fields.

    Args:
        frames: before anything is done to them.
        clip: the source.
        first: its first frame, of which `settle` tells.
        encoding: how it is compressed; None for numbered pictures.
        lost: gets the lines.

    Raises:
        UnreadableFile: the colours of a frame are false without the metadata of Dolby Vision.
    """
    known = [*kinds_in(clip, first), *([MASTERING] if first.mastering else [])]
    are_fields_known = first.is_interlaced or encoding is None
    for frame in frames:
        if frame.is_interlaced and not are_fields_known:
            are_fields_known = True
            lost.append(f"fields, which begin at {frame.picture.time:.1f} s, are no longer marked: try --deinterlace")
        if frame.has_dolby_colours:
            check_colours(clip, frame)
        for name in [*frame.side_data, *([MASTERING] if frame.mastering else [])]:
            if any(one.startswith(name) for one in known):
                continue
            known.append(name)
            # Encoders take what is true of the whole clip from its first frame.
            if name == MASTERING or name not in _side_data_kept(clip, frame, encoding):
                lost.append(f"{name}, which begins at {frame.picture.time:.1f} s, is lost")
        yield frame


def _side_data_kept(clip: Reader, frame: Frame, encoding: Encoding | None) -> list[str]:
    """What else belongs to a frame that an encoder and its container write."""
    if encoding is None or encoding.encoder == RAW_ENCODER or encoding.animation:
        return []
    return _tried(clip, frame, encoding).side_data


def _as_stated(encoding: Encoding, kept: Frame) -> Encoding:
    """The encoding with samples in the matrix and the range that decoders are told, if the encoder knows no others."""
    layout = kept.layout
    if layout.colours == "gbr":
        return encoding
    is_told = layout.colours == "yuv" and layout.matrix in MATRIX_NAMES
    matrix = layout.matrix if is_told and encoding.matrix != layout.matrix else encoding.matrix
    return replace(encoding, matrix=matrix, full=encoding.full and layout.full)


def _tried(clip: Reader, first: Frame, encoding: Encoding) -> Frame:
    """The first frame, encoded and decoded."""
    named = f"{encoding.encoder} in {encoding.container}"
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    with scratch_folder() as folder, av.logging.Capture() as complaints:
        path = folder / "frame"
        try:
            with Writer(path, clip, encoding) as writer:
                writer.write(first)
            with Reader(path) as written:
                frame = next(written.frames(), None)
        except (UnwritableFile, UsageError) as error:
            cause = error.__cause__.__cause__ if isinstance(error.__cause__, UnwritableFile) else error.__cause__
            if not isinstance(cause, av.FFmpegError):
                raise
            if cause.errno in NO_ROOM:
                raise UnwritableFile(folder.parent, f"no room for a temporary file ({cause.strerror})") from error
            said = next((text.strip() for _, _, text in complaints if text.strip()), cause.strerror)
            raise UsageError(
                f"{named} cannot encode this clip ({said}): see --codec, --preset and --pix-fmt"
            ) from error
        except UnreadableFile as error:
            raise UsageError(f"{named}: what it writes cannot be decoded here: see --codec") from error
        finally:
            av.logging.set_level(level)
    if frame is None:
        raise UsageError(f"{named}: what it writes cannot be decoded here: see --codec")
    return frame


def _samples(clip: Reader, first: Frame, encoding: Encoding, kept: Frame | None) -> list[str]:
    """What becomes of the samples."""
    notes = []
    layout, form = first.layout, av.VideoFormat(encoding.pixel_format, 64, 64)
    is_rgb = form.is_rgb or form.has_palette
    if clip.has_alpha and not has_alpha(form if kept is None else kept.picture.format):
        notes += loss_of(clip, first, f"{encoding.encoder} in {encoding.container}")
    bits = min(component.bits for component in form.components)
    if bits < layout.bits:
        notes.append(f"{layout.bits} bits become {bits}: encoded as {form.name}")
    if layout.colours == "gbr" and not is_rgb:
        matrix = MATRIX_NAMES.get(encoding.matrix, f"matrix {encoding.matrix}")
        notes.append(f"RGB becomes YCbCr ({matrix}): encoded as {form.name}")
    was = usual_matrix(first.picture) if layout.matrix == UNSPECIFIED else layout.matrix
    if layout.colours == "yuv" and not is_rgb and encoding.matrix not in (was, layout.matrix):
        names = (MATRIX_NAMES.get(matrix, f"matrix {matrix}") for matrix in (was, encoding.matrix))
        notes.append(f"{' becomes '.join(names)}: {encoding.encoder} cannot state others")
    if layout.colours == "yuv" and is_rgb:
        notes.append(f"YCbCr becomes RGB: encoded as {form.name}")
    if layout.colours != "grey" and len(form.components) < 3:
        notes.append(f"colours are lost: encoded as {form.name}")
    elif layout.colours != "grey" and not is_rgb:
        shifts = (layout.across, layout.down)
        new = chroma_shifts(form)
        if new[0] > shifts[0] or new[1] > shifts[1]:
            notes.append(f"{_ratio(shifts)} becomes {_ratio(new)}: encoded as {form.name}")
    if layout.full and layout.colours != "gbr" and not is_rgb and not encoding.full:
        notes.append(f"full range becomes limited: {encoding.encoder} in {encoding.container} cannot state it")
    return notes


def _codec(clip: Reader, encoding: Encoding, is_given: bool) -> list[str]:
    """What becomes of the kind of compression."""
    if encoding.encoder == RAW_ENCODER:
        return []
    codec = codec_of(encoding.encoder)
    notes = []
    own = [name for kind, names in CONTAINERS.values() if kind == encoding.container for name in names]
    own = [name for name in own if codec_of(name) == clip.codec]
    if own and codec != clip.codec and not is_given:
        notes.append(f"{clip.codec} becomes {codec}: {own[0]} would lose more of this clip")
    keeps_all = _is_lossless(av.Codec(encoding.encoder, "w")) or encoding.options.get("crf") == "0"
    # Raw frames in a pipe are no choice of the user's: what they were made from may have been compressed.
    is_known = clip.codec in av.codecs_available and not (clip.pipe and clip.codec == NUT_ENCODER)
    if is_known and _is_lossless(av.Codec(clip.codec, "r")) and not keeps_all:
        notes.append(f"lossless {clip.codec} becomes {codec}, compressed with loss")
    return notes


def _tags(clip: Reader, first: Frame, encoding: Encoding, kept: Frame | None) -> list[str]:
    """What becomes of what is stated about the samples."""
    notes = []
    if kept is None:
        lost_kinds = [*kinds_in(clip, first), *([ROTATION] if first.display_matrix else [])]
        return [f"{name} is lost: raw frames cannot hold it" for name in lost_kinds]
    where = f"{encoding.encoder} in {encoding.container}"
    was, now = first.picture, kept.picture
    stated = {tag: getattr(was, tag) for tag in TAGS} | {"colorspace": encoding.matrix}
    if now.format.is_rgb:
        del stated["colorspace"]
    lost = [TAGS[tag] for tag, value in stated.items() if value != UNSPECIFIED and getattr(now, tag) != value]
    if lost:
        notes.append(f"colour tags are lost ({', '.join(lost)}): {where} cannot hold them")
    siting, form = first.shown()[1], av.VideoFormat(encoding.pixel_format, 64, 64)
    is_reduced = not form.is_rgb and chroma_shifts(form) != (0, 0)
    if is_reduced and siting not in (None, USUAL_SITING, kept.shown()[1]):
        notes.append(f"the chroma location ({siting}) is lost: {where} cannot hold it")
    if first.is_interlaced and not kept.is_interlaced:
        notes.append(f"fields are no longer marked as such: {where} cannot do that: try --deinterlace")
    elif first.is_interlaced and first.shown()[0] != kept.shown()[0]:
        notes.append(f"the order of the fields is lost: {where} cannot hold it")
    if first.display_matrix and not kept.display_matrix:
        notes.append(f"{ROTATION} is lost: {where} cannot hold it")
    if set(first.mastering) - set(kept.mastering):
        notes.append(f"{MASTERING} is lost: {encoding.encoder} cannot store it")
    held = (*kept.side_data, *kept_beside_frames(clip, encoding.container))
    lost_kinds = [name for name in kinds_in(clip, first) if not name.startswith(held)]
    notes += [f"{name} is lost: {where} cannot hold it" for name in lost_kinds]
    return notes


def _ratio(shifts: tuple[int, int]) -> str:
    return ":".join(SUBSAMPLINGS[shifts])


def _is_lossless(codec: av.Codec) -> bool:
    return codec.lossless and not codec.lossy
