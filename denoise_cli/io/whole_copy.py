"""Animations that FFmpeg's libraries in PyAV do not read, or not whole, as clips that they do read, without loss.

They are WebP and JPEG XL, for which these libraries have no decoders, and AVIF whose transparency is a track of its
own.
"""

from pathlib import Path
from typing import Any

from av.container import InputContainer

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.clip_end import is_cut
from denoise_cli.io.jxl import CONTAINER, codestream_of
from denoise_cli.io.jxl_header import CODESTREAM, read_header
from denoise_cli.io.program import run_ffmpeg

WEBP_FLAGS = 20  # where an extended WebP has its flags, in bytes
WEBP_ANIMATION, WEBP_ALPHA = 0x02, 0x10  # the flags of animations and of transparency
HEADER = 64  # bytes that tell a format
AVIF_SEQUENCE = b"avis"  # the brand of animations
DEPTH = 8  # bits that a picture may have to be copied with as many
TIMING = ("-fps_mode", "passthrough", "-enc_time_base", "demux")
WEBP, JPEG_XL = "webp_anim", "jpegxl_anim"  # FFmpeg's names of formats by which the ffmpeg program reads animations
# FFmpeg's names of their codecs.
CODECS = {WEBP: "webp", JPEG_XL: "jpegxl"}


def reader_for(path: Path) -> str | None:
    """The name of the format by which the ffmpeg program reads an animation for us; None for any other file."""
    with path.open("rb") as file:
        start = file.read(HEADER)
    if start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X" and start[WEBP_FLAGS] & WEBP_ANIMATION:
        return WEBP
    if start.startswith((CODESTREAM, CONTAINER)) and _is_animated(path.read_bytes()):
        return JPEG_XL
    return None


def copy(path: Path, form: str, folder: Path) -> Path:
    """Copy an animation.

    Args:
        path: the animation.
        form: as `reader_for` returns it.
        folder: for the copy.

    Returns:
        A clip with the same frames and times.

    Raises:
        UnreadableFile: the program cannot read it.
        MissingDependency: there is no program.
    """
    if form == JPEG_XL and is_cut(path, form):  # for whose rest the ffmpeg program would wait
        raise UnreadableFile(path, "is cut off")
    opaque = ("-pix_fmt", "bgr0") if form == WEBP and _is_opaque_webp(path) else ()  # which FFmpeg does not tell
    return _copied(path, ["-f", form, "-i", f"file:{path}", *opaque], folder)


def alpha_track(container: InputContainer, video: int) -> int | None:
    """The number of the track with the transparency of an animation in AVIF, whose colours are in track `video`."""
    if AVIF_SEQUENCE.decode() != container.metadata.get("major_brand"):
        return None
    colours: Any = container.streams[video]
    for stream in container.streams.video:
        form = stream.codec_context.format
        is_like = (stream.frames, stream.width, stream.height) == (colours.frames, colours.width, colours.height)
        if stream.index != video and stream.frames > 1 and is_like and form is not None and len(form.components) == 1:
            return stream.index
    return None


def copy_with_alpha(path: Path, video: int, alpha: int, bits: int, folder: Path) -> Path:
    """Copy an animation with the transparency that is in a track of its own; otherwise like `copy`.

    Args:
        path: the animation.
        video: the number of the track with its colours.
        alpha: the number of that with its transparency.
        bits: of its samples.
        folder: for the copy.
    """
    form = "bgra" if bits <= DEPTH else "gbrap16le"
    merged = f"[0:{video}][0:{alpha}]alphamerge,scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp,format={form}"
    return _copied(path, ["-i", f"file:{path}", "-filter_complex", merged], folder)


def _copied(path: Path, source: list[str], folder: Path) -> Path:
    target = folder / "copy"
    if reason := run_ffmpeg(*source, *TIMING, "-c:v", "ffv1", "-f", "mov", f"file:{target}", target=target):
        raise UnreadableFile(path, f"cannot be read as video ({reason})")
    return target


def _is_opaque_webp(path: Path) -> bool:
    """Whether an extended WebP says that nothing in it is transparent."""
    with path.open("rb") as file:
        return not file.read(HEADER)[WEBP_FLAGS] & WEBP_ALPHA


def _is_animated(jxl: bytes) -> bool:
    try:
        return read_header(codestream_of(jxl)).is_animation
    except ValueError:
        return False
