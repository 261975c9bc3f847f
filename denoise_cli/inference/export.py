"""Networks exported for other programs, as ONNX or OpenVINO files.

Legend: B batch, C channels, H x W image.
"""

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn

from denoise_cli.errors import MissingDependency, NotExportable, UnwritableFile, UsageError
from denoise_cli.files import move_both_into_place, write_atomically
from denoise_cli.inference import openvino_conversion
from denoise_cli.models.manifest import read_manifest
from denoise_cli.models.registry import (
    ModelSpec,
    checksum_of,
    find_model,
    is_weight_file,
    load_net,
    multiple_of,
    name_of,
)
from denoise_cli.nets.configs import DeformableKernelNetConfig
from denoise_cli.temporary_files import folder_beside
from denoise_cli.version import __version__

if TYPE_CHECKING:
    import onnx
    import openvino

Format = Literal["onnx", "openvino"]

DEFAULT_FORMAT: Format = "onnx"
EXTENSIONS: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml"}
WEIGHTS_EXTENSION = ".bin"  # OpenVINO's weights: a file next to the .xml, with the same name
LIBRARIES: dict[Format, str] = {"onnx": "onnx", "openvino": "openvino"}
OPSET = 17  # of ONNX, from 2022: widely supported, and it has every operator that the networks use
INPUTS = ("image", "sigma")
OUTPUT = "denoised"
SPACES = {
    "srgb": "sRGB-encoded",
    "linear": "linear light",
    "mosaic": "linear light after the Anscombe transform",
    "xtrans": "linear light after the Anscombe transform",
    "developed": "linear light after the Anscombe transform",
}
CHANNELS = {
    3: "RGB",
    4: "a mosaic's planes (red, green beside red, green beside blue, blue)",
    9: "an X-Trans mosaic's planes (2 red, 5 green, 2 blue)",
}
SECTION = "denoise"  # of the metadata in an OpenVINO file


@dataclass(frozen=True)
class Target:
    """The file that a network is exported to, and its format."""

    path: Path
    format: Format

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are written; the last one is what other programs open."""
        return (self.path,) if self.format == "onnx" else (self.path.with_suffix(WEIGHTS_EXTENSION), self.path)


def plan(model: str, output: Path | None = None, kind: str | None = None) -> Target:
    """Choose the file and the format to export a model to.

    Args:
        model: a name from the registry, or the path of a weight file.
        output: the file; None for the model's name in the current folder.
        kind: a format; None to go by the file's extension.

    Raises:
        UsageError: the format or the extension is unknown, or they do not match.

    >>> plan("mallenet-m", Path("net.xml")).format
    'openvino'
    >>> plan("mallenet-m").path.name
    'mallenet-m.onnx'
    """
    chosen = None if kind is None else _format_of(kind)
    if output is None:
        chosen = chosen or DEFAULT_FORMAT
        return Target(Path(Path(model).stem + EXTENSIONS[chosen]), chosen)
    by_extension = next((one for one, extension in EXTENSIONS.items() if extension == output.suffix.lower()), None)
    if by_extension is None:
        expected = " or ".join(f"{extension} ({one})" for one, extension in EXTENSIONS.items())
        raise UsageError(f"{output}: expected a name ending in {expected}")
    if chosen not in (None, by_extension):
        raise UsageError(
            f"{output}: has the extension of {by_extension}, not {chosen}: omit --format, or choose another name"
        )
    return Target(output, by_extension)


def check(model: str, kind: Format) -> None:
    """Refuse an export that cannot succeed, before any work is done.

    Raises:
        UnknownModel: no such model.
        DamagedWeights: the weight file is missing, or does not name its model.
        NotExportable: no format can hold this network.
        MissingDependency: the format's library is not installed.
    """
    obstacle = _obstacle(find_model(model))
    if obstacle is not None:
        raise NotExportable(f"{model}: {obstacle}")
    library = LIBRARIES[kind]
    try:
        importlib.import_module(library)
    except ImportError as error:
        raise MissingDependency(f"writing {EXTENSIONS[kind]} files", library) from error


def write(model: str, target: Target, overwrite: bool = False) -> None:
    """Export a model to a file for other programs.

    The inputs of the exported model are `image`, (B, C, H, W), and `sigma`, (B, L, H, W), for any B and for H and W
    that are multiples of the network's `multiple`; L is 1, or C where each channel has its own level. Its output is
    `denoised`, (B, 3, H, W), or (B, 4, H, W) for Bayer and (B, 9, H, W) for X-Trans mosaics. The file contains what
    `facts_of` returns.

    Args:
        model: a name from the registry, or the path of a weight file.
        target: the file and its format, which `check` has accepted.
        overwrite: replace existing files.

    Raises:
        UnknownModel: the model has no weights.
        DamagedWeights: its file does not match its checksum.
        UnwritableFile: a file cannot be written, or it exists and `overwrite` is false.
    """
    spec, net = find_model(model), load_net(model).eval()
    facts = facts_of(model, net)
    if target.format == "onnx":
        write_atomically(target.path, _as_onnx(net, spec, facts).SerializeToString(), overwrite)
    else:
        _write_openvino(_as_openvino(net, spec, facts), target, overwrite)


def facts_of(model: str, net: nn.Module) -> dict[str, str]:
    """What one needs to know to run a model, by name: origin, inputs and output.

    Args:
        model: a name from the registry, or the path of a weight file.
        net: its network.

    Raises:
        UnknownModel: no such model.
        DamagedWeights: the weight file is missing, or does not name its model.
    """
    spec = find_model(model)
    facts = {
        "denoise": __version__,
        "model": name_of(model),
        "sha256": checksum_of(model),
        "space": spec.space,
        "multiple": str(multiple_of(net)),
        **_describe_tensors(spec, multiple_of(net)),
    }
    # The licence of weights from users is unknown.
    return facts if is_weight_file(model) else facts | {"licence": read_manifest()[model].licence}


def _describe_tensors(spec: ModelSpec, multiple: int) -> dict[str, str]:
    space, channels = SPACES[spec.space], CHANNELS[spec.channels]
    frames = (
        f"{spec.window} noisy RGB frames of a clip, the one to denoise first, then its neighbours, nearest first"
        if spec.window > 1
        else f"noisy {channels}"
    )
    of_channel = " and in each channel" if spec.levels > 1 else ""
    level = (
        "zeros: the network finds the noise level itself"
        if spec.is_blind
        else f"the noise's standard deviation at each pixel{of_channel}, in the image's unit, "
        f"from 0 to {spec.sigma_max:.3f}"
    )
    return {
        "image": f"(B, {spec.inputs}, H, W), float32: {frames}, {space}, nominally [0, 1], not clipped; "
        f"H and W multiples of {multiple}",
        "sigma": f"(B, {spec.levels}, H, W), float32: {level}",
        "denoised": f"(B, {spec.channels}, H, W), float32: {channels} as in the image, not clipped",
    }


def _obstacle(spec: ModelSpec) -> str | None:
    """Why a network cannot be exported to any format; None if it can."""
    config = spec.config
    if isinstance(config, DeformableKernelNetConfig) and config.deformable and config.frames > 1:
        return (
            "cannot be exported: its points move between frames, and 3D lookups are not supported: choose another model"
        )
    return None


def _as_onnx(net: nn.Module, spec: ModelSpec, facts: dict[str, str]) -> "onnx.ModelProto":
    import onnx
    from onnx import helper

    channels = spec.inputs
    any_size = {0: "B", 2: "H", 3: "W"}
    traced = io.BytesIO()
    with openvino_conversion.tracing():
        # PyTorch's newer exporter takes up to half a minute instead of a second, makes larger files and needs more
        # libraries.
        torch.onnx.export(
            net,
            openvino_conversion.example_of(channels, multiple_of(net), spec.levels),
            traced,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes=dict.fromkeys((*INPUTS, OUTPUT), any_size),
        )
    model = onnx.load_from_string(traced.getvalue())
    # The exporter drops the level if a blind network ignores it, and leaves the number of output channels open.
    shapes = zip((*INPUTS, OUTPUT), (channels, spec.levels, spec.channels), strict=True)
    *inputs, output = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", number, "H", "W"]) for name, number in shapes
    )
    model.graph.ClearField("input")
    model.graph.input.extend(inputs)
    model.graph.output[0].CopyFrom(output)
    helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    return model


def _as_openvino(net: nn.Module, spec: ModelSpec, facts: dict[str, str]) -> "openvino.Model":
    channels = spec.inputs
    model = openvino_conversion.convert(net, channels, multiple_of(net), spec.levels)
    for port, name in zip(model.inputs, INPUTS, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    model.outputs[0].get_tensor().set_names({OUTPUT})
    model.reshape({name: [-1, number, -1, -1] for name, number in zip(INPUTS, (channels, spec.levels), strict=True)})
    for name, fact in facts.items():
        model.set_rt_info(fact, [SECTION, name])
    return model


def _write_openvino(model: "openvino.Model", target: Target, overwrite: bool) -> None:
    import openvino

    weights, description = target.files
    with folder_beside(target.path) as folder:
        written = folder / f"model{WEIGHTS_EXTENSION}", folder / f"model{EXTENSIONS['openvino']}"
        try:
            openvino.save_model(model, written[1], compress_to_fp16=False)
        except RuntimeError as error:  # OpenVINO's, which gives no reason
            raise UnwritableFile(target.path, "cannot write: the disk may be full") from error
        move_both_into_place(written, (weights, description), overwrite)


def _format_of(name: str) -> Format:
    for known in get_args(Format):
        if known == name:
            return known
    raise UsageError(f"--format {name}: choose one of {', '.join(get_args(Format))}")
