"""`--device`: what is no name is a mistake of the user's, and a GPU that is missing is not."""

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "CPU"])
@pytest.mark.parametrize("command", ["image", "video", "bench", "eval", "train"])
def test_what_is_no_device_is_refused_before_anything_is_looked_at(
    command: str, name: str, cli: Cli, tmp_path: Path
) -> None:
    done = cli(command, *([] if command == "train" else [tmp_path / "missing"]), "--device", name)
    assert (done.code, done.err) == (2, f"denoise: --device {name}: expected auto, cpu, cuda or cuda:N\n")


def test_a_gpu_that_is_missing_is_no_mistake_in_the_command(cli: Cli, photo: Path) -> None:
    done = cli("image", photo, "--device", "cuda:99")
    assert done.code == 1
    assert done.err == "denoise: device 'cuda:99': PyTorch finds no such GPU: use cpu, or run denoise doctor\n"
