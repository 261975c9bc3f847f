"""Operations that a DNG asks for, compared with the specification's own words, value by value."""

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from denoise_cli.io.frame import Frame
from denoise_cli.io.opcodes import parse_operations

ALL = (0, 0, 1 << 20, 1 << 20, 0, 3, 1, 1)  # an area: top, left, bottom, right, plane, planes, pitches


def opcode_list(*operations: tuple[int, bytes]) -> bytes:
    body = b"".join(
        struct.pack(">4I", number, 0x01030000, 1, len(parameters)) + parameters for number, parameters in operations
    )
    return struct.pack(">I", len(operations)) + body


def gain_map(
    gains: NDArray[np.float32],
    area: tuple[int, ...] = ALL,
    spacing: tuple[float, float] | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
) -> tuple[int, bytes]:
    V, U, planes = gains.shape
    spacing = spacing or (1 / max(V - 1, 1), 1 / max(U - 1, 1))
    head = struct.pack(">8I2I4dI", *area, V, U, *spacing, *origin, planes)
    return 9, head + gains.astype(">f4").tobytes()


def whole(height: int, width: int, top: int = 0, left: int = 0) -> Frame:
    return Frame(top, left, height, width, (0, height), (0, width))


def gain_by_the_book(
    gains: NDArray[np.float32], row: int, column: int, plane: int, sides: tuple[int, int], spacing: tuple[float, float]
) -> float:
    """For one pixel of the active area."""
    V, U, planes = gains.shape
    v = min(max((row + 0.5) / sides[0] / spacing[0], 0), V - 1)
    u = min(max((column + 0.5) / sides[1] / spacing[1], 0), U - 1)
    v0, u0 = int(v), int(u)
    v1, u1 = min(v0 + 1, V - 1), min(u0 + 1, U - 1)
    points = gains[..., min(plane, planes - 1)]
    upper = points[v0, u0] * (1 - (u - u0)) + points[v0, u1] * (u - u0)
    lower = points[v1, u0] * (1 - (u - u0)) + points[v1, u1] * (u - u0)
    return float(upper * (1 - (v - v0)) + lower * (v - v0))


@pytest.mark.parametrize("planes", [1, 3])
def test_a_gain_map_multiplies_as_the_specification_says(planes: int, rng: np.random.Generator) -> None:
    gains = rng.uniform(0.5, 2, (3, 4, planes)).astype(np.float32)
    spacing = (0.4, 0.3)
    light = rng.uniform(0, 0.3, (13, 17, 3)).astype(np.float32)
    expected = light.copy()
    area = (2, 1, 12, 15, 0, 3, 2, 3)
    frame = whole(16, 20, top=1, left=2)  # the picture is a part of the active area
    for y, x, c in np.ndindex(light.shape):
        row, column = y + 1, x + 2
        if 2 <= row < 12 and 1 <= column < 15 and (row - 2) % 2 == 0 and (column - 1) % 3 == 0:
            expected[y, x, c] *= gain_by_the_book(gains, row, column, c, (16, 20), spacing)
    parse_operations(opcode_list(gain_map(gains, area, spacing))).apply(light, frame)
    np.testing.assert_allclose(light, expected, rtol=1e-5)


def test_a_picture_in_strips_is_multiplied_as_the_whole(rng: np.random.Generator) -> None:
    vignette = 3, struct.pack(">7d", 0.3, 0.2, 0.1, 0, 0, 0.5, 0.4)
    area = (1, 0, 60, 50, 0, 1, 2, 2)
    operations = parse_operations(opcode_list(gain_map(rng.uniform(1, 2, (5, 6, 1)), area), vignette))
    light = rng.uniform(0, 0.3, (64, 50, 1)).astype(np.float32)
    strips = light.copy()
    operations.apply(light, whole(64, 50))
    for top in range(0, 64, 7):
        operations.apply(strips[top : top + 7], whole(64, 50).from_pixel(top))
    np.testing.assert_allclose(strips, light, rtol=1e-6)


def test_a_vignette_is_1_in_the_centre_and_all_terms_in_the_farthest_corner() -> None:
    terms = (0.5, 0.25, 0.125, 0.0625, 0.03125)
    light = np.full((201, 301, 1), 0.25, np.float32)
    parse_operations(opcode_list((3, struct.pack(">7d", *terms, 0.5, 0.5)))).apply(light, whole(201, 301))
    assert light[100, 150] == pytest.approx(0.25, rel=1e-6)
    assert light[0, 0] == pytest.approx(0.25 * (1 + sum(terms)), rel=0.03)
    half = 0.5**2  # the squared distance half way to the corner
    expected = 1 + sum(term * half ** (power + 1) for power, term in enumerate(terms))
    assert light[50, 75] == pytest.approx(0.25 * expected, rel=0.01)


def test_what_becomes_brighter_than_white_is_white() -> None:
    light = np.full((4, 4, 1), 0.8, np.float32)
    parse_operations(opcode_list(gain_map(np.full((1, 1, 1), 3.0)))).apply(light, whole(4, 4))
    assert (light == 1).all()


def test_curves_and_lines_do_as_they_say() -> None:
    area = struct.pack(">8I", 0, 0, 4, 6, 0, 1, 2, 1)  # rows 0 and 2
    light = np.full((4, 6, 1), 0.5, np.float32)

    def after(number: int, parameters: bytes) -> NDArray[np.float32]:
        result = light.copy()
        operations = parse_operations(opcode_list((number, area + parameters)))
        assert not operations.unknown
        operations.apply(result, whole(4, 6))
        assert (result[1::2] == 0.5).all()
        return result[::2, :, 0]

    table = struct.pack(">I3H", 3, 0, 65535, 65535)
    np.testing.assert_allclose(after(7, table), 1)
    polynomial = struct.pack(">I3d", 2, 0.1, 0.2, 0.4)
    np.testing.assert_allclose(after(8, polynomial), 0.1 + 0.1 + 0.1, rtol=1e-6)
    two, six = struct.pack(">I2f", 2, 0.1, 0.2), struct.pack(">I6f", 6, *(np.arange(6) / 10))
    summands = struct.pack(">I2f", 2, 6553.5, -6553.5), struct.pack(">I6f", 6, *(6553.5 * np.arange(6)))
    np.testing.assert_allclose(after(10, summands[0])[:, 0], [0.6, 0.4], rtol=1e-6)
    np.testing.assert_allclose(after(11, summands[1])[0], 0.5 + np.arange(6) / 10, rtol=1e-6)
    np.testing.assert_allclose(after(12, two)[:, 0], [0.05, 0.1], rtol=1e-6)
    np.testing.assert_allclose(after(13, six)[0], np.arange(6) / 20, rtol=1e-6)


def test_what_is_unknown_or_damaged_is_named_and_the_rest_is_done() -> None:
    bad = gain_map(np.full((2, 2, 1), np.nan))
    short = 9, struct.pack(">8I", *ALL)
    good = gain_map(np.full((1, 1, 1), 0.5))
    operations = parse_operations(opcode_list((1, bytes(20)), (99, b""), bad, short, good, (1, bytes(8))))
    assert operations.unknown == ("WarpRectilinear", "operation 99", "GainMap")
    light = np.ones((2, 2, 1), np.float32)
    operations.apply(light, whole(2, 2))
    assert (light == 0.5).all()


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_list_that_ends_early_does_no_harm(length: int) -> None:
    data = opcode_list(gain_map(np.full((2, 2, 1), 0.5)), (3, struct.pack(">7d", *[0.0] * 7)))
    parse_operations(data[:length]).apply(np.ones((2, 2, 1), np.float32), whole(2, 2))


def test_factors_that_differ_between_colours_are_told_apart() -> None:
    same, other = np.full((2, 2, 3), 1.5), np.full((2, 2, 3), [1.5, 1.5, 1.6])
    assert parse_operations(opcode_list(gain_map(same))).treat_colours_alike
    assert not parse_operations(opcode_list(gain_map(other))).treat_colours_alike
    one_plane = (*ALL[:5], 1, 1, 1)
    assert not parse_operations(opcode_list(gain_map(same[..., :1], one_plane))).treat_colours_alike
