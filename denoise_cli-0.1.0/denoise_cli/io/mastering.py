"""What HDR files say about the display that they were made on, and about how bright they are.

Sources: W3C, "Portable Network Graphics (PNG) Specification", third edition, 11.3.2.7 and 11.3.2.8; ISO/IEC 14496-12,
12.1.6 to 12.1.8; ISO/IEC 23008-12, 6.5.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

DISPLAY, LIGHT = "mastering display", "content light level"
FRACTIONS = 10_000  # of 1 cd/m2, in a PNG and for displays; `clli` has whole ones
OTHERS = {
    b"amve": "ambient viewing environment",
    b"cclv": "content colour volume",
    b"ndwt": "nominal diffuse white",
    b"reve": "reference viewing environment",
}
TONE_MAPPING = "luminance range"


@dataclass(frozen=True)
class Mastering:
    """Each kind of statement; None if absent.

    Attributes:
        display: x and y of red, green, blue and white in units of 0.00002; its most and least light in 0.0001 cd/m2.
        light: the brightest pixel and the mean, in 0.0001 cd/m2.
        others: boxes of HEIF and AVIF, by their names.
        tone_mapping: the bits in the header of a JPEG XL codestream.
    """

    display: tuple[int, ...] | None = None
    light: tuple[int, int] | None = None
    others: tuple[tuple[bytes, bytes], ...] = ()
    tone_mapping: int | None = None

    def chunks(self) -> list[tuple[bytes, bytes]]:
        """Chunks for a PNG: their names and contents."""
        found = []
        if self.display is not None:
            found.append((b"mDCV", struct.pack(">8H2I", *self.display)))
        if self.light is not None:
            found.append((b"cLLI", struct.pack(">2I", *self.light)))
        return found

    def boxes(self) -> list[tuple[bytes, bytes]]:
        """Properties for HEIF and AVIF: their names and contents."""
        found = list(self.others)
        if self.display is not None:
            red, green, rest = self.display[:2], self.display[2:4], self.display[4:]
            found.append((b"mdcv", struct.pack(">8H2I", *green, *rest[:2], *red, *rest[2:])))
        if self.light is not None:
            whole = (min((value + FRACTIONS // 2) // FRACTIONS, 65535) for value in self.light)
            found.append((b"clli", struct.pack(">2H", *whole)))
        return found

    def lost_in(self, kind: str) -> list[str]:
        """What a format does not hold, in words for the user."""
        lost = []
        if kind not in ("png", "avif"):
            lost += [DISPLAY] * (self.display is not None) + [LIGHT] * (self.light is not None)
        if kind != "avif":
            lost += [OTHERS[name] for name, _ in self.others]
        if kind != "jxl" and self.tone_mapping is not None:
            lost.append(TONE_MAPPING)
        return lost


def of_chunks(chunks: Iterable[tuple[bytes, bytes]]) -> Mastering | None:
    """What chunks of a PNG say, given by their names and contents; None if nothing.

    Names that drafts of the standard used are known, too. Chunks of a wrong length say nothing.
    """
    found = {name.lower(): contents for name, contents in chunks}
    display, light = found.get(b"mdcv", b""), found.get(b"clli", b"")
    made = Mastering(
        struct.unpack(">8H2I", display) if len(display) == 24 else None,
        struct.unpack(">2I", light) if len(light) == 8 else None,
    )
    return made if made.display or made.light else None


def of_boxes(properties: Iterable[tuple[bytes, bytes]]) -> Mastering | None:
    """What properties of HEIF and AVIF say, given by their names and contents; None if nothing."""
    found = dict(properties)
    display, light = found.get(b"mdcv", b""), found.get(b"clli", b"")
    in_order = None
    if len(display) >= 24:
        green, blue, red, *rest = struct.iter_unpack(">2H", display[:16])
        in_order = (*red, *green, *blue, *rest[0], *struct.unpack(">2I", display[16:24]))
    most_and_mean = struct.unpack(">2H", light[:4]) if len(light) >= 4 else None
    others = tuple((name, contents) for name, contents in found.items() if name in OTHERS)
    scaled = None if most_and_mean is None else (FRACTIONS * most_and_mean[0], FRACTIONS * most_and_mean[1])
    made = Mastering(in_order, scaled, others)
    return made if made != Mastering() else None
