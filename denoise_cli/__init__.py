"""Removes noise from photos, camera RAW and clips.

from denoise_cli import load_denoiser

clean = load_denoiser("mallenet-s")(image, sigma=25 / 255)
"""

from denoise_cli.version import __version__

TYPE_CHECKING = False  # as type checkers know it: until `__main__` runs, Ctrl-C would be a traceback, so import little
if TYPE_CHECKING:
    from typing import Any

    from denoise_cli.inference.denoiser import load_denoiser

__all__ = ["__version__", "load_denoiser"]


def __getattr__(name: str) -> "Any":
    # PyTorch takes seconds to import: only callers that need a denoiser wait for it.
    if name == "load_denoiser":
        from denoise_cli.inference.denoiser import load_denoiser

        return load_denoiser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
