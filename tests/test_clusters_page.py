"""The scripts on the page about many machines do together what one command does, and each what the others do not."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

PAGE = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
PHOTOS = 10
PATIENCE = 60.0  # seconds
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a shell")


def example(marker: str) -> str:
    """What stands in the block below a marker."""
    (text,) = re.findall(rf"^<!-- {re.escape(marker)} -->\n```\w+\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder with photos in `photos`, and the program in `bin`."""
    for index in range(PHOTOS):
        place = tmp_path / "photos" / f"day {index % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(80, 120, (48, 48, 3), dtype=np.uint8)).save(place / f"{index}.png")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "denoise").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m denoise_cli "$@"\n')
    (tmp_path / "bin" / "denoise").chmod(0o755)
    return tmp_path


def run(folder: Path, *command: str, **variables: str) -> None:
    done = subprocess.run(command, cwd=folder, env=environment(folder) | variables, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def check_all_are_done(folder: Path) -> None:
    photos = {path.relative_to(folder / "photos") for path in (folder / "photos").rglob("*.png")}
    results = {path.relative_to(folder / "cleaned") for path in (folder / "cleaned").rglob("*.png")}
    assert results == photos
    assert len(results) == PHOTOS


def test_the_tasks_of_the_slurm_array_together_denoise_everything(folder: Path) -> None:
    script = example("file: denoise.sh")
    (folder / "denoise.sh").write_text(script)
    (last,) = re.findall(r"^#SBATCH --array=1-(\d+)$", script, re.MULTILINE)
    assert f'/{last}"' in script
    for index in range(1, int(last) + 1):
        run(folder, "bash", "denoise.sh", SLURM_ARRAY_TASK_ID=str(index))
    check_all_are_done(folder)


def test_the_pods_of_the_indexed_job_together_denoise_everything(folder: Path) -> None:
    job: dict[str, Any] = yaml.safe_load(example("file: denoise.yaml"))
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (mount,), (volume,) = container["volumeMounts"], job["spec"]["template"]["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    assert mount["mountPath"] == container["workingDir"]
    count = job["spec"]["completions"]
    assert f'/{count}"' in container["args"][0]
    for index in range(count):
        run(folder, *container["command"], *container["args"], JOB_COMPLETION_INDEX=str(index))
    check_all_are_done(folder)


def test_gnu_parallel_denoises_everything(folder: Path) -> None:
    command = example("run: parallel")
    if shutil.which("parallel", path=environment(folder)["PATH"]) is None:  # then by the shell, one after another
        template, _, shares = command.removeprefix("parallel ").partition(" ::: ")
        command = f"set -e; for share in {shares.strip()}; do {template.replace('{}', '$share')}; done"
    run(folder, "bash", "-c", command)
    check_all_are_done(folder)


@pytest.mark.skipif(shutil.which("inotifywait") is None, reason="needs inotify-tools")
def test_photos_that_are_put_into_a_watched_folder_are_denoised(folder: Path) -> None:
    photos = list((folder / "photos").rglob("*.png"))
    watching = subprocess.Popen(
        ["bash", "-c", example("run: watch")], cwd=folder, env=environment(folder), start_new_session=True
    )
    try:
        until = time.monotonic() + PATIENCE
        while len(list((folder / "cleaned").glob("*.png"))) < PHOTOS and time.monotonic() < until:
            for path in photos:
                path.rename(folder / "photos" / path.name)
                photos = []
            (folder / "photos" / "another.txt").write_text("and an event, if it has watched only since")
            time.sleep(0.5)
        assert len(list((folder / "cleaned").glob("*.png"))) == PHOTOS
    finally:
        os.killpg(watching.pid, 9)
        watching.wait()


def test_the_other_commands_are_valid_shell() -> None:
    blocks = re.findall(r"^```sh\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        subprocess.run(["bash", "-n", "-c", block], check=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_the_units_are_valid(tmp_path: Path) -> None:
    for name in ("denoise.path", "denoise.service"):
        text = example(f"file: {name}").replace("%h/.venv/bin/denoise", shutil.which("true") or "")
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in ("denoise.path", "denoise.service")]
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *units],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr
