"""Film grain as AV1 describes it, fitted to noise that was removed from a clip.

A decoder fills a small template with white noise, filters it so that neighbours resemble each other, and adds parts of
it to the picture, each sample multiplied by a factor that depends on the brightness. So two things are to be found: the
filter, an autoregressive model fitted to flat blocks of the removed noise, each divided by its own standard deviation;
and the standard deviation of the noise at each brightness.

Source: AV1 Bitstream & Decoding Process Specification (2019), section 6.8.20, semantics of film grain's parameters, and
section 7.18.3, its synthesis.

Legend: N blocks or templates, B x B block, H x W frame, h x w chroma plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from denoise_cli.imaging.yuv import Layout, Plane

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Points = tuple[tuple[int, int], ...]
Number = TypeVar("Number", np.float64, np.int64)

LAG = 3  # rows above, and columns to the left and to the right, that the filter sees
NEIGHBOURS = [(y, x) for y in range(-LAG, 1) for x in range(-LAG, LAG + 1) if (y, x) < (0, 0)]
SUBSAMPLINGS = ((0, 0), (1, 0), (1, 1))  # that AV1 has: how often chroma is halved in width and in height

BLOCK = 32  # luma samples on a side: many beside the lag, few beside what is seen in a picture
MOST_BLOCKS = 160  # of a frame whose correlation is measured
FLAT_SHARE = 0.5  # of the blocks of similar brightness, the flattest count
BRIGHTNESSES = 8  # groups of similar brightness
BINS = 64  # of brightness in which the noise is measured
LEAST_SAMPLES = 500  # in a bin that counts
LEAST_DEVIATION = 0.25  # in steps of a sample: below it, rounding leaves nothing of the noise
STIFFNESS = 1e-3  # weight of a scaling function's bends beside its distance from what was measured
RIDGE = 1e-6  # share of the variance that keeps the equations of the filter solvable

MOST_POINTS = (14, 10, 10)  # of the scaling functions of luma, Cb and Cr
NO_NOISE: Points = ((0, 0), (255, 0))  # AV1 wants points for all planes of 4:2:0, or for none
TEMPLATE = (73, 82)  # rows and columns of luma's template
HALVED_TEMPLATE = (38, 44)  # of chroma's, where chroma is halved
USED, HALVED_USED = slice(9, 73), slice(6, 38)  # the rows and the columns of which decoders take parts
WHITE_BITS, WHITE_DEVIATION = 12, 512  # of the white noise that a template begins with
HEADROOM = 3.0  # standard deviations that a template must hold, which is cut off at 4 of the unshifted white noise
GRAIN_SHIFTS = (0, 1, 2, 3)
MOST_GAIN = 4 * 2 ** GRAIN_SHIFTS[-1] / HEADROOM  # of a filter whose template can hold its result
# Variance of white noise that is thought of as added, as a share of that of the noise; at last, white noise is left.
WHITE_SHARES = (0.0, 0.003, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1e9)
GOOD_CORRELATION = 0.03  # largest difference of a correlation from that of the noise
COEFFICIENT_SHIFTS = (9, 8, 7, 6)  # the finest first
SCALING_SHIFTS = (11, 10, 9, 8)
LARGEST_COEFFICIENT, LARGEST_FACTOR = 127, 255
TEMPLATES = 24  # whose deviation is measured: that of a single one is off by some per cent


@dataclass(frozen=True)
class FilmGrain:
    """Those parameters of AV1's film grain that depend on the noise.

    Attributes:
        scaling: for luma, Cb and Cr, the points of the scaling function: the brightness of luma, 0 to 255, and the
            factor, 0 to 255. A plane without points gets no grain.
        scaling_shift: by how many bits the products with the factors are shifted, 8 to 11.
        coefficients: of the filters for luma, Cb and Cr, -128 to 127: 24 for luma, 25 for chroma, whose last one is for
            luma's template.
        coefficient_shift: by how many bits the products with the coefficients are shifted, 6 to 9.
        grain_shift: by how many bits the white noise is shifted, 0 to 3.
        is_weaker: whether the noise was stronger than these parameters can say.
    """

    scaling: tuple[Points, Points, Points]
    scaling_shift: int
    coefficients: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    coefficient_shift: int
    grain_shift: int
    is_weaker: bool = False


class GrainFit:
    """Collects the noise that was removed from the frames of a scene, in memory that does not grow with their number.

    Args:
        layout: of the frames.

    Raises:
        ValueError: AV1 has no such frames: see `holds_grain`.
    """

    def __init__(self, layout: Layout) -> None:
        if not holds_grain(layout):
            raise ValueError(f"expected a layout that AV1 has, got {layout}")
        self._layout = layout
        self._step = 2.0 ** (layout.bits - 8)
        planes = 1 if layout.colours == "grey" else 3
        # Number, sum and sum of squares of the noise in each bin of brightness.
        self._moments = np.zeros((planes, 3, BINS))
        # Sums of products of a sample's neighbours, of luma's noise there if it is chroma, and of the sample, the last.
        self._products = [np.zeros((size, size)) for size in (len(NEIGHBOURS) + 1, *[len(NEIGHBOURS) + 2] * 2)[:planes]]

    def add(self, before: Sequence[Plane], after: Sequence[Plane]) -> None:
        """Add what was removed from a frame.

        Args:
            before: its planes with noise: luma, (H, W), then chroma, (h, w).
            after: the planes without it.
        """
        flat = _flat_blocks(after[0] / self._step)
        luma: tuple[Array, Array] | None = None
        for plane, (noisy, clean) in enumerate(zip(before, after, strict=True)):
            across, down = (self._layout.across, self._layout.down) if plane else (0, 0)
            noise = _blocks(noisy, flat, across, down) - _blocks(clean, flat, across, down)
            light = _blocks(after[0], flat)[:, :: 1 << down]
            if across:  # the brightness of a chroma sample, as decoders compute it
                light = np.floor((light[:, :, ::2] + light[:, :, 1::2] + 1) / 2)
            bins = (light / self._step * (BINS / 256)).astype(np.intp)
            self._count(plane, bins, noise)
            noise = (noise - self._means(plane)[bins])[:MOST_BLOCKS]
            rounded = np.square(noise).mean(axis=(1, 2))
            deviations = without_rounding(rounded)
            is_noisy = deviations > LEAST_DEVIATION
            scales = np.where(is_noisy, 1 / deviations.clip(LEAST_DEVIATION), 0.0)
            normal = noise * scales[:, None, None]
            rounding = np.where(is_noisy, rounded * scales**2 - 1, 0.0)  # the share that rounding has added
            luma = luma or (normal, rounding)
            self._correlate(plane, normal, rounding, luma)

    def deviations(self, plane: int) -> tuple[Array, Array]:
        """The standard deviation of the noise before it was rounded, at each brightness.

        Args:
            plane: 0 for luma, 1 for Cb, 2 for Cr.

        Returns:
            Deviations on a scale of 0 to 255, and numbers of samples, both (BINS,), in equal bins from 0 to 255.
        """
        count, total, squares = self._moments[plane]
        number = count.clip(1)
        return without_rounding((squares / number - np.square(total / number)).clip(0)) / self._step, count

    def fitted(self, rng: np.random.Generator) -> FilmGrain | None:
        """Film grain like the noise that was added so far; None if there was none, or too little to tell.

        Args:
            rng: for the templates on which it is measured what the filters do.
        """
        planes = range(len(self._moments))
        noisy = [bool(self._products[plane][-1, -1] > 0) for plane in planes]
        if not any(noisy):
            return None
        coefficients, coefficient_shift, gain = self._filters(rng)
        grain_shift = next(one for one in GRAIN_SHIFTS if gain <= MOST_GAIN / 2 ** (GRAIN_SHIFTS[-1] - one))
        while True:
            templates = self._templates(coefficients, coefficient_shift, grain_shift, rng)
            curves = [
                _curve(deviations / (WHITE_DEVIATION / 16 * template.std()), count, MOST_POINTS[plane])
                if noisy[plane]
                else []
                for plane, template in zip(planes, templates, strict=True)
                for deviations, count in [self.deviations(plane)]
            ]
            largest = max(factor for curve in curves for _, factor in curve)
            is_weaker = round(largest * 2 ** SCALING_SHIFTS[-1]) > LARGEST_FACTOR
            if not is_weaker or grain_shift == 0:
                break
            grain_shift -= 1
        scaling_shift = next(
            (one for one in SCALING_SHIFTS if round(largest * 2**one) <= LARGEST_FACTOR), SCALING_SHIFTS[-1]
        )
        points = [_as_points(curve, scaling_shift) or NO_NOISE for curve in curves]
        values = [tuple(one.tolist()) for one in coefficients]
        if len(points) == 1:
            points, values = [points[0], (), ()], [values[0], *[(0,) * (len(NEIGHBOURS) + 1)] * 2]
        return FilmGrain(
            (points[0], points[1], points[2]),
            scaling_shift,
            (values[0], values[1], values[2]),
            coefficient_shift,
            grain_shift,
            is_weaker,
        )

    def _count(self, plane: int, bins: NDArray[np.intp], noise: Array) -> None:
        for power in range(3):
            self._moments[plane, power] += np.bincount(bins.ravel(), (noise**power).ravel(), BINS)

    def _means(self, plane: int) -> Array:
        """Of the noise in each bin: not zero near black and white, where it was cut off."""
        count, total, _ = self._moments[plane]
        means: Array = total / count.clip(1)
        return means

    def _correlate(self, plane: int, noise: Array, rounding: Array, luma: tuple[Array, Array]) -> None:
        rows, columns = noise.shape[1] - LAG, noise.shape[2] - 2 * LAG
        seen = [
            noise[:, LAG + y : LAG + y + rows, LAG + x : LAG + x + columns].ravel() for y, x in (*NEIGHBOURS, (0, 0))
        ]
        shares = np.full(len(seen), rounding.sum())
        if plane:
            across, down = self._layout.across, self._layout.down
            mean = _reduced(luma[0], across, down) / (1 << across + down)
            seen.insert(-1, mean[:, LAG:, LAG:-LAG].ravel())
            shares = np.insert(shares, -1, luma[1].sum() / (1 << across + down))
        values = np.stack(seen)
        self._products[plane] += values @ values.T - np.diag(shares * rows * columns)

    def _filters(self, rng: np.random.Generator) -> tuple[list[Integers], int, float]:
        """The filters whose grain is most like the noise: coefficients, their shift, and by how much they amplify.

        Grain that is smooth over several samples would need coefficients that are finer than those of AV1, and a gain
        that its templates cannot hold. Fitted as if there were some white noise as well, coefficients are less extreme.
        """
        wanted = [
            products[: len(NEIGHBOURS), -1] / max(products[-1, -1], np.finfo(float).tiny) for products in self._products
        ]
        found: list[tuple[float, list[Integers], int, float]] = []
        for white in WHITE_SHARES:
            solved = [_solved(products, white) for products in self._products]
            for (own, left), (_, luma_left) in zip(solved[1:], [solved[0]] * 2, strict=False):
                own[-1] *= luma_left / left  # because all templates begin with equally strong noise
            coefficients, shift = _as_integers([own for own, _ in solved])
            templates = self._templates(coefficients, shift, GRAIN_SHIFTS[-1], rng)
            gain = 2 ** GRAIN_SHIFTS[-1] * max(float(template.std()) for template in templates)
            errors = [
                np.abs(_correlations(template) - one).max() if products[-1, -1] > 0 else 0.0
                for template, one, products in zip(templates, wanted, self._products, strict=True)
            ]
            if gain <= MOST_GAIN:
                found.append((max(errors), coefficients, shift, gain))
                if max(errors) < GOOD_CORRELATION:
                    break
        return min(found, key=lambda one: one[0])[1:]

    def _templates(
        self, coefficients: list[Integers], shift: int, grain_shift: int, rng: np.random.Generator
    ) -> list[Array]:
        """Used parts of templates; 1 is the deviation of white noise that is not shifted."""
        bits = min(self._layout.bits, WHITE_BITS)
        templates = synthesised_templates(coefficients, shift, grain_shift, bits, self._layout, rng)
        return [template.astype(np.float64) * (2.0 ** (WHITE_BITS - bits) / WHITE_DEVIATION) for template in templates]


def holds_grain(layout: Layout) -> bool:
    """Whether AV1 can state film grain for such frames: grey ones, 4:2:0, 4:2:2 and 4:4:4."""
    return layout.colours == "grey" or (layout.colours == "yuv" and (layout.across, layout.down) in SUBSAMPLINGS)


def without_rounding(variance: Array) -> Array:
    """The standard deviation of normal noise, given its variance after it was rounded to integers."""
    deviations, variances = _rounded_variances()
    known = np.interp(variance, variances, deviations)
    return np.where(variance < variances[-1], known, np.sqrt(np.maximum(variance - 1 / 12, 0)))


def synthesised_templates(
    coefficients: Sequence[Integers], shift: int, grain_shift: int, bits: int, layout: Layout, rng: np.random.Generator
) -> list[Integers]:
    """The parts of grain templates that decoders use, as section 7.18.3.3 defines them, from other random numbers.

    Args:
        coefficients: as in `FilmGrain`, for luma alone or for all planes.
        shift: as `FilmGrain.coefficient_shift`.
        grain_shift: as in `FilmGrain`.
        bits: of the samples, 8 to 12.
        layout: of the frames.
        rng: of the white noise.

    Returns:
        For each plane, (TEMPLATES, rows, columns), in steps of a sample.
    """
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1
    luma: Integers | None = None
    used = []
    for plane, own in enumerate(coefficients):
        across, down = (layout.across, layout.down) if plane else (0, 0)
        rows, columns = (HALVED_TEMPLATE if down else TEMPLATE)[0], (HALVED_TEMPLATE if across else TEMPLATE)[1]
        white = np.rint(rng.normal(0, WHITE_DEVIATION / 4, (TEMPLATES, rows, columns))).astype(np.int64) * 4
        grain = _shifted(white.clip(-2048, 2047), WHITE_BITS - bits + grain_shift)
        if luma is not None:
            averaged = _shifted(_reduced(luma[:, LAG:, LAG:-LAG], across, down), across + down)
            from_luma = int(own[-1]) * averaged[:, : rows - LAG, : columns - 2 * LAG]
        above, left = own[: LAG * (2 * LAG + 1)], own[LAG * (2 * LAG + 1) : len(NEIGHBOURS)]
        for y in range(LAG, rows):
            for x in range(LAG, columns - LAG):
                patch = grain[:, y - LAG : y, x - LAG : x + LAG + 1].reshape(TEMPLATES, -1)
                total = patch @ above + grain[:, y, x - LAG : x] @ left
                if luma is not None:
                    total += from_luma[:, y - LAG, x - LAG]
                grain[:, y, x] = (grain[:, y, x] + _shifted(total, shift)).clip(least, most)
        luma = grain if luma is None else luma
        used.append(grain[:, HALVED_USED if down else USED, HALVED_USED if across else USED])
    return used


def _flat_blocks(light: Array) -> NDArray[np.intp]:
    """Rows and columns, in blocks, of the flattest blocks of luma at every brightness, (N, 2), in no order."""
    rows, columns = light.shape[0] // BLOCK, light.shape[1] // BLOCK
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    blocks = _blocks(light, places)
    steepness = np.abs(np.diff(blocks, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(blocks, axis=2)).mean(axis=(1, 2))
    brightness = (blocks.mean(axis=(1, 2)) * (BRIGHTNESSES / 256)).astype(np.intp)
    chosen = [
        group[np.argsort(steepness[group], kind="stable")[: max(1, round(FLAT_SHARE * len(group)))]]
        for one in np.unique(brightness)
        for group in [np.flatnonzero(brightness == one)]
    ]
    indices = np.concatenate([np.zeros(0, np.intp), *chosen])
    flat: NDArray[np.intp] = places[np.random.default_rng(0).permutation(indices)]
    return flat


def _blocks(plane: NDArray[np.generic], places: NDArray[np.intp], across: int = 0, down: int = 0) -> Array:
    """Blocks of a plane, which cover the same part of the picture if it is halved: (N, B, B)."""
    height, width = BLOCK >> down, BLOCK >> across
    rows, columns = plane.shape[0] // height, plane.shape[1] // width
    tiled = plane[: rows * height, : columns * width].reshape(rows, height, columns, width)
    return tiled[places[:, 0], :, places[:, 1]].astype(np.float64)


def _reduced(values: NDArray[Number], across: int, down: int) -> NDArray[Number]:
    """Sums of the values that share a chroma sample, (N, rows, columns)."""
    N, rows, columns = values.shape[0], values.shape[1] >> down, values.shape[2] >> across
    whole = values[:, : rows << down, : columns << across]
    return whole.reshape(N, rows, 1 << down, columns, 1 << across).sum(axis=(2, 4))


def _solved(products: Array, white: float) -> tuple[Array, float]:
    """The coefficients that predict a sample best, and the share of its deviation that is left.

    Args:
        products: as in `GrainFit`.
        white: variance of white noise that is thought of as added, as a share of that of the sample.
    """
    known, wanted, variance = products[:-1, :-1], products[:-1, -1], products[-1, -1]
    if variance <= 0:
        return np.zeros(len(wanted)), 1.0
    added = np.full(len(wanted), RIDGE)
    added[: len(NEIGHBOURS)] += white
    coefficients = np.linalg.solve(known + variance * np.diag(added), wanted)
    left = max(1 - float(wanted @ coefficients) / (variance * (1 + white)), RIDGE)
    return coefficients, left**0.5


def _correlations(noise: Array) -> Array:
    """Between samples and their neighbours, (len(NEIGHBOURS),), in noise of mean 0, (N, rows, columns)."""
    rows, columns = noise.shape[1] - LAG, noise.shape[2] - 2 * LAG
    own = noise[:, LAG:, LAG:-LAG]
    products = [(own * noise[:, LAG + y : LAG + y + rows, LAG + x : LAG + x + columns]).mean() for y, x in NEIGHBOURS]
    return np.array(products) / np.square(noise).mean()


def _as_integers(filters: Sequence[Array]) -> tuple[list[Integers], int]:
    """Coefficients as integers, and the shift that they have in common."""
    largest = max(float(np.abs(own).max()) for own in filters)
    shift = next(
        (one for one in COEFFICIENT_SHIFTS if round(largest * 2**one) <= LARGEST_COEFFICIENT), COEFFICIENT_SHIFTS[-1]
    )
    return [
        np.rint(own * 2**shift).clip(-LARGEST_COEFFICIENT, LARGEST_COEFFICIENT).astype(np.int64) for own in filters
    ], shift


def _curve(factors: Array, count: Array, most: int) -> list[tuple[int, float]]:
    """A broken line through factors by brightness, each weighted by its number of samples."""
    counts = np.flatnonzero(count >= min(LEAST_SAMPLES, count.max()))
    width = 256 / BINS
    brightness = counts * width + (width - 1) / 2
    knots = np.unique(np.rint(np.linspace(brightness[0], brightness[-1], min(most, len(counts)))))
    hats = np.stack([np.interp(brightness, knots, one) for one in np.eye(len(knots))], axis=1)
    weights = count[counts] / count[counts].sum()
    bends = np.diff(np.eye(len(knots)), n=2, axis=0) if len(knots) > 2 else np.zeros((1, len(knots)))
    normal = hats.T @ (weights[:, None] * hats) + STIFFNESS / len(knots) * bends.T @ bends
    values = np.linalg.lstsq(normal, hats.T @ (weights * factors[counts]), rcond=None)[0].clip(0)
    return [(int(knot), float(value)) for knot, value in zip(knots, values, strict=True)]


def _as_points(curve: Sequence[tuple[int, float]], shift: int) -> Points:
    return tuple((brightness, min(round(factor * 2**shift), LARGEST_FACTOR)) for brightness, factor in curve)


def _shifted(values: Integers, bits: int) -> Integers:
    """Divided by a power of two, halves rounded up."""
    return values if bits == 0 else (values + (1 << bits - 1)) >> bits


@cache
def _rounded_variances() -> tuple[Array, Array]:
    """Deviations of normal noise up to 2, and the variances that rounding gives it."""
    deviations = np.linspace(0, 2, 201)
    samples = np.linspace(-5, 5, 20001)
    weights = np.exp(-(samples**2) / 2)
    variances = np.square(np.rint(deviations[:, None] * samples)) @ weights / weights.sum()
    return deviations, np.maximum.accumulate(variances) + 1e-12 * np.arange(len(deviations))
