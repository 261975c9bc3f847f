"""Lists of opcodes in DNGs, and those of them that map values: by them, 8 bits of lossy files become linear light.

Source: Adobe, "Digital Negative (DNG) Specification" 1.7.1, chapter 7. Opcodes are big-endian in every file.

Legend: H x W photosites or pixels, C values a pixel, 1 of a mosaic.
"""

import struct
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

MAP_TABLE, MAP_POLYNOMIAL = 7, 8
HEAD = ">I4sII"  # number, version, flags, length of what follows
AREA = ">8I"  # top, left, bottom, right, first plane, planes, every so many rows, every so many columns
FULL = 65535  # in tables, for 1


@dataclass(frozen=True)
class Opcode:
    """One operation: its number, the version that it needs, whether it is optional, and its parameters."""

    kind: int
    version: bytes
    flags: int
    body: bytes


def read(data: bytes) -> list[Opcode]:
    """The opcodes of the value of a tag such as OpcodeList2.

    Raises:
        struct.error: it is damaged.
    """
    (count,) = struct.unpack_from(">I", data)
    opcodes, at = [], 4
    for _ in range(count):
        kind, version, flags, length = struct.unpack_from(HEAD, data, at)
        at += struct.calcsize(HEAD)
        opcodes.append(Opcode(kind, version, flags, data[at : at + length]))
        at += length
    return opcodes


def pack(opcodes: list[Opcode]) -> bytes:
    """The value of a tag that holds these opcodes."""
    packed = [struct.pack(HEAD, one.kind, one.version, one.flags, len(one.body)) + one.body for one in opcodes]
    return b"".join([struct.pack(">I", len(opcodes)), *packed])


def leading_maps(opcodes: list[Opcode]) -> list[Opcode]:
    """The opcodes before all others that give values new ones, whatever their place."""
    return list(takewhile(lambda one: one.kind in (MAP_TABLE, MAP_POLYNOMIAL), opcodes))


def apply_map(opcode: Opcode, light: NDArray[np.float32]) -> None:
    """Apply one of `leading_maps` in place.

    Args:
        opcode: MapTable or MapPolynomial.
        light: (H, W, C), 1 is white.

    Raises:
        struct.error: it is damaged.
    """
    top, left, bottom, right, plane, planes, rows, columns = struct.unpack_from(AREA, opcode.body)
    at = struct.calcsize(AREA)
    place = slice(top, bottom, max(rows, 1)), slice(left, right, max(columns, 1)), slice(plane, plane + planes)
    (count,) = struct.unpack_from(">I", opcode.body, at)
    if opcode.kind == MAP_TABLE:
        table = np.array(struct.unpack_from(f">{count}H", opcode.body, at + 4), np.float32) / FULL
        light[place] = np.interp(light[place] * FULL, np.arange(count), table)
    else:
        coefficients = struct.unpack_from(f">{count + 1}d", opcode.body, at + 4)
        light[place] = np.polynomial.Polynomial(coefficients)(light[place])
