"""OpenEXR through its own binding: half and floating point, in linear light.

It is encoded as sRGB when it is read, as photos are, and decoded when it is written. The colours of the file are those
of its chromaticities, which become a profile.

Source: Academy Software Foundation, "Technical Introduction to OpenEXR"; ImfRgbaYca.cpp in OpenEXR's library, which its
Python binding leaves out, for luminance with two colours of half the resolution.

Legend: H x W pixels.
"""

from contextlib import redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO, StringIO
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise_cli.io.codecs import load_library
from denoise_cli.io.libraw import silenced_stderr
from denoise_cli.io.limits import refuse_too_large
from denoise_cli.io.metadata import Metadata
from denoise_cli.io.native import Native
from denoise_cli.io.photo import Photo, from_linear, to_linear, unpremultiply
from denoise_cli.io.profiles import icc_profile

SIGNATURE = b"\x76\x2f\x31\x01"
MAX_CHANNELS = 64  # of all parts, in pictures of the largest size; more are refused before they are decoded
WINDOWS = {"dataWindow", "displayWindow"}
CHROMATICITIES = "chromaticities"
SRGB = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)  # red, green, blue and white
# Attributes that describe the file rather than the picture.
LAYOUT = {"channels", "compression", "lineOrder", "type", "version", "chunkCount", "tiles", "preview"}
# Colours between two that are known, from the seven on each side, the nearest last.
BETWEEN = (0.002128, -0.007540, 0.019597, -0.043159, 0.087929, -0.186077, 0.627123)
LUMINANCE, COLOURS = "Y", ("RY", "BY")
# Among the attributes that are kept: whether values have 16 bits, and the layer that they are in.
IS_HALF, LAYER = "(half)", "(layer)"
ASPECT = "pixelAspectRatio"
# Attributes that say how a picture is placed, or that become something else, such as a profile.
USUAL = {*WINDOWS, ASPECT, CHROMATICITIES, IS_HALF, LAYER, "screenWindowCenter", "screenWindowWidth", "name"}


@dataclass(frozen=True)
class Plane:
    """A channel that is carried as it is: its name, and its values, (H, W)."""

    name: str
    values: NDArray[Any]


@dataclass(frozen=True)
class OtherPart:
    """A part that is carried as it is, and its number among all of them, from 0."""

    number: int
    part: Any


def is_exr(data: bytes) -> bool:
    """Whether a file is OpenEXR, by its first bytes."""
    return data.startswith(SIGNATURE)


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode the first part that is a picture in RGB or grey.

    Args:
        data: the file.
        max_pixels: larger pictures are refused.

    Raises:
        MissingDependency: OpenEXR is not installed.
        ValueError: the picture is too large or of an unsupported kind; with a message for the user.
        RuntimeError and others: the file is damaged.
    """
    library = load("reading OpenEXR")
    # It prints what is wrong, and then returns no parts.
    with silenced_stderr(), redirect_stdout(StringIO()):
        headers = [part.header for part in library.File(BytesIO(data), header_only=True).parts]
        _refuse_too_large(headers, max_pixels)
        parts = library.File(BytesIO(data), separate_channels=True).parts
    if len(parts) < len(headers) or not parts:
        raise ValueError("its pixels are damaged")
    found = [(part, _names(part.channels)) for part in parts]
    part, names = next(((part, names) for part, names in found if names), (None, {}))
    if part is None:
        raise ValueError(f"channels {', '.join(sorted(parts[0].channels))}: only RGB and grey are read")
    light, alpha = _values(part, names, _luminance_weights(part.header))
    first, place = next(iter(names.values())), next(place for place, other in enumerate(parts) if other is part)
    others = {name: part.channels[name].pixels for name in sorted(set(part.channels) - set(names.values()))}
    carried = {name: values for name, values in others.items() if values.shape == light.shape[:2]}
    natives = tuple(Native("exr", f"channel {name}", Plane(name, values)) for name, values in carried.items())
    natives += tuple(
        Native("exr", f"part {part.name() or number}", OtherPart(number, _copied(library, part)))
        for number, part in enumerate(parts)
        if number != place
    )
    exr = _kept(library, part.header)
    lost = [f"channel {name}" for name in others if name not in carried]
    unwritable = {name for part in parts for name in set(part.header) - set(_kept(library, part.header)) - LAYOUT}
    lost += [f"attribute {name}" for name in sorted(unwritable)]
    exr[IS_HALF] = part.channels[first].pixels.dtype == np.float16
    exr[LAYER] = first.rpartition(".")[0]
    metadata = Metadata(icc=_profile(exr, light.shape[2] == 1), exr=exr, natives=natives)
    notes = (f"left out: {', '.join(lost)}",) if lost else ()
    return Photo(from_linear(light), alpha, "exr", metadata, notes)


def encode(photo: Photo) -> bytes:
    """The bytes of a file in floating point, or half if the photo comes from such a file."""
    library = load("writing OpenEXR")
    kept = dict(photo.metadata.exr or {})
    dtype = np.float16 if kept.pop(IS_HALF, False) else np.float32
    layer = kept.pop(LAYER, "")
    header = kept | {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    light = to_linear(photo.pixels)
    planes = dict(zip("RGB" if light.shape[2] == 3 else "Y", np.moveaxis(light, -1, 0), strict=True))
    if photo.alpha is not None:
        opacity = np.asarray(photo.alpha, np.float32)
        # As it is read: colours where there is no opacity are light that is added to what is behind.
        planes = {name: np.where(opacity > 0, plane * opacity, plane) for name, plane in planes.items()}
        planes["A"] = opacity
    largest = np.finfo(dtype).max
    prefix = f"{layer}." if layer else ""
    channels = {
        prefix + name: np.ascontiguousarray(np.clip(plane, -largest, largest).astype(dtype))
        for name, plane in planes.items()
    }
    own = [native.data for native in photo.metadata.natives if native.kind == "exr"]
    channels |= {plane.name: plane.values for plane in own if isinstance(plane, Plane)}
    parts = [library.Part(header, channels, header.get("name", ""))]
    for other in own:  # in their order
        if isinstance(other, OtherPart):
            parts.insert(other.number, other.part)
    buffer = BytesIO()
    (library.File(parts) if len(parts) > 1 else library.File(header, channels)).write(buffer)
    return buffer.getvalue()


def names_of(exr: dict[str, Any]) -> list[str]:
    """What attributes say that no other format holds, in words for the user."""
    names = []
    if not np.array_equal(exr.get("displayWindow", ()), exr.get("dataWindow", ())):
        names.append("display window of another size")
    if exr.get(ASPECT, 1.0) != 1:
        names.append("pixels that are not square")
    return names + [f"attribute {name}" for name in exr if name not in USUAL]


def load(purpose: str) -> ModuleType:
    """Import OpenEXR; see `load_library`."""
    return load_library("OpenEXR", "OpenEXR", purpose)


def _refuse_too_large(headers: list[dict[str, Any]], max_pixels: int) -> None:
    values = 0
    for header in headers:
        (left, top), (right, bottom) = (map(int, corner) for corner in header["dataWindow"])
        size = right - left + 1, bottom - top + 1
        refuse_too_large(size, max_pixels)
        if "deep" in str(header.get("type")):
            raise ValueError("deep pixels: flatten it first")
        values += size[0] * size[1] * len(header["channels"])
    if values > MAX_CHANNELS * max_pixels:
        raise ValueError("its channels are more than --max-pixels allows")


def _names(channels: dict[str, Any]) -> dict[str, str]:
    """The names of a part's channels by what they are, of its first layer that has them.

    These are R, G and B, or Y, or Y with RY and BY; and A.
    """
    layers = sorted({name.rpartition(".")[0] for name in channels})  # the empty name comes first
    for layer in layers:
        prefix = f"{layer}." if layer else ""
        for colours in ("RGB", "Y"):
            wanted = {colour: prefix + colour for colour in colours}
            if colours == LUMINANCE and prefix + COLOURS[0] in channels:
                wanted |= {colour: prefix + colour for colour in COLOURS}
            if all(name in channels for name in wanted.values()):
                return wanted | ({"A": prefix + "A"} if prefix + "A" in channels else {})
    return {}


def _values(
    part: Any, names: dict[str, str], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Linear light, (H, W, C), and opacity, (H, W), by which it is no longer multiplied."""
    planes = {colour: part.channels[name].pixels for colour, name in names.items()}
    if any(plane.dtype not in (np.float16, np.float32) for plane in planes.values()):
        raise ValueError("integers: only half and floating point are read")
    if COLOURS[0] in planes:
        planes = _from_luminance(planes, weights)
    if len({plane.shape for plane in planes.values()}) > 1:
        raise ValueError("channels of several sizes: convert it to RGB first")
    opacity = planes.pop("A", None)
    light = np.stack([plane.astype(np.float32) for plane in planes.values()], axis=-1)
    if not np.isfinite(light).all() or (opacity is not None and not np.isfinite(opacity).all()):
        raise ValueError("holds values that are not numbers (NaN or infinity)")
    if opacity is None:
        return light, None
    alpha = opacity.astype(np.float32)
    straight: NDArray[np.float32] = unpremultiply(light, alpha)  # type: ignore[assignment]
    return straight, alpha


def _luminance_weights(header: dict[str, Any]) -> NDArray[np.float32]:
    """How much red, green and blue contribute to the luminance of white, (3,)."""
    points = np.array(header.get(CHROMATICITIES, SRGB), float).reshape(4, 2).T
    axes = np.stack([points[0] / points[1], np.ones(4), (1 - points.sum(axis=0)) / points[1]])
    return np.linalg.solve(axes[:, :3], axes[:, 3]).astype(np.float32)


def _from_luminance(planes: dict[str, NDArray[Any]], weights: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """R, G and B, and A if it is among the planes, of luminance and colours, which are relative to it."""
    light = planes[LUMINANCE].astype(np.float32)
    H, W = light.shape
    red, blue = ((1 + _doubled(_doubled(planes[name], 0, H), 1, W)) * light for name in COLOURS)
    green = (light - weights[0] * red - weights[2] * blue) / weights[1]
    return {"R": red, "G": green, "B": blue} | ({"A": planes["A"]} if "A" in planes else {})


def _doubled(plane: NDArray[Any], axis: int, length: int) -> NDArray[np.float32]:
    """A plane with values between those that it has, along an axis, up to a length of which it has half."""
    known = np.moveaxis(plane.astype(np.float32), axis, 0)
    if len(known) != -(-length // 2):
        raise ValueError("colours that do not have half the resolution: convert it to RGB first")
    count = len(BETWEEN)
    padded = np.pad(known, ((count - 1, count), (0, 0)), mode="edge")
    wide = np.empty((2 * len(known), known.shape[1]), np.float32)
    wide[::2] = known
    wide[1::2] = sum(
        weight * (padded[at : at + len(known)] + padded[2 * count - 1 - at :][: len(known)])
        for at, weight in enumerate(BETWEEN)
    )
    return np.moveaxis(wide[:length], 0, axis)


def _kept(library: ModuleType, header: dict[str, Any]) -> dict[str, Any]:
    """The attributes that a result has as well: those of types that the binding writes."""
    own = library.TimeCode, library.KeyCode, library.Envmap, library.OpaqueAttribute
    types = (str, int, float, Fraction, tuple, np.ndarray, *own)
    return {
        name: value
        for name, value in header.items()
        if name not in LAYOUT and (isinstance(value, types) or (isinstance(value, list) and value))
    }


def _copied(library: ModuleType, part: Any) -> Any:
    """A part that is not denoised, as it can be written."""
    header = _kept(library, part.header)
    header |= {"compression": part.header["compression"], "type": library.scanlineimage}
    return library.Part(header, {name: channel.pixels for name, channel in part.channels.items()}, part.name())


def _profile(exr: dict[str, Any], is_grey: bool) -> bytes | None:
    """A profile for pixels that are encoded as sRGB, with the file's chromaticities; None if these are sRGB's."""
    chromaticities = exr.get(CHROMATICITIES, SRGB)
    if is_grey or np.allclose(chromaticities, SRGB, atol=1e-3):
        return None
    return icc_profile(tuple(chromaticities[6:]), tuple(chromaticities[:6]))
