"""`denoise export`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import openvino
import pytest

Cli = Callable[..., Any]


def test_a_model_becomes_an_onnx_file_of_its_name(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("export", "mallenet-r")
    size = (tmp_path / "mallenet-r.onnx").stat().st_size
    assert (done.code, done.out) == (0, "")
    assert done.err == f"mallenet-r -> mallenet-r.onnx ({size / 1e6:.1f} MB)\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mallenet-r.onnx"]
    onnx.checker.check_model(onnx.load(tmp_path / "mallenet-r.onnx"), full_check=True)


def test_the_extension_tells_the_format(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "net.xml"
    done = cli("export", "mallenet-r", "-o", target, "-q", "--json")
    files = [str(tmp_path / "net.bin"), str(target)]
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {"model": "mallenet-r", "format": "openvino", "files": files}
    assert sorted(map(str, tmp_path.iterdir())) == files
    assert len(openvino.Core().read_model(target).inputs) == 2


@pytest.mark.parametrize("there", ["net.bin", "net.xml"])
def test_nothing_is_overwritten_unasked(cli: Cli, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"mine")
    done = cli("export", "deformable-2d-quarter", "-o", tmp_path / "net.xml")
    assert done.code == 1
    assert done.err == f"denoise: {tmp_path / there}: already exists: use --overwrite to replace it\n"
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_files_that_exist_are_replaced_when_asked(cli: Cli, tmp_path: Path) -> None:
    files = [tmp_path / "net.bin", tmp_path / "net.xml"]
    for path in files:
        path.write_bytes(b"mine")
    assert cli("export", "deformable-2d-quarter", "-o", tmp_path / "net.xml", "--overwrite").code == 0
    assert sorted(tmp_path.iterdir()) == files
    assert b"mine" not in [path.read_bytes() for path in files]


def test_a_network_that_a_format_cannot_hold_is_said_to_be_one(cli: Cli, tmp_path: Path) -> None:
    done = cli("export", "deformable-3d-quarter", "-o", tmp_path / "net.onnx")
    assert done.code == 2
    reason = (
        "cannot be exported: its points move between frames, and 3D lookups are not supported: choose another model"
    )
    assert done.err == f"denoise: deformable-3d-quarter: {reason}\n"
    assert list(tmp_path.iterdir()) == []


def test_an_extension_of_another_format_is_refused(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    done = cli("export", "mallenet-r", "-o", target, "--format", "openvino")
    assert done.code == 2
    reason = "has the extension of onnx, not openvino: omit --format, or choose another name"
    assert done.err == f"denoise: {target}: {reason}\n"


def test_a_folder_that_is_not_there_is_named(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "no" / "net.onnx"
    done = cli("export", "mallenet-r", "-o", target)
    assert done.code == 1
    assert done.err == f"denoise: {target}: there is no folder {target.parent}: create it first\n"


def test_without_the_library_a_line_says_how_to_get_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = cli("export", "mallenet-r", "-o", tmp_path / "net.onnx")
    assert done.code == 1
    assert done.err == "denoise: writing .onnx files needs onnx, which is not installed: run  pip install onnx\n"
