"""The script that measures on a GPU, as far as it can be tested without one, with the kernels compiled for the CPU."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "docs" / "experiments" / "gpu.py"
CPU = torch.device("cpu")


@pytest.fixture
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kernels_are_at_most_twice_as_far_from_the_truth_as_pytorch(gpu, host_kernels):
    rows = list(gpu.compare_accuracy(CPU, size=16))
    assert len(rows) == 6 * 3
    assert gpu.is_accurate(ratio for *_, ratio in rows)
    assert any(kernel.startswith("malleable_to_grid<Float16") for kernel in host_kernels)


def test_a_kernel_that_is_wrong_is_noticed(gpu, host_kernels, monkeypatch):
    run = gpu.cuda._run

    def wrong(device, file, kernel, blocks, numbers):
        run(device, file, kernel, max(blocks - 1, 0), numbers)  # the last block is missing

    monkeypatch.setattr(gpu.cuda, "_run", wrong)
    assert not any(gpu.is_accurate([ratio]) for *_, ratio in gpu.compare_accuracy(CPU, size=16))


def test_gradients_are_timed_beside_pytorchs(gpu, host_kernels):
    rows = list(gpu.time_gradients(CPU, torch.float32, size=16))
    assert next(name for name, *_ in rows) == "malleable, K = 1"
    assert all(mine > 0 and others > 0 and moved > 0 for _, mine, others, moved in rows)


def test_a_photo_is_timed_in_each_way(gpu):
    rows = list(gpu.time_photo(CPU, "mallenet-m", (64, 128)))
    assert len(rows) == 3
    assert rows[0][-1] == float("inf")
    assert all(dB > 40 for *_, dB in rows)


def test_without_a_gpu_it_says_so():
    if torch.cuda.is_available():
        pytest.skip("PyTorch finds a GPU")
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "nothing to measure: PyTorch finds no GPU\n")
