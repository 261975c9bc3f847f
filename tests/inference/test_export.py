"""Exported networks do what PyTorch does, at any size, and the files describe their contents."""

import sys
from pathlib import Path
from typing import Any, get_args

import onnx
import openvino
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from denoise_cli.errors import MissingDependency, NotExportable, UnwritableFile, UsageError
from denoise_cli.inference.export import EXTENSIONS, Format, Target, check, facts_of, plan, write
from denoise_cli.models.checkpoint import write_tensors
from denoise_cli.models.manifest import read_manifest
from denoise_cli.models.registry import MODELS, load_net
from denoise_cli.models.weight_file import sha256_of
from denoise_cli.version import __version__

# How far a test's weights are from the initial ones. It is small for deformable kernels: points that are moved far
# differ by PyTorch's own rounding.
FRESH = {
    "mallenet-s": 0.3,
    "mallenet-u": 0.3,
    "mallenet-s-paper": 0.3,
    "mallenet-r-paper": 0.3,
    "deformable-2d-quarter-blind": 0.03,
    "kpn-quarter": 0.3,
}
EVERY_FORMAT = ["mallenet-s", "mallenet-u", "deformable-2d-quarter", "deformable-2d-quarter-blind", "kpn-quarter"]
EXPORTED: list[tuple[str, Format]] = [
    *((model, kind) for model in EVERY_FORMAT for kind in get_args(Format)),
    *(("mallenet-v", kind) for kind in get_args(Format)),
    *((model, kind) for model in ("mallenet-raw", "mallenet-xtrans") for kind in get_args(Format)),
    ("mallenet-linear", "onnx"),
    # test_openvino_net.py compares OpenVINO's versions of these.
    *((model, "onnx") for model in ("mallenet-r", "mallenet-s-paper", "mallenet-r-paper")),
]


def weights_of(model: str, folder: Path) -> str:
    """A file with weights of a model, in which no branch is zero."""
    net = MODELS[model].config.build()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn_like(parameter), alpha=FRESH[model] / parameter[0].numel() ** 0.5)
    path = folder / f"{model}.safetensors"
    write_tensors(path, net.state_dict(), {"model": model})
    return str(path)


def noisy(model: str, size: tuple[int, int], batch: int) -> tuple[Tensor, Tensor]:
    """Inputs of a network: pictures, or frames that move, and a level that varies over the picture."""
    scene = 3 * F.avg_pool2d(torch.rand(batch, MODELS[model].channels, *size) - 0.5, 9, stride=1, padding=4) + 0.5
    frames = [scene.roll(2 * time, dims=-1) for time in range(MODELS[model].window)]
    sigma = torch.linspace(0.02, 0.15, size[1]).expand(batch, 1, *size)
    image = torch.cat(frames, dim=1)
    return image + sigma * torch.randn_like(image), sigma.expand(-1, MODELS[model].levels, -1, -1).contiguous()


def compiled(path: Path) -> openvino.CompiledModel:
    """The exported model, compiled by OpenVINO, which reads both formats."""
    core = openvino.Core()
    return core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def notes_of(path: Path) -> dict[str, str]:
    """The metadata of an exported file."""
    if path.suffix == ".onnx":
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    model = openvino.Core().read_model(path)
    return {name: model.get_rt_info(["denoise", name]).value for name in model.get_rt_info("denoise").value}


@torch.no_grad()
@pytest.mark.parametrize(("model", "kind"), EXPORTED)
def test_it_does_what_pytorch_does_at_any_size(model: str, kind: Format, tmp_path: Path) -> None:
    weights = weights_of(model, tmp_path) if model in FRESH else model
    target = plan(weights, tmp_path / f"net{EXTENSIONS[kind]}")
    check(weights, kind)
    write(weights, target)
    net, other = load_net(weights).eval(), compiled(target.path)
    for size, batch in (((128, 192), 1), ((320, 64), 2)):
        image, sigma = noisy(model, size, batch)
        expected = net(image, sigma)
        assert (expected - image[:, : MODELS[model].channels]).std() > 0.01
        result = other({"image": image.numpy(), "sigma": sigma.numpy()})["denoised"]
        torch.testing.assert_close(torch.from_numpy(result), expected, rtol=0, atol=1e-5)


def test_every_kind_of_network_and_of_picture_is_tried() -> None:
    tried = {type(MODELS[model].config) for model, _ in EXPORTED}
    assert tried == {type(spec.config) for spec in MODELS.values()}
    assert {MODELS[model].space for model, _ in EXPORTED} == {spec.space for spec in MODELS.values()}


@pytest.mark.parametrize("kind", get_args(Format))
def test_the_file_says_what_it_is(kind: Format, tmp_path: Path) -> None:
    target = plan("mallenet-m", tmp_path / f"net{EXTENSIONS[kind]}")
    write("mallenet-m", target)
    assert notes_of(target.path) == {
        "denoise": __version__,
        "model": "mallenet-m",
        "sha256": read_manifest()["mallenet-m"].sha256,
        "licence": "MIT",
        "space": "srgb",
        "multiple": "64",
        "image": "(B, 3, H, W), float32: noisy RGB, sRGB-encoded, nominally [0, 1], not clipped; "
        "H and W multiples of 64",
        "sigma": "(B, 1, H, W), float32: the noise's standard deviation at each pixel, in the image's unit, "
        "from 0 to 0.294",
        "denoised": "(B, 3, H, W), float32: RGB as in the image, not clipped",
    }
    read = openvino.Core().read_model(target.path)
    assert [str(port.partial_shape) for port in read.inputs] == ["[?,3,?,?]", "[?,1,?,?]"]
    assert sorted(tmp_path.iterdir()) == sorted(target.files)


def test_of_weights_that_a_user_made_the_file_says_their_own_checksum_and_no_licence(tmp_path: Path) -> None:
    weights = weights_of("kpn-quarter", tmp_path)
    write(weights, Target(tmp_path / "net.onnx", "onnx"))
    notes = notes_of(tmp_path / "net.onnx")
    assert notes["model"] == "kpn-quarter"
    assert notes["sha256"] == sha256_of(Path(weights).read_bytes())
    assert "licence" not in notes


@pytest.mark.parametrize(
    ("model", "name", "said"),
    [
        ("mallenet-r", "sigma", "zeros: the network finds the noise level itself"),
        ("mallenet-v", "image", "(B, 15, H, W), float32: 5 noisy RGB frames of a clip, the one to denoise first"),
        ("mallenet-v-sensor", "image", "linear light"),
        ("mallenet-u", "sigma", "the noise's standard deviation at each pixel and in each channel"),
        ("deformable-2d-quarter", "image", "multiples of 16"),
    ],
)
def test_what_inputs_mean_is_told_for_each_network(model: str, name: str, said: str) -> None:
    assert said in facts_of(model, MODELS[model].config.build())[name]


@pytest.mark.parametrize("kind", get_args(Format))
def test_what_no_format_can_hold_is_refused(kind: Format) -> None:
    with pytest.raises(NotExportable) as error:
        check("deformable-3d", kind)
    reason = (
        "cannot be exported: its points move between frames, and 3D lookups are not supported: choose another model"
    )
    assert str(error.value) == f"deformable-3d: {reason}"


@pytest.mark.parametrize(
    ("model", "output", "kind", "expected"),
    [
        ("mallenet-m", None, None, Target(Path("mallenet-m.onnx"), "onnx")),
        ("run/weights.safetensors", None, "openvino", Target(Path("weights.xml"), "openvino")),
        ("mallenet-m", Path("a/b.xml"), None, Target(Path("a/b.xml"), "openvino")),
        ("mallenet-m", Path("b.c.ONNX"), "onnx", Target(Path("b.c.ONNX"), "onnx")),
    ],
)
def test_the_name_decides_or_the_format(model: str, output: Path | None, kind: str | None, expected: Target) -> None:
    assert plan(model, output, kind) == expected


@pytest.mark.parametrize(
    ("output", "kind", "reason"),
    [
        (None, "tflite", "--format tflite: choose one of onnx, openvino"),
        (Path("net.pb"), None, "net.pb: expected a name ending in .onnx (onnx) or .xml (openvino)"),
        (Path("net"), "onnx", "net: expected a name ending in .onnx (onnx) or .xml (openvino)"),
        (
            Path("net.xml"),
            "onnx",
            "net.xml: has the extension of openvino, not onnx: omit --format, or choose another name",
        ),
    ],
)
def test_what_is_no_format_is_refused(output: Path | None, kind: str | None, reason: str) -> None:
    with pytest.raises(UsageError) as error:
        plan("mallenet-m", output, kind)
    assert str(error.value) == reason


@pytest.mark.parametrize(("kind", "extension"), EXTENSIONS.items())
def test_a_library_that_lacks_is_named(kind: Format, extension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(MissingDependency) as error:
        check("mallenet-m", kind)
    assert (
        str(error.value) == f"writing {extension} files needs {kind}, which is not installed: run  pip install {kind}"
    )


def test_a_full_disk_leaves_nothing_of_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_halfway(_model: object, path: Path, **_: Any) -> None:
        path.with_suffix(".bin").write_bytes(b"half")
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(openvino, "save_model", stop_halfway)
    target = Target(tmp_path / "net.xml", "openvino")
    with pytest.raises(UnwritableFile) as error:
        write("deformable-2d-quarter", target)
    assert str(error.value) == f"{target.path}: cannot write: the disk may be full"
    assert list(tmp_path.iterdir()) == []
