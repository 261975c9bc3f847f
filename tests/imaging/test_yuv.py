import numpy as np
import pytest

from denoise_cli.imaging.yuv import Layout, Plane, subtract_noise, to_rgb

SIZES = [(8, 12), (7, 9), (1, 5), (6, 1), (1, 1)]
LAYOUTS = [
    Layout(),
    Layout(full=True, matrix=1),
    Layout(bits=10, matrix=9),
    Layout(bits=12, matrix=7, down=0),
    Layout(across=0, down=0),
    Layout(across=0, down=1),
    Layout(across=2, down=0),
    Layout(across=2, down=2),
    Layout(colours="gbr", full=True, across=0, down=0),
    Layout(colours="grey", bits=16, across=0, down=0),
]


def shapes(layout: Layout, H: int, W: int) -> list[tuple[int, int]]:
    if layout.colours == "grey":
        return [(H, W)]
    small = (-(-H // 2**layout.down), -(-W // 2**layout.across))
    return [(H, W), small, small]


def planes_of(layout: Layout, H: int, W: int, rng: np.random.Generator) -> list[Plane]:
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    return [rng.integers(0, 2**layout.bits, shape).astype(dtype) for shape in shapes(layout, H, W)]


def constant(layout: Layout, *samples: int) -> list[Plane]:
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    return [np.full(shape, sample, dtype) for shape, sample in zip(shapes(layout, 4, 6), samples, strict=True)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
def test_without_noise_nothing_changes(layout: Layout, size: tuple[int, int], rng: np.random.Generator) -> None:
    planes = planes_of(layout, *size, rng)
    rgb = to_rgb(planes, layout)
    assert rgb.shape == (*size, len(planes))
    for before, after in zip(planes, subtract_noise(planes, np.zeros_like(rgb), layout), strict=True):
        assert after.dtype == before.dtype
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(8, 12), (16, 4)])
def test_all_that_differs_can_be_taken_away(layout: Layout, size: tuple[int, int], rng: np.random.Generator) -> None:
    noisy, clean = planes_of(layout, *size, rng), planes_of(layout, *size, rng)
    noise = to_rgb(noisy, layout) - to_rgb(clean, layout)
    for found, truth in zip(subtract_noise(noisy, noise, layout), clean, strict=True):
        np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize(
    ("layout", "samples", "rgb"),
    [
        (Layout(), (16, 128, 128), (0, 0, 0)),
        (Layout(), (235, 128, 128), (1, 1, 1)),
        (Layout(full=True), (255, 128, 128), (1, 1, 1)),
        (Layout(bits=10), (940, 512, 512), (1, 1, 1)),
        # The bars of 75 % in ITU-R BT.801 and SMPTE RP 219, red and blue.
        (Layout(matrix=6), (65, 100, 212), (0.75, 0, 0)),
        (Layout(matrix=1), (51, 109, 212), (0.75, 0, 0)),
        (Layout(matrix=1), (28, 212, 120), (0, 0, 0.75)),
        (Layout(colours="gbr", full=True, across=0, down=0), (0, 51, 255), (1, 0, 0.2)),
        (Layout(matrix=2), (65, 100, 212), (0.75, 0, 0)),
    ],
)
def test_known_colours(layout: Layout, samples: tuple[int, ...], rgb: tuple[float, ...]) -> None:
    found = to_rgb(constant(layout, *samples), layout)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), rgb, rtol=0, atol=0.004)


def test_samples_beyond_white_are_not_cut() -> None:
    assert to_rgb(constant(Layout(), 254, 128, 128), Layout()).max() > 1.08


def test_colour_lies_on_even_columns_and_between_rows() -> None:
    layout = Layout(matrix=1)
    ramp = np.arange(64, 192, 8, dtype=np.uint8)
    brightness = np.full((32, 32), 128, np.uint8)
    flat = np.full((16, 16), 128, np.uint8)
    across = to_rgb([brightness, flat, np.tile(ramp, (16, 1))], layout)[..., 0]
    down = to_rgb([brightness, flat, np.tile(ramp[:, None], (1, 16))], layout)[..., 0]
    unit = 2 * (1 - 0.2126) / 224
    rows, columns = across[0] / unit, down[:, 0] / unit
    start = (128 - 16) / 219 / unit + 64 - 128
    np.testing.assert_allclose(rows[:31], start + 4 * np.arange(31), rtol=0, atol=1e-2)
    np.testing.assert_allclose(columns[2:30], start + 4 * (np.arange(2, 30) - 0.5), rtol=0, atol=1e-2)


def test_what_would_leave_the_range_is_cut_there() -> None:
    layout = Layout(colours="grey", across=0, down=0)
    planes = [np.array([[3, 250]], np.uint8)]
    noise = np.array([[[0.1], [-0.1]]], np.float32)
    assert subtract_noise(planes, noise, layout)[0].tolist() == [[0, 255]]
