"""`denoise image --engine ray` on real clusters: one of two nodes, and that which the command starts."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or importlib.util.find_spec("ray") is None, reason="needs Ray, on Linux: pip install ray"
)
DENOISE = [sys.executable, "-m", "denoise_cli", "image"]
QUICK = ["--model", "mallenet-s", "--noise", "20", "--precision", "fp32", "--device", "cpu"]
STARTED = "Ray runtime started"
PATIENCE = 120.0  # seconds
TRIES = 3  # of starting Ray, which gives up on a busy machine
DENOISING = "ray::_Process.run"  # how Ray calls a process while it does so


class Node:
    """A Ray node on this machine, and the processes that belong to it."""

    def __init__(self, *options: object, log: Path) -> None:
        command = [Path(sys.executable).with_name("ray"), "start", *options, "--block", "--num-cpus=1"]
        for _ in range(TRIES):
            with log.open("w") as out:
                self.process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=subprocess.STDOUT)
            if self._has_started(log):
                return
            self.kill()
        pytest.skip(f"Ray does not start in time here: {log.read_text()[-300:]}")

    def _has_started(self, log: Path) -> bool:
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            if STARTED in log.read_text():
                return True
            time.sleep(0.1)
        return False

    def kill(self) -> None:
        """As if the machine had lost its power."""
        for one in family(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.process.wait()


def family(process: int) -> list[int]:
    """A process and all that it has started."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # of a process that has just ended
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[str, Node, Node]]:
    """The address of a cluster, and its two nodes."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    # Names of sockets are limited to 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        quiet = ("--disable-usage-stats", "--include-dashboard=false")
        head = Node("--head", f"--port={port}", f"--temp-dir={folder}", *quiet, log=tmp_path / "head.log")
        other = None
        try:
            other = Node(f"--address=127.0.0.1:{port}", "--disable-usage-stats", log=tmp_path / "other.log")
            yield f"127.0.0.1:{port}", head, other
        finally:
            for node in (other, head):
                if node is not None:
                    node.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with noisy photos in `in`, the first of them large, and what the local run makes of them in `local`."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        side = 900 if index == 0 else 160
        noisy = 120 + 40 * np.sin(np.arange(side) / 9)[:, None, None] + rng.normal(0, 20, (side, side, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "in" / f"{index:02}.jpg")
    subprocess.run([*DENOISE, "in", "-o", "local/", *QUICK, "-q"], cwd=tmp_path, check=True)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Files by their names; not those that killed processes have left, which a later run removes."""
    return {path.name: path.read_bytes() for path in folder.glob("*.jpg")}


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def until_denoising(node: "subprocess.Popen[Any]", run: "subprocess.Popen[str]") -> int:
    """Wait until a photo is denoised on a node; returns the process, which is stopped while it does so."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert run.poll() is None, "the run has ended before"
        for process in family(node.pid):
            if title(process).startswith(DENOISING):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGSTOP)
                    if title(process).startswith(DENOISING):
                        return process
                    os.kill(process, signal.SIGCONT)
        time.sleep(0.005)
    pytest.fail("no photo is denoised there")


def started(command: list[Any], folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([*DENOISE, *command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_nodes_do_what_one_machine_does_and_a_killed_one_costs_no_photo(
    folder: Path, nodes: tuple[str, Node, Node]
) -> None:
    address, _, other = nodes
    expected = contents(folder / "local")
    for target in ("undisturbed", "disturbed"):
        command = ["in", "-o", f"{target}/", *QUICK, "--engine", "ray", "--address", address, "--json"]
        with started(command, folder) as run:
            if target == "disturbed":
                until_denoising(other.process, run)
                other.kill()
            out, err = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, err
        *photos, total = records(out)
        assert [record["source"] for record in photos] == [f"in/{name}" for name in sorted(expected)]
        assert (total["done"], total["failed"]) == (len(expected), 0)
        assert contents(folder / target) == expected
        assert len(err.splitlines()) == len(expected) + 1  # and nothing of Ray's


@pytest.mark.exhaustive
def test_a_cluster_without_its_head_ends_with_every_photo_named_once(
    folder: Path, nodes: tuple[str, Node, Node]
) -> None:
    address, head, other = nodes
    command = ["in", "-o", "out/", *QUICK, "--engine", "ray", "--address", address, "--json"]
    with started(command, folder) as run:
        until_denoising(other.process, run)
        head.kill()
        out, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, err
    *photos, total = records(out)
    assert [record["source"] for record in photos] == [f"in/{index:02}.jpg" for index in range(24)]
    assert total["done"] + total["failed"] == len(photos)
    assert all(failure["error"].endswith("does not answer any longer") for failure in total["failures"])


def test_a_photo_whose_process_is_killed_twice_is_named_and_nothing_of_the_cluster_is_left(folder: Path) -> None:
    expected = contents(folder / "local")
    with started(["in", "-o", "out/", *QUICK, "--engine", "ray", "--json"], folder) as run:
        for _ in range(2):  # the first photo is large, and the first to be tried again
            killed = until_denoising(run, run)
            os.kill(killed, signal.SIGKILL)
            while title(killed):  # for a moment it would still be found as one that denoises, and be killed again
                time.sleep(0.005)
        processes = family(run.pid)
        out, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, err
    *photos, total = records(out)
    assert [record["source"] for record in photos] == [f"in/{name}" for name in sorted(expected)]
    named = "in/00.jpg: the process that denoised it ended unexpectedly, 2 times (ActorDiedError)"
    assert total["failures"] == [{"source": "in/00.jpg", "error": named}]
    del expected["00.jpg"]
    assert contents(folder / "out") == expected
    assert err.splitlines()[0] == f"denoise: {named}"
    assert len(err.splitlines()) == len(expected) + 3  # and nothing of Ray's
    assert not [title(one) for one in processes if title(one)]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.exhaustive)]
)
def test_an_interrupted_run_stops_its_cluster_and_leaves_no_part_of_a_file(
    folder: Path, number: signal.Signals, code: int
) -> None:
    with started(["in", "-o", "out/", *QUICK, "--engine", "ray"], folder) as run:
        os.kill(until_denoising(run, run), signal.SIGCONT)
        processes = family(run.pid)
        run.send_signal(number)
        _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == code, err
    expected = contents(folder / "local")
    for path in (folder / "out").glob("*"):
        assert path.read_bytes() == expected[path.name]
    assert not [title(one) for one in processes if title(one)]
