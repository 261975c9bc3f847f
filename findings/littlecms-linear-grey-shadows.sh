#!/usr/bin/env bash
# LittleCMS in Pillow 13.0.0 and imagecodecs 2026.3.6: greyscale in linear light, converted to sRGB's curve with the
# default settings, has wrong shadows, in 8 and in 16 bits alike. Its optimisation replaces the two curves by one table
# whose first steps are straight lines, and the slope of sRGB's curve is steep there. Without optimisation, or in
# floating point, the result is exact to rounding.
#
# Seen: value 2 of 255 should become 21.7; Pillow 12, without optimisation 22; imagecodecs, 16 bits 12.4, float 21.7
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from io import BytesIO

import imagecodecs
import numpy as np
import PIL
from PIL import Image, ImageCms

D65 = (0.3127, 0.3290, 1)
VALUE = 2  # of 255
light = np.linspace(0, 1, 1024)
curve = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4).astype(np.float32)
linear = imagecodecs.cms_profile("gray", whitepoint=D65, gamma=1.0)
srgb = imagecodecs.cms_profile("gray", whitepoint=D65, transferfunction=curve)
expected = 255 * (1.055 * (VALUE / 255) ** (1 / 2.4) - 0.055)


def by_pillow(flags: int) -> int:
    picture = Image.fromarray(np.full((1, 1), VALUE, np.uint8))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return ImageCms.profileToProfile(picture, BytesIO(linear), BytesIO(srgb), intent, flags=flags).getpixel((0, 0))


def by_imagecodecs(values: np.ndarray) -> float:
    return imagecodecs.cms_transform(values, linear, srgb, colorspace="gray", outcolorspace="gray", intent=1)[0, 0]


usual, exact = by_pillow(0), by_pillow(ImageCms.Flags.NOOPTIMIZE)
deep = by_imagecodecs(np.full((1, 1), VALUE * 257, np.uint16)) / 257
floating = by_imagecodecs(np.full((1, 1), VALUE / 255, np.float32)) * 255
print(f"Pillow {PIL.__version__}, imagecodecs {imagecodecs.__version__}")
print(
    f"value {VALUE} of 255 should become {expected:.1f}; Pillow {usual}, without optimisation {exact}; "
    f"imagecodecs, 16 bits {deep:.1f}, float {floating:.1f}"
)
wrong = [value for value in (usual, deep) if abs(value - expected) > 5]
right = [value for value in (exact, floating) if abs(value - expected) <= 1]
sys.exit(not (len(wrong) == len(right) == 2))
PYTHON
