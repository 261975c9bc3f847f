"""Removes noise from photos, camera RAW and clips.

from denoise_cli import load_denoiser

clean = load_denoiser("mallenet-s")(image, sigma=25 / 255)
"""

from typing import TYPE_CHECKING, Any

from denoise_cli.version import __version__

if TYPE_CHECKING:
    from denoise_cli.inference.denoiser import load_denoiser

__all__ = ["__version__", "load_denoiser"]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import: only callers that need a denoiser wait for it.
    if name == "load_denoiser":
        from denoise_cli.inference.denoiser import load_denoiser

        return load_denoiser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
