#!/usr/bin/env bash
# Pillow 13.0.0 opens an AVIF whose primary item has a clean aperture (`clap`), which says what part of the picture is to
# be shown, at the full size and without a word. FFmpeg 9.0.2 (imageio-ffmpeg) cuts the same file as it says.
#
# Seen: 64 x 64, of which 32 x 32 are to be shown: Pillow 64 x 64, FFmpeg 32 x 32
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 imageio-ffmpeg==0.8.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
from PIL import Image

SIDE, SHOWN = 64, 32
# Width, height and the offset of the centre, each as a fraction.
CLAP = struct.pack(">I4s8i", 40, b"clap", SHOWN, 1, SHOWN, 1, 0, 1, 0, 1)
CONTAINERS = {b"meta": 12, b"iprp": 8}  # bytes before the boxes that they hold


def grown(data, path, change):
    """The data of boxes with the box at a path changed, and the sizes of those around it corrected."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == path[0]:
            box = data[at : at + size]
            head = CONTAINERS.get(kind, 8)
            inner = change(box[8:]) if len(path) == 1 else box[8:head] + grown(box[head:], path[1:], change)
            return data[:at] + struct.pack(">I4s", 8 + len(inner), kind) + inner + data[at + size :]
        at += size
    raise ValueError(path)


def associated(content):
    """An `ipma` with one more property, an essential one, for each item."""
    version, flags, count = content[0], content[3], struct.unpack_from(">I", content, 4)[0]
    assert version == 0 and not flags & 1
    made, at = content[:8], 8
    for _ in range(count):
        number = content[at + 2]
        made += content[at : at + 2] + bytes([number + 1]) + content[at + 3 : at + 3 + number] + bytes([0x80 | index])
        at += 3 + number
    return made


def moved(content, by):
    """An `iloc` of version 0 with one extent for each item, whose offsets are in the file, moved."""
    assert content[0] == 0 and content[4:6] == b"\x44\x00"
    made, at = bytearray(content), 8
    for _ in range(struct.unpack_from(">H", content, 6)[0]):
        struct.pack_into(">I", made, at + 6, struct.unpack_from(">I", content, at + 6)[0] + by)
        at += 14
    return bytes(made)


file = io.BytesIO()
Image.new("RGB", (SIDE, SIDE), (200, 100, 50)).save(file, "AVIF")
plain = file.getvalue()
properties = plain[plain.index(b"ipco") + 4 :]
index, at = 1, 0
end = struct.unpack_from(">I", plain, plain.index(b"ipco") - 4)[0] - 8
while at < end:
    at += struct.unpack_from(">I", properties, at)[0]
    index += 1
cut = grown(plain, (b"meta", b"iprp", b"ipco"), lambda content: content + CLAP)
cut = grown(cut, (b"meta", b"iprp", b"ipma"), associated)
cut = grown(cut, (b"meta", b"iloc"), lambda content: moved(content, len(cut) - len(plain)))

Path("cut.avif").write_bytes(cut)
ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
subprocess.run([ffmpeg, "-v", "error", "-i", "cut.avif", "cut.png"], check=True)
seen = {name: Image.open(f"cut.{kind}").size for name, kind in (("Pillow", "avif"), ("FFmpeg", "png"))}
print(f"Pillow {Image.__version__}")
sizes = ", ".join(f"{name} {width} x {height}" for name, (width, height) in seen.items())
print(f"{SIDE} x {SIDE}, of which {SHOWN} x {SHOWN} are to be shown: {sizes}")
sys.exit(seen != {"Pillow": (SIDE, SIDE), "FFmpeg": (SHOWN, SHOWN)})
PYTHON
