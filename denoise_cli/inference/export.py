"""Networks as files that other programs run: ONNX, and OpenVINO's own.

Legend: B batch, C channels, H x W image.
"""

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch
from torch import nn

from denoise_cli.errors import MissingDependency, NotExportable, UnwritableFile, UsageError
from denoise_cli.files import folder_beside, move_both_into_place, write_atomically
from denoise_cli.inference import openvino_net
from denoise_cli.models.manifest import read_manifest
from denoise_cli.models.registry import ModelSpec, checksum_of, find_model, is_file, load_net, name_of
from denoise_cli.nets.deformable import DeformableKernelNetConfig
from denoise_cli.version import __version__

if TYPE_CHECKING:
    import onnx
    import openvino

Format = Literal["onnx", "openvino"]

DEFAULT_FORMAT: Format = "onnx"
EXTENSIONS: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml"}
WEIGHTS = ".bin"  # beside OpenVINO's .xml, which finds it by its name
LIBRARIES: dict[Format, str] = {"onnx": "onnx", "openvino": "openvino"}
OPSET = 17  # of ONNX, of 2022: every reader knows it, and all that the networks are made of came before
INPUTS, OUTPUT = ("image", "sigma"), "denoised"
LIGHTS = {
    "srgb": "sRGB-encoded",
    "linear": "linear light",
    "mosaic": "linear light, stabilised",
    "developed": "linear light, stabilised",
}
COLOURS_OF = {3: "RGB", 4: "a mosaic's planes (red, green beside red, green beside blue, blue)"}
SECTION = "denoise"  # of an OpenVINO file's notes


@dataclass(frozen=True)
class Target:
    """Which file a network becomes, and of which format."""

    path: Path
    format: Format

    @property
    def files(self) -> tuple[Path, ...]:
        """All that are written; the last tells what is in them."""
        return (self.path,) if self.format == "onnx" else (self.path.with_suffix(WEIGHTS), self.path)


def plan(model: str, output: Path | None = None, kind: str | None = None) -> Target:
    """Say which file a model becomes.

    Args:
        model: a name from the registry, or the path of a weight file.
        output: the file; None for one of the model's name in the current folder.
        kind: a format; None for that of the file's extension.

    Raises:
        UsageError: no such format, an extension of none, or of another than was named.
    """
    chosen = None if kind is None else _format_of(kind)
    if output is None:
        chosen = chosen or DEFAULT_FORMAT
        return Target(Path(Path(model).stem + EXTENSIONS[chosen]), chosen)
    told = next((one for one, extension in EXTENSIONS.items() if extension == output.suffix.lower()), None)
    if told is None:
        expected = " or ".join(f"{extension} ({one})" for one, extension in EXTENSIONS.items())
        raise UsageError(f"{output}: expected a name ending in {expected}")
    if chosen not in (None, told):
        raise UsageError(
            f"{output}: its extension is that of {told}: leave --format {chosen} away, or name it otherwise"
        )
    return Target(output, told)


def check(model: str, kind: Format) -> None:
    """Refuse what cannot be done, before the work.

    Raises:
        UnknownModel: no such model.
        DamagedWeights: no such weight file, or one that says not which model it is.
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
    """Write a model as a file for other programs.

    Its inputs are `image`, (B, C, H, W), and `sigma`, (B, 1, H, W), any B and sides that are multiples of the
    network's; its output is `denoised`, (B, 3, H, W). What `facts_of` tells is in the file.

    Args:
        model: a name from the registry, or the path of a weight file.
        target: where, and how; `check` has nothing against it.
        overwrite: replace files that are there.

    Raises:
        UnknownModel: the model has no weights.
        DamagedWeights: its file does not match its checksum.
        UnwritableFile: the folder or the disk refuses, or a file exists and `overwrite` is false.
    """
    spec, net = find_model(model), load_net(model).eval()
    facts = facts_of(model, net)
    if target.format == "onnx":
        write_atomically(target.path, _as_onnx(net, spec, facts).SerializeToString(), overwrite)
    else:
        _write_openvino(_as_openvino(net, spec, facts), target, overwrite)


def facts_of(model: str, net: nn.Module) -> dict[str, str]:
    """What whoever runs a model has to know of it, by name.

    Args:
        model: a name from the registry, or the path of a weight file.
        net: its network.

    Raises:
        UnknownModel: no such model.
        DamagedWeights: no such weight file, or one that says not which model it is.
    """
    spec = find_model(model)
    facts = {
        "denoise": __version__,
        "model": name_of(model),
        "sha256": checksum_of(model),
        "space": spec.space,
        "multiple": str(_multiple_of(net)),
        **_meanings(spec, _multiple_of(net)),
    }
    # Of weights that users have made, they alone know the licence.
    return facts if is_file(model) else facts | {"licence": read_manifest()[model].licence}


def _meanings(spec: ModelSpec, multiple: int) -> dict[str, str]:
    light, colours = LIGHTS[spec.space], COLOURS_OF[spec.channels]
    frames = (
        f"{spec.window} noisy RGB frames of a clip, the one to denoise first, then its neighbours, nearest first"
        if spec.window > 1
        else f"noisy {colours}"
    )
    level = (
        "zeros: the network sees the noise for itself"
        if spec.is_blind
        else f"the noise's standard deviation at each pixel, in the image's unit, from 0 to {spec.sigma_max:.3f}"
    )
    return {
        "image": f"(B, {spec.inputs}, H, W), float32: {frames}, {light}, nominally [0, 1], not clipped; "
        f"H and W multiples of {multiple}",
        "sigma": f"(B, 1, H, W), float32: {level}",
        "denoised": f"(B, {spec.channels}, H, W), float32: {colours} as in the image, not clipped",
    }


def _obstacle(spec: ModelSpec) -> str | None:
    """Why no format can hold a network; None where they can."""
    config = spec.config
    if isinstance(config, DeformableKernelNetConfig) and config.deformable and config.frames > 1:
        return "its points move between frames: no look-up in three dimensions is exported"
    return None


def _as_onnx(net: nn.Module, spec: ModelSpec, facts: dict[str, str]) -> "onnx.ModelProto":
    import onnx
    from onnx import helper

    channels = spec.inputs
    anything = {0: "B", 2: "H", 3: "W"}
    traced = io.BytesIO()
    with openvino_net.tracing():
        # PyTorch's newer exporter takes up to half a minute instead of a second, for larger files and more libraries.
        torch.onnx.export(
            net,
            openvino_net.example_of(channels, _multiple_of(net)),
            traced,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes=dict.fromkeys((*INPUTS, OUTPUT), anything),
        )
    model = onnx.load_from_string(traced.getvalue())
    # Of its own, it lacks the level where a network is not told it, and how many channels the result has.
    shapes = zip((*INPUTS, OUTPUT), (channels, 1, spec.channels), strict=True)
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
    model = openvino_net.convert(net, channels, _multiple_of(net))
    for port, name in zip(model.inputs, INPUTS, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    model.outputs[0].get_tensor().set_names({OUTPUT})
    model.reshape({name: [-1, number, -1, -1] for name, number in zip(INPUTS, (channels, 1), strict=True)})
    for name, fact in facts.items():
        model.set_rt_info(fact, [SECTION, name])
    return model


def _write_openvino(model: "openvino.Model", target: Target, overwrite: bool) -> None:
    import openvino

    weights, description = target.files
    with folder_beside(target.path) as folder:
        parts = folder / f"model{WEIGHTS}", folder / f"model{EXTENSIONS['openvino']}"
        try:
            openvino.save_model(model, parts[1], compress_to_fp16=False)
        except RuntimeError as error:  # of its own making: it does not say why
            raise UnwritableFile(target.path, "cannot write: the disk may be full") from error
        move_both_into_place(parts, (weights, description), overwrite)


def _format_of(name: str) -> Format:
    for known in get_args(Format):
        if known == name:
            return known
    raise UsageError(f"--format {name}: choose one of {', '.join(get_args(Format))}")


def _multiple_of(net: nn.Module) -> int:
    return cast("int", net.multiple)
