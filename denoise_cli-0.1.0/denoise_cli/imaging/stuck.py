"""Photosites that do not measure light: hot and dead ones, alone, in pairs or in whole columns and rows.

A star, a spark or a reflection can be as sharp as the optics allow and still lights the photosites around it, which
have other colours. Light that is on a single photosite, or on neighbours of one colour with darkness between them, has
not come through a lens.

Legend: H x W photosites, N of them.
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from denoise_cli.imaging.noise import ShotRead

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]
Step = tuple[int, int]  # rows and columns

NEIGHBOURS = 8  # of the same colour, the nearest ones
BESIDE = [(-1, 0), (0, -1), (0, 1), (1, 0)]
# A stuck photosite is this many deviations of the noise beyond its neighbours, and beyond them by so many times the
# differences among them, so that it is no texture...
STUCK = 5.0
CONTRAST = 2.0
# ...and those beside it differ from what is around them by less than this many deviations of their mean, or by less
# than this share of the photosite's own difference, the least that a lens leaves there.
CONFIRMED = 3.0
SPREAD_LIGHT = 0.01
STRIP = 16  # repetitions of the pattern that are searched at a time, so that they stay in the processor's cache
COLUMNS = 256  # photosites that are searched for lines at a time, so that large mosaics take little memory
LINE = 128  # photosites of one line: so many are judged together,
LINE_SHARE = 0.8  # of which this share has to be stuck in the same sense
LINE_SPREAD = 0.04  # of its difference: less than a lens leaves beside a bright line


def find_stuck(light: Array, pattern: NDArray[np.integer], noise: ShotRead) -> Mask:
    """Find stuck photosites.

    Args:
        light: (H, W), a mosaic.
        pattern: (rows, columns), the number of the plane that each photosite of the repeated pattern belongs to.
        noise: of the light.

    Returns:
        (H, W).
    """
    columns = _stuck_columns(light, pattern.shape[1], noise)
    rows = _stuck_columns(light.T, pattern.shape[0], noise).T
    lines = columns | rows
    known = np.where(lines, np.float32(np.nan), light) if lines.any() else light
    return lines | _stuck_singly(known, pattern, noise)


def replace(light: Array, stuck: Mask, pattern: NDArray[np.integer]) -> Array:
    """Put the median of the nearest good neighbours of their colour in place of stuck photosites.

    Args:
        light: (H, W), a mosaic.
        stuck: (H, W).
        pattern: see `find_stuck`.
    """
    replaced, known = light.copy(), np.where(stuck, np.float32(np.nan), light)
    for at, y, x in _places(stuck, pattern.shape):
        median = _median(_values(known, y, x, _nearest(pattern, at)))
        wide = np.isnan(median)
        if wide.any():
            median[wide] = _median(_values(known, y[wide], x[wide], _nearest(pattern, at, 4 * NEIGHBOURS)))
        replaced[y, x] = np.where(np.isnan(median), light[y, x], median)
    return replaced


def _stuck_singly(light: Array, pattern: NDArray[np.integer], noise: ShotRead) -> Mask:
    """Photosites that are alone, or in pairs; NaN stands for those that are known to be stuck."""
    alone, paired = _beyond_neighbours(light, pattern, noise)
    for found in (alone, paired):
        for at, y, x in _places(found, pattern.shape):
            found[y, x] = ~_confirmed(light, y, x, at, pattern, noise)
    # One of a pair is beyond all neighbours but the other one.
    for at, y, x in _places(paired, pattern.shape):
        partners = [_shifted(paired, y, x, step, False) for step in _nearest(pattern, at)]
        alone[y, x] |= np.any(partners, axis=0)
    return alone


def _beyond_neighbours(light: Array, pattern: NDArray[np.integer], noise: ShotRead) -> tuple[Mask, Mask]:
    """Which photosites are beyond all of their neighbours, and which are beyond all but one."""
    alone, paired = np.zeros(light.shape, bool), np.zeros(light.shape, bool)
    rows, columns = pattern.shape
    nearest = [(at, _nearest(pattern, at)) for at in np.ndindex(rows, columns)]
    reach = 2 * max(rows, columns)
    for top in range(0, len(light), STRIP * rows):
        bottom = min(top + STRIP * rows, len(light))
        margins = (max(reach - top, 0), max(bottom + reach - len(light), 0)), (reach, reach)
        around = np.pad(light[max(top - reach, 0) : bottom + reach], margins, constant_values=np.nan)
        # Each place of the pattern on its own, so that what is compared lies side by side in memory.
        sites = {(y, x): around[y::rows, x::columns].copy() for y, x in np.ndindex(rows, columns)}
        for (y, x), steps in nearest:
            site = np.s_[top + y : bottom : rows, x::columns]
            shape = alone[site].shape
            value, *neighbours = (
                _repeated(sites, (reach + y + down, reach + x + across), pattern.shape)[: shape[0], : shape[1]]
                for down, across in [(0, 0), *steps]
            )
            alone[site], paired[site] = _beyond(value, neighbours, noise)
    return alone, paired


def _repeated(sites: Mapping[Step, Array], first: Step, pattern: tuple[int, ...]) -> Array:
    """The value of a photosite and of all that follow whole patterns on; `sites` has those of each place in it."""
    (top, y), (left, x) = (divmod(start, period) for start, period in zip(first, pattern, strict=True))
    return sites[y, x][top:, left:]


def _beyond(value: Array, neighbours: list[Array], noise: ShotRead) -> tuple[Mask, Mask]:
    """Where values are beyond all of their neighbours, and where they are beyond all but one."""
    high, second_high = (np.full(value.shape, -np.inf, np.float32) for _ in range(2))
    low, second_low = (np.full(value.shape, np.inf, np.float32) for _ in range(2))
    between = np.empty_like(value)
    for neighbour in neighbours:
        np.fmax(second_high, np.fmin(high, neighbour, out=between), out=second_high)
        np.fmax(high, neighbour, out=high)
        np.fmin(second_low, np.fmax(low, neighbour, out=between), out=second_low)
        np.fmin(low, neighbour, out=low)
    # Few are so far beyond their neighbours as they have to be at least: only these are looked at further.
    least = STUCK * _deviation(np.zeros(1, np.float32), noise)
    some = np.flatnonzero((value > second_high + least) | (value < second_low - least))
    shape = value.shape
    value, high, second_high, low, second_low = (
        each.ravel()[some] for each in (value, high, second_high, low, second_low)
    )

    def beyond(highest: Array, lowest: Array) -> Mask:
        margin = np.maximum(STUCK * _deviation(highest, noise), CONTRAST * (highest - lowest))
        return (value > highest + margin) | (value < lowest - margin)

    alone, paired = np.zeros(between.size, bool), np.zeros(between.size, bool)
    with np.errstate(invalid="ignore"):  # differences of infinities, where there are no neighbours
        alone[some] = beyond(high, low)
        paired[some] = beyond(second_high, low) | beyond(high, second_low)
    return alone.reshape(shape), paired.reshape(shape)


def _confirmed(light: Array, y: Indices, x: Indices, at: Step, pattern: NDArray[np.integer], noise: ShotRead) -> Mask:
    """Whether the photosites beside show the same as these, so that it is real: (N,)."""
    own = light[y, x] - _median(_values(light, y, x, _nearest(pattern, at)))
    differences, variances = [], []
    for step in BESIDE:
        there = (at[0] + step[0]) % pattern.shape[0], (at[1] + step[1]) % pattern.shape[1]
        steps = [(step[0] + down, step[1] + across) for down, across in _nearest(pattern, there)]
        around = _values(light, y, x, steps)
        expected = _median(around)
        differences.append(_shifted(light, y, x, step, np.nan) - expected)
        variances.append(_deviation(expected, noise) ** 2)
    with np.errstate(invalid="ignore"):
        seen = np.nansum(differences, axis=0) * np.sign(own)
        deviation = np.sqrt(np.nansum(np.where(np.isnan(differences), 0, variances), axis=0))
        return (seen > CONFIRMED * deviation) & (seen > SPREAD_LIGHT * len(BESIDE) * np.abs(own))


def _stuck_columns(light: Array, period: int, noise: ShotRead) -> Mask:
    """Parts of columns that are brighter, or darker, than the nearest columns of the same pattern on both sides."""
    if light.shape[0] < LINE or light.shape[1] < 4 * period:
        return np.zeros(light.shape, bool)
    whole = np.pad(light, ((0, 0), (2 * period, 2 * period)), mode="reflect")
    W = light.shape[1]
    found = np.zeros(light.shape, bool)
    for left in range(0, W, COLUMNS):
        _find_in_columns(found, light, whole, slice(left, min(left + COLUMNS, W)), period, noise)
    return found


def _find_in_columns(found: Mask, light: Array, whole: Array, columns: slice, period: int, noise: ShotRead) -> None:
    """Mark the stuck parts of some columns; `whole` is the light, with two periods more on both sides."""
    W = light.shape[1]
    beside = [whole[:, step * period + columns.start : step * period + columns.stop] for step in (0, 1, 3, 4)]
    light, found = light[:, columns], found[:, columns]
    high, low = reduce(np.maximum, beside), reduce(np.minimum, beside)  # NumPy's own would copy them into one array
    deviation = _deviation(high, noise)
    margin = np.maximum(2 * deviation, high - low)
    for sense, beyond in ((1, light > high + margin), (-1, light < low - margin)):
        candidates = np.flatnonzero(beyond.mean(axis=0) > LINE_SHARE / 8)
        # The first and the last columns have no neighbours on one side; pictures often have a dark edge.
        place = candidates + columns.start
        candidates = candidates[(place >= 2 * period) & (place < W - 2 * period)]
        if not len(candidates):
            continue
        shares = uniform_filter1d(beyond[:, candidates].astype(np.float32), LINE, axis=0, mode="nearest")
        parts = shares > LINE_SHARE
        median = np.median(np.stack([one[:, candidates] for one in beside]), axis=0)
        excess = sense * (light[:, candidates] - median)
        for index, x in enumerate(candidates):
            part = parts[:, index]
            if not part.any():
                continue
            if _lit_beside(
                whole, part, int(x) + columns.start + 2 * period, period, sense, float(excess[part, index].mean())
            ):
                continue
            part = uniform_filter1d(part.astype(np.float32), LINE, mode="nearest") > 0
            found[:, x] |= part & (excess[:, index] > deviation[:, x])


def _lit_beside(whole: Array, part: Mask, x: int, period: int, sense: int, excess: float) -> bool:
    """Whether the columns next to a part of a column differ in the same way from those around them."""
    differences = []
    for column in (x - 1, x + 1):
        around = (whole[part, column - period] + whole[part, column + period]) / 2
        differences.append(sense * float(np.median(whole[part, column] - around)))
    return max(differences) > LINE_SPREAD * excess


def _places(found: Mask, pattern: tuple[int, ...]) -> Iterator[tuple[Step, Indices, Indices]]:
    """The found photosites, (N,) rows and columns, of each place in the pattern that has any."""
    y, x = np.nonzero(found)
    place = (y % pattern[0]) * pattern[1] + x % pattern[1]
    for number in np.unique(place):
        some = place == number
        yield (int(number) // pattern[1], int(number) % pattern[1]), y[some], x[some]


def _nearest(pattern: NDArray[np.integer], at: Step, count: int = NEIGHBOURS) -> list[Step]:
    """The way to the nearest photosites of the same plane."""
    rows, columns = pattern.shape
    reach = 2 * max(rows, columns)
    steps = [
        (down, across)
        for down in range(-reach, reach + 1)
        for across in range(-reach, reach + 1)
        if (down or across)
        and pattern[(at[0] + down) % rows, (at[1] + across) % columns] == pattern[at[0] % rows, at[1] % columns]
    ]
    return sorted(steps, key=lambda step: (step[0] ** 2 + step[1] ** 2, step))[:count]


def _values(light: Array, y: Indices, x: Indices, steps: list[Step]) -> Array:
    """(steps, N), the values around N photosites; NaN outside."""
    return np.stack([_shifted(light, y, x, step, np.nan) for step in steps])


def _shifted(values: NDArray[Any], y: Indices, x: Indices, step: Step, outside: float) -> NDArray[Any]:
    H, W = values.shape
    v, u = y + step[0], x + step[1]
    inside = (v >= 0) & (v < H) & (u >= 0) & (u < W)
    return np.where(inside, values[v.clip(0, H - 1), u.clip(0, W - 1)], outside)


def _median(values: Array) -> Array:
    """(N,) of (steps, N), without NaN; NaN if there is nothing else."""
    number = np.count_nonzero(~np.isnan(values), axis=0)
    ordered = np.sort(values, axis=0)  # NaN comes last
    middle = ((number - 1) // 2, number // 2)
    low, high = (np.take_along_axis(ordered, one.clip(0, len(values) - 1)[None], axis=0)[0] for one in middle)
    return np.where(number > 0, (low + high) / 2, np.nan).astype(np.float32)


def _deviation(light: Array, noise: ShotRead) -> Array:
    return np.sqrt(np.float32(noise.shot) * np.maximum(light, 0) + np.float32(noise.read**2))
