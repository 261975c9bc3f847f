"""Where in a picture there is most of something."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def densest_square(values: NDArray[Any], side: int) -> tuple[slice, slice]:
    """Rows and columns of the square with the largest sum of values, (H, W), none of them negative.

    A side of the picture that is shorter than the square is taken whole.

    >>> values = np.zeros((60, 80))
    >>> values[5, 75] = 1
    >>> densest_square(values, side=20)
    (slice(0, 20, None), slice(56, 76, None))
    """
    height, width = min(side, values.shape[0]), min(side, values.shape[1])
    integral = np.pad(np.cumsum(np.cumsum(values, axis=0), axis=1), ((1, 0), (1, 0)))  # sums of all above and left
    sums = (
        integral[height:, width:]
        - integral[:-height, width:]
        - integral[height:, :-width]
        + integral[:-height, :-width]
    )
    y, x = divmod(int(sums.argmax()), sums.shape[1])
    return slice(y, y + height), slice(x, x + width)
