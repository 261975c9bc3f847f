"""Removes noise from photos.

from denoise_cli import load_denoiser

clean = load_denoiser("mallenet-s")(image, sigma=25 / 255)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denoise_cli.denoiser import load_denoiser

__all__ = ["__version__", "load_denoiser"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import: only whoever asks for a denoiser waits for it.
    if name == "load_denoiser":
        from denoise_cli.denoiser import load_denoiser

        return load_denoiser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
