"""What becomes of the pixels of clips, from pixel format to codec.

    python docs/experiments/pixels.py [--from NAME ...] [--to NAME ...]

Makes a small clip in each of many pixel formats, runs `denoise video --strength 0` on it for each codec and container
that is written, and prints a table: kept, converted (with the lines that say so) or refused (with the line). The ffmpeg
program, which shares no code with this one but FFmpeg's own, shows source and result in RGB as their tags ask for. The
exit code is 1 if these differ by more than a codec's loss, or if anything was changed without a line.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from denoise_cli.errors import DenoiseError
from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.io.program import ffmpeg_program
from denoise_cli.pipeline import clip
from denoise_cli.pipeline.clip import Settings

W, H, FRAMES = 256, 128, 3  # the smallest sides that every encoder takes
LEAST_PSNR = 30.0  # dB, of what a codec loses
LAYOUT = re.compile(r"fmt:(\S+) cl:(\S+) .* i:(\S)")
KINDS = ("chroma location", "fields", "range", "matrix", "primaries", "transfer function")
UNSTATED = ("unspecified", "unknown", "left", "tv")  # or the same as that
COLOURS = re.compile(r"color_range:(\S+) color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)")

# A translucent picture with smooth colours; alpha rises from left to right.
PICTURE = "gradients=s={size}:n=4:seed=7:speed=0.01:d=1,format=rgba,geq=r=r(X\\,Y):g=g(X\\,Y):b=b(X\\,Y):a=64+X/2"
HDR = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc"
# By name: the file, and FFmpeg's options for its video.
SOURCES: dict[str, tuple[str, str]] = {
    "4:2:0, 8 bits": ("a.mp4", "-pix_fmt yuv420p -c:v libx264 -crf 5"),
    "4:2:0, topleft": (
        "a.mkv",
        "-vf format=yuv420p,setparams=chroma_location=topleft -c:v libx264 -crf 5 -chroma_sample_location topleft",
    ),
    "4:2:0, full range": ("a.mp4", "-vf scale=out_range=pc,format=yuv420p -color_range pc -c:v libx264 -crf 5"),
    "4:2:0, 10 bits, HDR": (
        "a.mp4",
        f"-pix_fmt yuv420p10le {HDR} -c:v libx265 -crf 5 -x265-params log-level=error:max-cll=1000,400",
    ),
    "4:2:2, 10 bits": ("a.mov", "-pix_fmt yuv422p10le -c:v prores_ks"),
    "4:2:2, 10 bits, DNxHR": ("a.mov", "-pix_fmt yuv422p10le -c:v dnxhd -profile:v dnxhr_hqx"),
    "4:4:4, 8 bits": ("a.mkv", "-pix_fmt yuv444p -c:v libx264 -crf 5"),
    "4:4:4, 10 bits, AV1": ("a.mkv", "-pix_fmt yuv444p10le -c:v libaom-av1 -cpu-used 8 -crf 5"),
    "4:4:4, 12 bits": ("a.mkv", "-pix_fmt yuv444p12le -c:v ffv1"),
    "4:4:0, 8 bits": ("a.mkv", "-pix_fmt yuv440p -c:v ffv1"),
    "grey, 8 bits": ("a.mkv", "-pix_fmt gray -c:v ffv1"),
    "grey, 16 bits": ("a.mkv", "-pix_fmt gray16le -c:v ffv1"),
    "RGB, H.264": ("a.mp4", "-pix_fmt bgr24 -c:v libx264rgb -crf 5"),
    "RGB, PNG": ("a.mov", "-pix_fmt rgb24 -c:v png"),
    "RGB, FFV1": ("a.mkv", "-pix_fmt bgr0 -c:v ffv1"),
    "RGB, 10 bits": ("a.mkv", "-pix_fmt gbrp10le -c:v ffv1"),
    "RGB, 16 bits, PNG": ("a.mov", "-pix_fmt rgb48be -c:v png"),
    "alpha, PNG": ("a.mov", "-pix_fmt rgba -c:v png"),
    "alpha, APNG": ("a.apng", "-pix_fmt rgba -c:v apng"),
    "alpha, QTRLE": ("a.mov", "-pix_fmt argb -c:v qtrle"),
    "alpha, VP9": ("a.webm", "-pix_fmt yuva420p -c:v libvpx-vp9 -crf 5 -b:v 0"),
    "alpha, ProRes 4444": ("a.mov", "-pix_fmt yuva444p10le -c:v prores_ks -profile:v 4444"),
    "alpha, FFV1": ("a.mkv", "-pix_fmt yuva444p10le -c:v ffv1"),
    "alpha, Ut Video": ("a.mkv", "-pix_fmt gbrap -c:v utvideo"),
    "interlaced, H.264": (
        "a.mp4",
        "-vf format=yuv420p,setfield=bff -c:v libx264 -crf 5 -flags +ilme+ildct -x264-params bff=1",
    ),
    "interlaced, FFV1": ("a.mkv", "-vf format=yuv422p,setfield=bff -c:v ffv1"),
}
# By name: the file, and --codec.
TARGETS: dict[str, tuple[str, str | None]] = {
    "mp4": ("b.mp4", None),
    "mov": ("b.mov", None),
    "mkv": ("b.mkv", None),
    "webm": ("b.webm", None),
    "hevc": ("b.mp4", "hevc"),
    "av1": ("b.mp4", "av1"),
    "vp9": ("b.webm", "vp9"),
    "prores": ("b.mov", "prores"),
    "dnxhr": ("b.mov", "dnxhr"),
    "ffv1": ("b.mkv", "ffv1"),
    "utvideo": ("b.mkv", "utvideo"),
    "png": ("b.mov", "png"),
    "h264_nvenc": ("b.mp4", "h264_nvenc"),
}


@dataclass(frozen=True)
class Seen:
    """What the ffmpeg program sees of a clip.

    Attributes:
        rgba: the first frame, (H, W, 4), float64, [0, 1].
        form: pixel format.
        told: what `KINDS` names.
    """

    rgba: np.ndarray
    form: str
    told: tuple[str, ...]


def main() -> int:
    """Print the table; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--from", dest="sources", nargs="+", choices=SOURCES, default=list(SOURCES), metavar="NAME")
    parser.add_argument("--to", dest="targets", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="NAME")
    options = parser.parse_args()
    failed = False
    print("| clip | to | becomes | |\n|---|---|---|---|")
    for row in rows(options.sources, options.targets):
        failed |= row[2].startswith("WRONG")
        print("| " + " | ".join(row) + " |", flush=True)
    return int(failed)


def rows(sources: list[str], targets: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """For each pair: the clip, the target, what becomes of it, and the lines about it."""
    denoise = load_denoiser("mallenet-s", "cpu", "fp32")
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder), source)
            before = look(path)
            for target in targets:
                name, codec = TARGETS[target]
                yield source, target, *outcome(path, before, Path(folder) / name, codec, denoise)


def make(folder: Path, name: str) -> Path:
    """Write the clip with a name of `SOURCES`."""
    file, options = SOURCES[name]
    picture = PICTURE.format(size=f"{W}x{H}")
    run("-f", "lavfi", "-i", picture, "-frames:v", FRAMES, *options.split(), folder / file)
    return folder / file


def outcome(source: Path, before: Seen, target: Path, codec: str | None, denoise: Denoiser) -> tuple[str, str]:
    """What becomes of a clip, and the lines about it."""
    try:
        result = clip.run(source, target, denoise, Settings("mallenet-s", strength=0, codec=codec), overwrite=True)
    except DenoiseError as error:
        return "refused", str(error).replace(f"{source.parent}/", "")
    after = look(target)
    target.unlink()
    lines = [note for note in result.notes if not note.startswith("interlaced: ")]
    error = ((before.rgba - after.rgba)[..., :3] ** 2).mean()
    opacity = np.abs(before.rgba - after.rgba)[..., 3].mean()
    lost_alpha = any("transparency" in line for line in lines)
    wrong = []
    if error > 10 ** (-LEAST_PSNR / 10) and not any("colours are lost" in line for line in lines):
        wrong.append(f"{-10 * np.log10(error):.1f} dB")
    if opacity > 0.01 and not lost_alpha:
        wrong.append("transparency differs")
    pairs = zip(KINDS, before.told, after.told, strict=True)
    changed = [f"{kind} {one} became {other}" for kind, one, other in pairs if one not in (other, *UNSTATED)]
    if changed and not lines:
        wrong.append(", ".join(changed))
    if wrong:
        return f"WRONG: {'; '.join(wrong)}", "; ".join(lines)
    return ("converted" if lines else "kept") + f": {result.codec}, {after.form}", "; ".join(lines)


def look(path: Path) -> Seen:
    """What the ffmpeg program sees of a clip; it needs to be told that VP9 has transparency."""
    told = run(*decoder(path), "-i", path, "-vf", "showinfo", "-frames:v", 1, "-f", "null", "-", level="info")
    layout, colours = LAYOUT.search(told), COLOURS.search(told)
    assert layout is not None
    assert colours is not None
    full_size = "scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp,format=rgba64le"
    command = [ffmpeg_program(), "-v", "error", *decoder(path), "-i", str(path), "-vf", full_size, "-frames:v", "1"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], check=True, capture_output=True).stdout
    rgba = np.frombuffer(raw, "<u2").reshape(H, W, 4) / 65535
    form, *rest = layout.groups()
    tags = colours.groups()
    if re.match("rgb|bgr|gbr|argb|abgr|pal8", form):  # whose range and matrix follow from that
        rest, tags = ["unspecified", rest[1]], ("unknown", "unknown", *tags[2:])
    return Seen(rgba, form, (*rest, *tags))


def decoder(path: Path) -> list[str]:
    """Options for a file with VP9, whose transparency only libvpx decodes."""
    is_vp9 = "Video: vp9" in run("-i", path, level="info", check=False)
    return ["-c:v", "libvpx-vp9"] if is_vp9 else []


def run(*words: object, level: str = "error", check: bool = True) -> str:
    """What the ffmpeg program prints."""
    command = [ffmpeg_program(), "-hide_banner", "-nostdin", "-y", "-v", level, *map(str, words)]
    return subprocess.run(command, check=check, capture_output=True, text=True).stderr


if __name__ == "__main__":
    sys.exit(main())
