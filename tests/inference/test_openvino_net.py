"""Compiled networks do what PyTorch does, and are cached for the next time."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from denoise_cli.inference import openvino_conversion
from denoise_cli.inference import openvino_net as module
from denoise_cli.inference.denoiser import load_denoiser
from denoise_cli.inference.device import is_out_of_memory
from denoise_cli.inference.openvino_conversion import CompiledKernels, CompiledNet, compile_for_cpu
from denoise_cli.models.registry import load_net
from denoise_cli.nets.configs import (
    DeformableKernelNetConfig,
    KPNConfig,
    MalleNetConfig,
    MalleNetVideoConfig,
    MalleUNetConfig,
    MosaicUNetConfig,
)

posix = pytest.mark.skipif(os.name != "posix", reason="owners, permission bits and FIFOs exist on POSIX only")

CONFIGS = {
    "residual": MalleNetConfig(4, block="residual"),
    "inverted": MalleNetConfig(4),
    "3x3 kernels": MalleNetConfig(4, kernel=3),
    "six channels": MalleNetConfig(4, block="residual", channels=6),
    "U": MalleUNetConfig(8),
    "X-Trans": MosaicUNetConfig(8, "xtrans"),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """The cache folder after `small_net` was compiled in float32, and its result: compiling takes seconds."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(module, "cache_folder", lambda: folder)
        return folder, CompiledNet(small_net(), torch.float32).noise(*noisy((64, 64)))


@pytest.fixture
def filled_cache(cache: Path, compiled_once: tuple[Path, Tensor]) -> Path:
    """A cache folder that holds `small_net` in float32."""
    return Path(shutil.copytree(compiled_once[0], cache))


def small_net() -> nn.Module:
    """Always the same."""
    torch.manual_seed(0)
    return with_weights(MalleNetConfig(4).build())


def with_weights(net: nn.Module) -> nn.Module:
    """Give every branch weights that are not zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.3 / parameter[0].numel() ** 0.5)
    return net.eval()


def noisy(size: tuple[int, int], batch: int = 1, channels: int = 3) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(batch, channels, *size, generator=rng), torch.full((batch, 1, *size), 0.1)


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_it_does_what_pytorch_does_at_any_size(config: MalleNetConfig | MalleUNetConfig | MosaicUNetConfig) -> None:
    net = with_weights(config.build())
    fast = CompiledNet(net, torch.float32)
    for size, batch in (((64, 64), 1), ((192, 64), 2), ((128, 320), 1)):
        image, sigma = noisy(size, batch, config.channels)
        expected = net.noise(image, sigma)
        assert expected.std() > 0.01
        torch.testing.assert_close(fast.noise(image, sigma), expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model", ["mallenet-s", "deformable-2d-quarter"])
def test_its_error_is_at_most_twice_that_of_pytorch(model: str, precision: torch.dtype, astronaut: object) -> None:
    net = load_net(model).eval()
    fast = compile_for_cpu(net, precision)
    # Where the processor has no bfloat16, PyTorch takes minutes to emulate it for a whole photo.
    clean = torch.from_numpy(astronaut[64:192, 160:288]).permute(2, 0, 1)[None] / 255  # type: ignore[index]
    image = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.full_like(image[:, :1], 0.1)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        plain, result = net(image, sigma), fast(image, sigma)
    exact = net.double()(image.double(), sigma.double())
    assert (result - exact).square().mean().sqrt() < 2 * (plain - exact).square().mean().sqrt()
    assert result.dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [
        MalleNetVideoConfig(4, trust_width=4),
        MalleNetVideoConfig(4, trust_width=4, follows_motion=False),
        MalleNetVideoConfig(4, trust_width=4, blind=True),
    ],
    ids=["motion", "still", "blind"],
)
def test_clips_of_any_size_and_length(config: MalleNetVideoConfig) -> None:
    net = with_weights(config.build())
    fast = compile_for_cpu(net, torch.float32)
    for size, batch, frames in (((64, 128), 2, 3), ((64, 64), 1, 1), ((64, 64), 1, 2)):
        clip, sigma = noisy(size, batch, 3 * frames)
        torch.testing.assert_close(fast(clip, sigma), net(clip, sigma), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="multiples of 64"):
        fast(*noisy((60, 64), 1, 9))


@torch.no_grad()
def test_a_clips_network_can_be_compiled_under_autocast() -> None:
    net = with_weights(MalleNetVideoConfig(4, trust_width=4).build())
    clip, sigma = noisy((64, 64), channels=9)
    with torch.autocast("cpu", torch.bfloat16):
        result = compile_for_cpu(net, torch.float32)(clip, sigma)
    torch.testing.assert_close(result, net(clip, sigma), rtol=0, atol=1e-4)


@torch.no_grad()
def test_motion_is_exact_where_convolutions_compute_in_16_bits() -> None:
    """The positions in a frame that is wider than 256 pixels cannot be told apart in bfloat16."""
    net = with_weights(MalleNetVideoConfig(4, trust_width=4).build())
    fast = compile_for_cpu(net, torch.bfloat16)
    clip, sigma = noisy((64, 640), 1, 9)
    assert (fast(clip, sigma) - net(clip, sigma)).abs().max() < 0.02


@torch.no_grad()
@pytest.mark.parametrize(
    "config", [DeformableKernelNetConfig(4), DeformableKernelNetConfig(4, blind=True), KPNConfig(4)]
)
def test_kernels_of_photos_are_predicted_and_applied(config: DeformableKernelNetConfig | KPNConfig) -> None:
    net = with_weights(config.build())
    fast = compile_for_cpu(net, torch.float32)
    assert isinstance(fast, CompiledKernels)
    for size, batch in (((32, 32), 1), ((48, 16), 2), ((64, 160), 1)):
        image, sigma = noisy(size, batch)
        expected = net(image, sigma)
        assert (expected - image).std() > 0.01
        torch.testing.assert_close(fast(image, sigma), expected, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="multiples of 16"):
        fast(*noisy((40, 40)))


def test_other_networks_stay_as_they_are() -> None:
    net = DeformableKernelNetConfig(4, side=3, frames=3).build()
    assert compile_for_cpu(net, torch.float32) is net


@torch.no_grad()
def test_a_result_outlives_the_next(filled_cache: Path) -> None:
    fast = CompiledNet(small_net(), torch.float32)
    image, sigma = noisy((64, 64))
    first = fast.noise(image, sigma)
    kept = first.clone()
    fast.noise(image + 0.5, sigma)
    torch.testing.assert_close(first, kept)


@torch.no_grad()
def test_what_was_compiled_is_kept(
    filled_cache: Path, compiled_once: tuple[Path, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = compiled_once
    image, sigma = noisy((64, 64))
    assert len(list(filled_cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(openvino_conversion, "convert", lambda *_: pytest.fail("was not cached"))
        torch.testing.assert_close(CompiledNet(small_net(), torch.float32).noise(image, sigma), expected)
    net = small_net()
    net.to_noise.weight.mul_(2)
    assert not torch.allclose(CompiledNet(net, torch.float32).noise(image, sigma), expected)  # other weights
    CompiledNet(small_net(), torch.bfloat16)
    assert len(list(filled_cache.iterdir())) == 3


@torch.no_grad()
@pytest.mark.parametrize("damage", [b"", b"\0" * 100, None], ids=["empty", "zeros", "truncated"])
def test_a_damaged_cache_is_made_anew(
    filled_cache: Path,
    compiled_once: tuple[Path, Tensor],
    damage: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, expected = compiled_once
    image, sigma = noisy((64, 64))
    (kept,) = filled_cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] if damage is None else damage)
    torch.testing.assert_close(CompiledNet(small_net(), torch.float32).noise(image, sigma), expected)
    monkeypatch.setattr(openvino_conversion, "convert", lambda *_: pytest.fail("was not cached"))
    torch.testing.assert_close(CompiledNet(small_net(), torch.float32).noise(image, sigma), expected)


@torch.no_grad()
def test_what_was_converted_is_compiled_for_other_sizes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = with_weights(MalleNetVideoConfig(4, trust_width=4).build())
    compile_for_cpu(net, torch.float32)(*noisy((64, 64), 1, 6))
    monkeypatch.setattr(openvino_conversion, "_converted", lambda *_: pytest.fail("was not cached"))
    for frames, files in ((2, 4), (3, 5)):  # of two parts: converted and compiled; one part depends on the frames
        clip, sigma = noisy((64, 64), 1, 3 * frames)
        torch.testing.assert_close(
            compile_for_cpu(net, torch.float32)(clip, sigma), net(clip, sigma), rtol=0, atol=1e-4
        )
        assert len(list(cache.iterdir())) == files


def test_what_was_not_used_for_longest_leaves_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_SIZE", 350)
    paths = [cache / f"{name}.openvino" for name in "abcd"]
    for age, path in enumerate(paths[:3]):
        module._write_cached(path, b"x" * 68)  # and 32 bytes of the checksum
        os.utime(path, (age, age))
    assert module._read_cached(paths[0]) == b"x" * 68
    module._write_cached(paths[3], b"x" * 68)
    assert sorted(path.stem for path in cache.iterdir()) == ["a", "c", "d"]


@posix
def test_of_several_that_need_a_network_one_compiles_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Path] = []

    def compile_slowly(*arguments: Any) -> str:
        compiled.append(arguments[-1])
        time.sleep(0.3)
        module._write_cached(arguments[-1], b"network")
        return "compiled"

    monkeypatch.setattr(module, "_compile", compile_slowly)
    monkeypatch.setattr(module, "_import_cached", lambda path, _: module._read_cached(path))
    with ThreadPoolExecutor(4) as several:
        found = [several.submit(module.compile_cached, pytest.fail, "net", "weights", "float32") for _ in range(4)]
    assert sorted(map(str, (one.result() for one in found))) == ["b'network'"] * 3 + ["compiled"]
    assert compiled == list(cache.iterdir())


@torch.no_grad()
def test_no_cache_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "file" / "cache")
    net, (image, sigma) = small_net(), noisy((64, 64))
    torch.testing.assert_close(CompiledNet(net, torch.float32).noise(image, sigma), net.noise(image, sigma))


def test_nobody_is_told_that_it_is_used() -> None:
    program = (
        "import sys, denoise_cli.inference.denoiser as d; d.load_denoiser('mallenet-s', 'cpu');"
        "assert 'openvino' in sys.modules; assert not sys.modules.get('openvino_telemetry')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@torch.no_grad()
def test_without_openvino_pytorch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = noisy((64, 64))
    fast = load_denoiser("mallenet-s", "cpu", "fp32")(image, 0.1)
    monkeypatch.setattr(module, "is_available", lambda: False)
    torch.testing.assert_close(load_denoiser("mallenet-s", "cpu", "fp32")(image, 0.1), fast, rtol=0, atol=1e-5)


class Failing:
    """A compiled network whose first run fails, and all that follow, as OpenVINO's does when memory has run out."""

    def __init__(self) -> None:
        self.has_failed = False

    def create_infer_request(self) -> "Failing":
        return self

    def infer(self, *_: object, **__: object) -> dict[str, Tensor]:
        self.has_failed = True
        raise RuntimeError("[CPU] Convolution node with name 'a' can't alloc")


def test_a_network_that_has_run_out_of_memory_is_loaded_anew(
    filled_cache: Path, compiled_once: tuple[Path, Tensor]
) -> None:
    image, sigma = noisy((64, 64))
    sound = CompiledNet(small_net(), torch.float32)._infer._infer
    failing = Failing()
    loaded = iter([failing, sound._compiled])
    infer = module.Inference(lambda: next(loaded))
    with pytest.raises(RuntimeError) as error:
        infer(image.numpy(), sigma.numpy())
    assert is_out_of_memory(error.value)
    (result,) = infer(image.numpy(), sigma.numpy())
    torch.testing.assert_close(torch.from_numpy(result), compiled_once[1])


@posix
@torch.no_grad()
@pytest.mark.parametrize("trouble", ["FIFO", "another user's", "writable by others", "link", "not OpenVINO's"])
def test_what_others_could_have_written_is_not_trusted(
    filled_cache: Path, compiled_once: tuple[Path, Tensor], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept,) = filled_cache.iterdir()
    if trouble == "FIFO":  # with nobody at its other end
        kept.unlink()
        os.mkfifo(kept)
    elif trouble == "another user's":
        monkeypatch.setattr(os, "geteuid", lambda: kept.stat().st_uid + 1)
    elif trouble == "writable by others":
        filled_cache.chmod(0o777)
        kept.chmod(0o666)
    elif trouble == "link":
        kept.rename(kept.with_suffix(".moved"))
        kept.symlink_to(kept.with_suffix(".moved"))
    else:
        blob = b"from another version"
        kept.write_bytes(hashlib.sha256(blob).digest() + blob)
    compiled = []
    convert = openvino_conversion.convert
    monkeypatch.setattr(openvino_conversion, "convert", lambda *given: compiled.append(1) or convert(*given))
    result = CompiledNet(small_net(), torch.float32).noise(*noisy((64, 64)))
    torch.testing.assert_close(result, compiled_once[1])
    assert compiled


@posix
def test_the_cache_is_the_users_alone(cache: Path) -> None:
    before = os.umask(0)
    try:
        module._write_cached(cache / "a.openvino", b"network")
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o755)  # as older versions made it
    module._write_cached(cache / "b.openvino", b"network")
    assert cache.stat().st_mode & 0o777 == 0o700


@torch.no_grad()
@pytest.mark.parametrize("change", ["features", "limit"])
def test_another_processor_has_networks_of_its_own(
    filled_cache: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if change == "features":
        monkeypatch.setattr(module, "cpu_features", lambda: frozenset({"sse2"}))
    else:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    CompiledNet(small_net(), torch.float32)
    assert len(list(filled_cache.iterdir())) == 2


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_path", refuse)
    assert module.cache_folder() is None
    assert module._cached_path("facts") is None
    module._write_cached(None, b"network")
    assert module._read_cached(None) is None


@torch.no_grad()
def test_what_openvino_cannot_compile_runs_in_pytorch_and_a_note_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = noisy((64, 64))
    fast = load_denoiser("mallenet-s", "cpu", "fp32")
    expected = fast(image, 0.1)
    assert fast.notes == ()

    class Refusing:
        def __getattr__(self, name: str) -> object:
            return getattr(core, name)

        def compile_model(self, *_: object) -> None:
            raise RuntimeError("Exception from core.cpp:1\nno such primitive\n\n")

        def import_model(self, *_: object) -> None:
            raise RuntimeError("from another machine")

    ov, core = module.openvino_core()
    monkeypatch.setattr(module, "openvino_core", lambda: (ov, Refusing()))
    slow = load_denoiser("mallenet-s", "cpu", "fp32")
    torch.testing.assert_close(slow(image, 0.1), expected, rtol=0, atol=1e-5)
    reason = "OpenVINO cannot compile the network (no such primitive): PyTorch runs it, more slowly"
    assert slow.notes == (reason,)
    frames = [image, image, image]
    clip = load_denoiser("mallenet-v", "cpu", "fp32")
    assert clip(frames[0], 0.1, neighbours=frames[1:]).shape == image.shape
    assert clip.notes == (reason,)
    assert clip.steady(image, image, [image]).shape == image.shape


@torch.no_grad()
@pytest.mark.parametrize("trouble", ["run", "load", "processor"])
@pytest.mark.parametrize("model", ["mallenet-s", "mallenet-v", "deformable-2d-quarter"])
def test_whatever_openvino_cannot_do_is_done_in_pytorch_and_a_note_says_so(
    cache: Path, model: str, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Exception from node.cpp:1\nbad combination\n")

    image, _ = noisy((64, 64))
    if trouble == "run":
        # A processor whose instructions a network's layers need, but its compiler does not.
        monkeypatch.setattr(module.Inference, "_ready", lambda _: SimpleNamespace(infer=lambda *_, **__: refuse()))
        what = "run the network (bad combination)"
    elif trouble == "load":
        monkeypatch.setattr(module, "openvino_core", module.openvino_core.__wrapped__)
        monkeypatch.setattr(openvino_conversion, "openvino_core", module.openvino_core)
        monkeypatch.setitem(sys.modules, "openvino", None)
        monkeypatch.setattr(module, "is_available", lambda: True)
        what = "be loaded (import of openvino halted; None in sys.modules)"
    else:
        monkeypatch.setattr(module, "_processor", refuse)
        what = "use this processor (bad combination)"
    denoise = load_denoiser(model, "cpu", "fp32")
    neighbours = [image, image] if model == "mallenet-v" else []
    assert denoise(image, 0.1, neighbours=neighbours).shape == image.shape
    assert denoise.notes == (f"OpenVINO cannot {what}: PyTorch runs it, more slowly",)


@pytest.mark.parametrize("signal_error", [KeyboardInterrupt, SystemExit])
def test_a_signal_while_openvino_is_imported_ends_the_program(
    signal_error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        """Finds OpenVINO, and fails to load it as its native module does when a signal comes."""

        def find_spec(self, name: str, *_: object) -> None:
            if name == "openvino":
                raise ImportError("initialization failed") from signal_error()

    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(signal_error):
        module.openvino_core.__wrapped__()
