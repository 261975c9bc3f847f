"""Clips opened so that FFmpeg reads nothing but the file itself, although some formats name other files."""

from functools import cache
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.format import ContainerFormat, Flags

from denoise_cli.errors import UnreadableFile
from denoise_cli.io.numbered import pattern_for

SCRIPT = "concat"  # FFmpeg's name for lists of files, and the format with the option "safe"
# FFmpeg's names of formats that open what a file names, or what lies beside it.
PLAYLISTS = {
    SCRIPT,
    "dash",
    "hls",
    "imf",
    "mlv",  # continues in .M00, .M01 and so on
    "rtp",
    "rtsp",
    "sap",
    "sdp",
    "vobsub",
    "webm_dash_manifest",
}
OPENS_ITSELF: Any = (
    Flags.no_file.value
)  # a flag of formats that get a name, not a file, such as image sequences and devices
LOCAL = ("file", "crypto", "data")  # FFmpeg's protocols without a network; playlists use the last two for keys
REFUSAL = "not on whitelist"  # part of FFmpeg's message about a format that was not allowed


def open_input(path: Path, allow_playlists: bool = False) -> InputContainer:
    """Open a clip with FFmpeg; network protocols are never used.

    Args:
        path: the clip.
        allow_playlists: whether local files that it names may be opened, too.

    Raises:
        UnreadableFile: it names other files, and `allow_playlists` is false; or it is a still picture.
        av.FFmpegError: it cannot be read.
    """
    options = input_options(allow_playlists)
    try:
        return av.open(url(path), options=options, metadata_errors="surrogateescape")
    except av.ArgumentError:
        if not _is_refused(path, options):
            raise
    if _is_picture(path):
        raise UnreadableFile(path, still(path))
    raise UnreadableFile(path, "names other files, as playlists do, which are not opened: add --allow-playlists")


def still(path: Path) -> str:
    """What to say of a still picture in the place of a clip: one with a number may be meant as a frame."""
    words, pattern = "is a still picture, not a clip: use denoise image", pattern_for(path)
    return (
        words if pattern is None else f"{words}; if it is a frame of a clip, name its folder or the pattern {pattern}"
    )


def program_options(clip: InputContainer, allow_playlists: bool) -> list[str]:
    """The same for the ffmpeg program: what stands in front of the -i of an open clip."""
    options = input_options(allow_playlists)
    if clip.format.name != SCRIPT:
        options.pop("safe", None)  # which the program knows for no other format
    return [word for name, value in options.items() for word in (f"-{name}", value)]


def url(path: Path) -> str:
    """A path that FFmpeg cannot mistake for an option or a protocol."""
    return f"file:{path}"


def input_options(allow_playlists: bool) -> dict[str, str]:
    """FFmpeg's options for reading a clip: the protocols and formats that it may use."""
    if allow_playlists:
        return {"protocol_whitelist": ",".join(LOCAL), "safe": "0"}  # FFmpeg would refuse absolute paths in scripts
    return {"protocol_whitelist": "file", "format_whitelist": _single_files()}


@cache
def _single_files() -> str:
    """FFmpeg's names of the formats that read one file, as a list with commas."""
    names = []
    for name in sorted(av.formats_available):
        try:
            form = ContainerFormat(name, "r")
        except ValueError:  # one that is only written
            continue
        if not form.flags & OPENS_ITSELF and not PLAYLISTS & set(form.name.split(",")):
            names.append(form.name)
    return ",".join(names)


def _is_picture(path: Path) -> bool:
    """Whether a file is a picture; FFmpeg takes some, by their names, for the first of a sequence of files."""
    from PIL import Image  # only for files that are refused

    try:
        Image.open(path).close()
    except Image.DecompressionBombError:
        return True
    except (OSError, ValueError, SyntaxError):
        return False
    return True


def _is_refused(path: Path, options: dict[str, str]) -> bool:
    """Whether FFmpeg refuses a file for its format, which only its messages say."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_skip_repeated(False)  # the last message may have been the same, about another file
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            av.open(url(path), options=options).close()
    except av.FFmpegError:  # as before
        pass
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    return any(REFUSAL in text for _, _, text in lines)
