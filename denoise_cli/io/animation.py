"""Animations out: GIF, APNG, WebP and AVIF, made from the finished clip, with its times, repetitions and transparency.

While a clip is denoised, its frames are kept without loss. Only then are they known well enough to choose the
colours of a GIF.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from denoise_cli.errors import UnwritableFile, UsageError
from denoise_cli.io.decoding import one_line
from denoise_cli.io.dolby_vision import kinds_in
from denoise_cli.io.encode import Encoding, write_errors
from denoise_cli.io.jxl import codestream_of, metadata_of
from denoise_cli.io.jxl_header import is_lossless, read_header
from denoise_cli.io.playlists import url
from denoise_cli.io.png import SIGNATURE, chunks_of
from denoise_cli.io.program import run_ffmpeg
from denoise_cli.io.transparency import is_transparent
from denoise_cli.io.video import Reader
from denoise_cli.io.video_frame import RGB_MATRIX, Frame
from denoise_cli.io.whole_copy import JPEG_XL, TIMING, WEBP_ALPHA, WEBP_FLAGS, reader_for

# By extension: the kind of animation.
ANIMATIONS: Mapping[str, str] = {".gif": "gif", ".png": "apng", ".apng": "apng", ".webp": "webp", ".avif": "avif"}
CLIP_INSTEAD = "choose .mp4, .mov or .mkv"
QUALITY = 95  # of WebP and AVIF, as of photos
LOSSLESS = ("gif", "apng", "png", "ffv1")  # by FFmpeg's names
GIF_TICK = Fraction(1, 100)  # seconds
GIF_SHORTEST = 2 * GIF_TICK  # players show a frame that is shorter for 100 ms
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # H.273
FOREVER = 0  # times that an animation is shown
# Metadata that formats hold here, by the names of `Origin`.
HELD: Mapping[str, tuple[str, ...]] = {
    "gif": (),
    "apng": ("icc", "exif", "xmp"),
    "webp": ("icc", "exif", "xmp"),
    "avif": ("icc", "exif", "xmp"),
}
# Tags that say how a file was made, and nothing about what it shows.
TECHNICAL_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "creation_time")
# The palette is chosen for the whole clip. Diffused errors are far closer to the picture, as seen from a distance, than
# an ordered pattern. They would flicker, but what does not change from frame to frame is not dithered anew.
PALETTE = "palettegen=stats_mode=full:reserve_transparent={alpha}"
DITHER = "paletteuse=dither=sierra2_4a:diff_mode=rectangle"


@dataclass(frozen=True)
class Origin:
    """What an animation takes over from the file that it was made from, besides its frames.

    Attributes:
        plays: how often it is shown; 0 for ever.
        icc, exif, xmp: metadata; None if there are none.
        lossless: whether it was compressed without loss.
    """

    plays: int = FOREVER
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    lossless: bool = False


def choose(
    clip: Reader, first: Frame, extension: str, settings: Mapping[str, object | None]
) -> tuple[Encoding, list[str]]:
    """How the frames are kept until the animation is written, and a line for everything that it will lack.

    Args:
        clip: the source.
        first: its first frame.
        extension: one of `ANIMATIONS`.
        settings: by the name of an option: what the user asked of an encoder; None for nothing.

    Raises:
        UsageError: the user asked something of the encoder, or the format cannot hold the clip's colours.
    """
    kind = ANIMATIONS[extension]
    for option, value in settings.items():
        if value is not None:
            raise UsageError(f"{option} {value}: an animation ({extension}) has no such setting: {CLIP_INSTEAD}")
    if first.picture.color_trc in HDR_TRANSFERS:
        name = HDR_TRANSFERS[first.picture.color_trc]
        raise UsageError(f"an animation ({extension}) cannot hold HDR ({name}): {CLIP_INSTEAD}")
    is_deep = kind == "apng" and first.layout.bits > 8
    pixel_format = ("rgba64be" if is_deep else "rgba") if clip.has_alpha else "rgb48be" if is_deep else "rgb24"
    encoding = Encoding("mov", "png", pixel_format, RGB_MATRIX, full=True, animation=kind)
    return encoding, [*_frames(clip, first, kind), *_rest(clip, extension)]


def _frames(clip: Reader, first: Frame, kind: str) -> list[str]:
    """What becomes of the frames."""
    notes, bits = [], first.layout.bits
    if kind != "apng" and bits > 8:
        notes.append(f"{bits} bits become 8: {kind} holds no more here")
    if kind == "gif" and clip.codec != "gif":
        notes.append("a GIF holds only 256 colours: .webp and .png keep them all")
        if is_transparent(clip, first) is not False:
            notes.append("a GIF's pixels are either opaque or transparent: .webp and .png keep partial transparency")
    if kind == "gif" and 1 / clip.rate < GIF_SHORTEST:
        notes.append(f"{float(clip.rate):g} frames per second become 50: players show a faster GIF more slowly")
    if clip.codec in LOSSLESS and kind in ("webp", "avif") and not origin_of(clip.path).lossless:
        notes.append(f"lossless {clip.codec} becomes {kind}, compressed with loss: .png stays lossless")
    notes += [f"{name} is lost: an animation cannot hold it" for name in kinds_in(clip, first)]
    aspect = clip.stream.sample_aspect_ratio
    if aspect and aspect != 1:
        notes.append(f"pixels of {aspect.numerator}:{aspect.denominator} become square: animations have no others")
    return notes


def _rest(clip: Reader, extension: str) -> list[str]:
    """What becomes of everything else in the file."""
    others = (index for index in clip.copied_streams if index != clip.stream.index)
    notes = [f"track {n} ({clip.kind(n)}, {clip.streams[n][1]}) is left out: {extension} has no tracks" for n in others]
    tags = [key for key in clip.metadata if key.lower() not in TECHNICAL_TAGS]
    if tags:
        notes.append(f"metadata are left out ({', '.join(sorted(tags))}): {extension} does not hold them")
    origin, kind = origin_of(clip.path), ANIMATIONS[extension]
    lost = [name for name in ("icc", "exif", "xmp") if getattr(origin, name) and name not in HELD[kind]]
    if lost:
        notes.append(f"not carried over to {kind}: {', '.join(name.upper() for name in lost)}")
    if kind == "avif" and origin.plays != FOREVER:
        notes.append(f"shown for ever, not {origin.plays} times: Pillow cannot limit the repetitions of an AVIF")
    return notes


def origin_of(path: Path) -> Origin:
    """What Pillow finds in an animation; of other clips, that they are to be shown for ever."""
    try:
        if reader_for(path) == JPEG_XL:
            return _origin_of_jxl(path.read_bytes())
        with Image.open(path, formats=["GIF", "PNG", "WEBP", "AVIF"]) as picture:
            info, kind = dict(picture.info), picture.format
    except (OSError, ValueError, SyntaxError):
        return Origin()
    plays = int(info.get("loop", FOREVER))
    if kind == "GIF":  # which counts repetitions, and is shown once without a count
        plays = 1 if "loop" not in info else plays + 1 if plays else FOREVER
    xmp: Any = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return Origin(
        plays=plays,
        icc=info.get("icc_profile"),
        exif=info.get("exif"),
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        lossless=kind in ("GIF", "PNG") or (kind == "WEBP" and b"VP8L" in path.read_bytes()),
    )


def _origin_of_jxl(data: bytes) -> Origin:
    codestream = codestream_of(data)
    plays, lossless = read_header(codestream).plays or FOREVER, is_lossless(codestream)
    try:
        meta = metadata_of(data)
    except (ValueError, RuntimeError):  # the frames could be decoded, whatever is wrong with what is beside them
        return Origin(plays, lossless=lossless)
    return Origin(plays, meta.icc, meta.exif, meta.xmp, lossless)


def write(clip: Reader, video: Path, target: Path, kind: str, end: Fraction) -> None:
    """Write an animation.

    Args:
        clip: the source, of which metadata and the number of repetitions are kept.
        video: the frames, without loss.
        target: the file to write; an existing one is replaced.
        kind: a value of `ANIMATIONS`.
        end: when the last frame ends, in seconds.

    Raises:
        UnwritableFile: FFmpeg or Pillow cannot write it.
    """
    origin = origin_of(clip.path)
    starts = _starts(video)
    last = max(end - starts[-1], Fraction(1, 1000))
    if kind == "gif":
        _write_gif(clip, video, target, origin, last)
        return
    apng = target if kind == "apng" else target.with_name("frames.png")
    timed = ("-plays", str(origin.plays), "-final_delay", f"{last.numerator}/{last.denominator}")
    _ffmpeg(target, "-i", url(video), *TIMING, "-pred", "mixed", *timed, "-f", "apng", url(apng))
    if kind == "apng":
        with write_errors(target):
            target.write_bytes(_with_metadata(target.read_bytes(), origin))
        return
    lasting = [round(1000 * (after - before)) for before, after in pairwise([*starts, starts[-1] + last])]
    metadata = {"icc_profile": origin.icc, "exif": origin.exif, "xmp": origin.xmp}
    options: dict[str, Any] = {name: value for name, value in metadata.items() if value}
    if kind == "webp":
        options |= {"loop": origin.plays, "lossless": origin.lossless, "method": 4, "exact": True}
    else:
        options |= {"speed": 6, "subsampling": "4:4:4"}
    quality = 100 if kind == "webp" and origin.lossless else QUALITY
    try:
        with Image.open(apng) as frames:
            frames.save(target, kind.upper(), save_all=True, duration=lasting, quality=quality, **options)
            if kind == "webp" and frames.has_transparency_data:
                _say_transparent(target)
    except (OSError, ValueError) as error:
        raise UnwritableFile(target, f"cannot be encoded as {kind}: {one_line(error)}") from error


def _write_gif(clip: Reader, video: Path, target: Path, origin: Origin, last: Fraction) -> None:
    palette, repeats = target.with_name("palette.png"), {0: 0, 1: -1}.get(origin.plays, origin.plays - 1)
    rate = "fps=50," if 1 / clip.rate < GIF_SHORTEST else ""
    chosen = rate + PALETTE.format(alpha=int(clip.has_alpha))
    _ffmpeg(target, "-i", url(video), "-vf", chosen, "-update", "1", "-f", "image2", url(palette))
    drawn = f"[0:v]{rate}null[v];[v][1:v]{DITHER}"
    lasting = ("-loop", str(repeats), "-final_delay", str(max(round(last / GIF_TICK), 2)))
    _ffmpeg(target, "-i", url(video), "-i", url(palette), "-lavfi", drawn, *TIMING, *lasting, "-f", "gif", url(target))


def _ffmpeg(target: Path, *words: str) -> None:
    if reason := run_ffmpeg(*words):
        raise UnwritableFile(target, f"FFmpeg cannot write it: {reason}")


def _starts(video: Path) -> list[Fraction]:
    """When each frame begins, in seconds."""
    with av.open(url(video)) as container:
        packets = container.demux(video=0)
        return sorted(Fraction(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)


def _say_transparent(webp: Path) -> None:
    """Set the flag for transparency, which libwebp omits if what is opaque fills a rectangle in every frame."""
    with webp.open("r+b") as file:
        start = file.read(WEBP_FLAGS + 1)
        if start[12:16] == b"VP8X":  # else it is a single picture, which says so itself
            file.seek(WEBP_FLAGS)
            file.write(bytes([start[WEBP_FLAGS] | WEBP_ALPHA]))


def _with_metadata(png: bytes, origin: Origin) -> bytes:
    """A PNG with a colour profile and other metadata in place of what FFmpeg says of its colours."""
    carrier = BytesIO()
    described = PngInfo()
    if origin.xmp:
        described.add_itxt("XML:com.adobe.xmp", origin.xmp.decode(errors="replace"))
    options = {name: value for name, value in (("icc_profile", origin.icc), ("exif", origin.exif)) if value}
    Image.new("RGB", (1, 1)).save(carrier, "PNG", pnginfo=described, **options)
    pixels = (b"IHDR", b"IDAT", b"IEND")
    added = b"".join(one for name, one in chunks_of(carrier.getvalue()) if name not in pixels)
    stale = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"eXIf") if origin.icc else (b"eXIf",)
    kept = [one for name, one in chunks_of(png) if name not in stale]
    return b"".join([SIGNATURE, kept[0], added, *kept[1:]])
