"""`denoise doctor`: what this machine can do, and what to install for the rest."""

import importlib
import importlib.util
import json
import platform

from denoise_cli.cli import console
from denoise_cli.cli.options import Json
from denoise_cli.errors import DenoiseError, raise_signal_behind
from denoise_cli.version import __version__

# By module: what needs it, and the package to install.
OPTIONAL = {
    "openvino": ("twice the speed on a CPU", "openvino"),
    "rawpy": ("camera RAW", "rawpy"),
    "imagecodecs": (
        "writing PNG, JPEG XL, JPEG 2000, reading high-bit-depth PNG and AVIF, compressed TIFF",
        "imagecodecs",
    ),
    "pillow_heif": ("HEIF photos", "pillow-heif"),
    "OpenEXR": ("OpenEXR photos", "OpenEXR"),
    "cv2": ("non-local means, for comparison", "opencv-python-headless"),
    "pywt": ("wavelets, for comparison", "PyWavelets"),
    "matplotlib": ("training curves", "matplotlib"),
    "onnx": ("export to ONNX", "onnx"),
}


def doctor(as_json: Json = False) -> None:
    """Show what this machine can do, and what to install for the rest."""
    facts = _facts()
    if as_json:
        console.output(json.dumps(facts))
    else:
        console.table(["what", "state"], list(facts.items()))


def _facts() -> dict[str, str]:
    import torch

    from denoise_cli.inference import openvino_net
    from denoise_cli.inference.device import choose_device, choose_precision, is_gpu
    from denoise_cli.ops import cuda

    device = choose_device("auto")
    precision = choose_precision(device, "auto")
    engine = "OpenVINO" if not is_gpu(device) and openvino_net.is_available() else "PyTorch"
    obstacle = cuda.obstacle_of_machine()
    facts = {
        "denoise": __version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "PyTorch": f"{torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none that PyTorch can use",
        "runs on": f"{device} in {precision} with {engine}",
        "GPU kernels": str(_version("cupy"))
        if obstacle is None
        else f"not used (PyTorch's operators run instead): {obstacle}",
    }
    for module, (purpose, package) in OPTIONAL.items():
        facts[purpose] = _version(module) or f"not installed: pip install {package}"
    return facts | {f"weights of {name}": state for name, state in _weights()}


def _version(module: str) -> str | None:
    """Name and version of an installed module, or why it cannot be loaded; None if it is not installed."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        loaded = importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise_signal_behind(error)
        return f"{module} is installed, but cannot be loaded: {' '.join(str(error).split())}"
    return f"{module} {getattr(loaded, '__version__', '')}".strip()


def _weights() -> list[tuple[str, str]]:
    """Every model with weights, and whether its file is intact."""
    from denoise_cli.models.manifest import read_manifest
    from denoise_cli.models.registry import load_net

    states = []
    for name in read_manifest():
        try:
            load_net(name)
            states.append((name, "intact"))
        except DenoiseError as error:
            states.append((name, str(error)))
    return states
