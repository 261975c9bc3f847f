"""Which of a clip's tracks a container can hold, asked of FFmpeg before the work begins."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from denoise_cli.errors import UnwritableFile
from denoise_cli.io.data_tracks import formats_of_tracks
from denoise_cli.io.encode import CONTAINERS
from denoise_cli.io.mux import Tracks, has_own_keys
from denoise_cli.io.playlists import url
from denoise_cli.io.program import run_ffmpeg
from denoise_cli.io.video import Reader
from denoise_cli.temporary_files import scratch_folder

MP4_FAMILY = ("mp4", "mov")
CAPABLE = (".mp4", ".mov", ".mkv")  # what hints name, and what a clip without a container of its own becomes
# FFmpeg's names of codecs for subtitles that are text, and of the encoder that each container knows for them.
TEXT_SUBTITLES = ("mov_text", "subrip", "ass", "webvtt", "text")
SUBTITLE_ENCODERS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "srt", "webm": "webvtt"}
LOSABLE = ("data", "subtitle", "cover", "attachment", "unknown")  # kinds of tracks that `--drop-data` leaves out
TRIED = "1"  # second of the source


def choose_tracks(clip: Reader, target: Path, drop: bool = False) -> Tracks:
    """How each track of a clip gets into the target.

    Args:
        clip: the source.
        target: a file with one of the extensions of `CONTAINERS`.
        drop: whether data tracks, subtitles, covers and attachments that its container cannot hold are left out.

    Raises:
        UnwritableFile: the container cannot hold a track, and `drop` is false or it is sound or video.
        UnreadableFile: the clip's own description of its tracks is damaged.
    """
    tracks, refused = _sorted_out(clip, target.suffix.lower())
    names = {index: _name(clip, index) for index in refused}
    needed = [index for index in refused if not drop or clip.kind(index) not in LOSABLE]
    if needed:
        listed = "; ".join(f"{names[index]} ({refused[index]})" for index in needed)
        raise UnwritableFile(target, f"cannot hold {listed}: {_hint(clip, target, needed)}")
    lost = tuple(f"{names[index]} is left out: {target.suffix.lower()} cannot hold it" for index in refused)
    return replace(tracks, notes=(*tracks.notes, *lost))


def container_for(clip: Reader, first: str) -> str:
    """The first container that holds all tracks of a clip, as an extension; `first` itself if there is none."""
    candidates = [first, *(extension for extension in CAPABLE if extension != first)]
    return next((extension for extension in candidates if not _sorted_out(clip, extension)[1]), first)


def _sorted_out(clip: Reader, extension: str) -> tuple[Tracks, dict[int, str]]:
    """The tracks that a container holds, and the others, each with the reason."""
    container = CONTAINERS[extension][0]
    wanted, added, notes = clip.copied_streams, [], []
    refused: dict[int, str] = {}
    data = [index for index in wanted if clip.kind(index) == "data"]
    if clip.is_mp4 and data:
        formats = formats_of_tracks(clip.path)
        for index in data:
            form = formats.get(clip.number(index))
            if container not in MP4_FAMILY and form == "tmcd" and clip.timecode:
                notes.append(f"the timecode {clip.timecode} becomes a tag: {extension} has no tracks for it")
                wanted = [other for other in wanted if other != index]
            elif container in MP4_FAMILY and form is not None:
                added.append(index)
            elif container in MP4_FAMILY:
                refused[index] = "it has several descriptions"
    elif container in MP4_FAMILY:  # FFmpeg writes such tracks without a description, or with that of a GoPro
        refused = dict.fromkeys(data, "MP4 and QuickTime have no description for it")
    # These FFmpeg leaves out without an error.
    dropped = ["cover"] if container == "mov" or has_own_keys(clip, container) else []
    dropped += ["attachment"] if container == "webm" else []
    refused |= {index: "FFmpeg would leave it out" for index in wanted if clip.kind(index) in dropped}
    asked = [index for index in wanted if index not in (*added, *refused, clip.stream.index)]
    converted: dict[int, str] = {}
    if _refusal(clip, asked, container):
        alone = {index: reason for index in asked if (reason := _refusal(clip, [index], container))}
        converted = {index: SUBTITLE_ENCODERS[container] for index in alone if clip.streams[index][1] in TEXT_SUBTITLES}
        notes += [
            f"{_name(clip, index)} becomes {made}: {extension} holds no other" for index, made in converted.items()
        ]
        refused |= {index: reason for index, reason in alone.items() if index not in converted}
    copied = tuple(index for index in wanted if index not in added and index not in refused)
    return Tracks(copied, tuple(added), tuple(notes), converted), refused


def _refusal(clip: Reader, indices: Sequence[int], container: str) -> str | None:
    """Why FFmpeg does not write these tracks; None if it does."""
    if not indices:
        return None
    maps = [word for index in indices for word in ("-map", f"0:{index}")]
    with scratch_folder() as folder:
        tried = ["-c", "copy", "-copy_unknown", "-f", container, url(folder / "tried")]
        return run_ffmpeg("-t", TRIED, *clip.program_options, "-i", url(clip.file), *maps, *tried)


def _name(clip: Reader, index: int) -> str:
    codec = clip.streams[index][1]
    if clip.is_mp4 and codec == "unknown":
        codec = formats_of_tracks(clip.path).get(clip.number(index), codec)
    return f"track {index} ({clip.kind(index)}, {codec})"


def _hint(clip: Reader, target: Path, refused: Sequence[int]) -> str:
    others = [extension for extension in CAPABLE if extension != target.suffix.lower()]
    able = [extension for extension in others if not _sorted_out(clip, extension)[1]]
    hints = [f"try {' or '.join(able)}"] if able else []
    if all(clip.kind(index) in LOSABLE for index in refused):
        hints.append("--drop-data leaves it out" if len(refused) == 1 else "--drop-data leaves them out")
    return ", or ".join(hints) or "no container holds all of its tracks"
