import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from denoise_cli.errors import DamagedWeights, DenoiseError, UnwritableFile
from denoise_cli.models.checkpoint import load_weights, read_tensors, write_tensors
from denoise_cli.models.weight_file import read_metadata, sha256_of
from denoise_cli.nets.configs import MalleNetConfig

METADATA = {"model": "mallenet-s", "step": "7", "licence": "CC BY 4.0, © someone"}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {
        "weight": torch.randn(4, 3, 3, 3),
        "channels_last": torch.randn(2, 8, 3, 3).to(memory_format=torch.channels_last),
        "half": torch.randn(5).half(),
        "brain": torch.randn(5).bfloat16(),
        "step": torch.tensor(12.0),
        "count": torch.arange(3),
        "empty": torch.zeros(0, 3),
    }


@pytest.fixture
def path(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, tensors, METADATA)
    return path


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1))


def one_line(error: pytest.ExceptionInfo[DenoiseError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_tensors_come_back_as_they_were(path: Path, tensors: dict[str, Tensor]) -> None:
    found = read_tensors(path, sha256_of(path.read_bytes()))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_parameters_are_written_without_their_gradients(tmp_path: Path) -> None:
    write_tensors(tmp_path / "w", dict(net().named_parameters()))
    assert not any(tensor.requires_grad for tensor in read_tensors(tmp_path / "w").values())


def test_the_note_comes_back(path: Path) -> None:
    assert read_metadata(path) == METADATA


def test_no_note_is_an_empty_one(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_tensors(tmp_path / "w", tensors)
    assert read_metadata(tmp_path / "w") == {}


def test_an_older_file_is_replaced(path: Path) -> None:
    write_tensors(path, {"other": torch.ones(2)})
    assert list(read_tensors(path)) == ["other"]


def test_the_checksum_is_that_of_the_standard() -> None:
    assert sha256_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("place", [0, 40, -1])
def test_an_altered_byte_fails_the_checksum(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    checksum = sha256_of(data)
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedWeights) as error:
        read_tensors(path, checksum)
    assert one_line(error) == f"{path}: the checksum does not match the manifest: reinstall, or restore the file"


@pytest.mark.parametrize("kept", [0, 4, 8, 60, -100, -1])
def test_a_truncated_file_is_damaged_even_without_a_checksum(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedWeights) as error:
        read_tensors(path)
    assert one_line(error).startswith(f"{path}: not a complete safetensors file (")


@pytest.mark.parametrize("kept", [0, 4, 8, 60])
def test_a_note_that_is_cut_off_is_damaged(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedWeights) as error:
        read_metadata(path)
    assert one_line(error).startswith(f"{path}: not a complete safetensors file (")


@pytest.mark.parametrize(
    "header",
    [b"[]", b"7", b'{"__metadata__": 7}', b"\xff\xff", b'{"__metadata__": {"model": ["mallenet-s"]}}', b"[" * 2000],
)
def test_a_note_that_makes_no_sense_is_damaged(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(DamagedWeights) as error:
        read_metadata(tmp_path / "w")
    one_line(error)


@pytest.mark.parametrize("read", [read_tensors, read_metadata])
def test_a_missing_file_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(DamagedWeights) as error:
        read(tmp_path / "none.safetensors")
    assert one_line(error) == (
        f"{tmp_path / 'none.safetensors'}: No such file or directory: "
        "name a .safetensors file that denoise train has written"
    )


def test_a_file_that_could_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(DamagedWeights, match="not a complete safetensors file"):
        read_tensors(tmp_path / "w.safetensors")


def test_a_folder_that_is_not_there_is_not_written_to(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(UnwritableFile):
        write_tensors(tmp_path / "none" / "w", tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_go_into_the_network_they_came_from(tmp_path: Path, dtype: torch.dtype) -> None:
    config = MalleNetConfig(width=8)
    first, second = config.build(), config.build()
    write_tensors(tmp_path / "w", {name: tensor.to(dtype) for name, tensor in first.state_dict().items()})
    load_weights(second, read_tensors(tmp_path / "w"), "w")
    for name, tensor in second.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, first.state_dict()[name].to(dtype).float())


def test_a_missing_tensor_is_named() -> None:
    tensors = net().state_dict()
    del tensors["2.bias"]
    with pytest.raises(DamagedWeights) as error:
        load_weights(net(), tensors, "w.safetensors")
    assert one_line(error) == "w.safetensors: weights of another network: 2.bias should be 3, is absent"


def test_a_tensor_too_many_is_named() -> None:
    with pytest.raises(DamagedWeights) as error:
        load_weights(net(), net().state_dict() | {"more": torch.tensor(1.0)}, "w.safetensors")
    assert one_line(error) == "w.safetensors: weights of another network: more should be absent, is a number"


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(DamagedWeights) as error:
        load_weights(net(), net().state_dict() | {"0.weight": torch.zeros(4, 3, 1, 1)}, "w.safetensors")
    assert one_line(error) == ("w.safetensors: weights of another network: 0.weight should be 4x3x3x3, is 4x3x1x1")


def test_a_network_that_is_refused_weights_keeps_its_own() -> None:
    network = net()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DamagedWeights):
        load_weights(network, net().state_dict() | {"2.bias": torch.zeros(9)}, "w")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    tensors = net().state_dict()
    tensors["0.weight"][0, 0, 1, 1] = value
    network = net()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(DamagedWeights) as error:
        load_weights(network, tensors, "w.safetensors")
    assert one_line(error) == (
        "w.safetensors: 0.weight has values that are not finite: restore the file, or train again"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_weights_that_are_not_real_numbers_are_refused(dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in net().state_dict().items()}
    with pytest.raises(DamagedWeights, match="not a floating-point one"):
        load_weights(net(), tensors, "w.safetensors")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float64])
def test_weights_of_any_floating_point_are_taken(dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in net().state_dict().items()}
    network = net()
    load_weights(network, tensors, "w.safetensors")
    assert all(torch.equal(tensor, tensors[name].float()) for name, tensor in network.state_dict().items())


def test_numbers_of_a_type_that_pytorch_lacks_are_named(tmp_path: Path) -> None:
    header = b'{"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(3))
    with pytest.raises(DamagedWeights) as error:
        read_tensors(path)
    assert one_line(error) == f"{path}: has numbers of the type F6_E2M3: convert them to F32"


def test_weights_that_are_too_large_for_32_bits_are_refused() -> None:
    tensors = {name: tensor.double() for name, tensor in net().state_dict().items()}
    tensors["0.weight"][0, 0, 1, 1] = 1e300
    with pytest.raises(DamagedWeights, match="not finite"):
        load_weights(net(), tensors, "w.safetensors")


@pytest.mark.parametrize("read", [read_tensors, read_metadata])
def test_what_never_ends_is_not_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "w")
    for path in (tmp_path / "w", Path("/dev/zero"), tmp_path):
        with pytest.raises(DamagedWeights, match="not a regular file"):
            read(path)
