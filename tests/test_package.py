"""What is installed is complete: the wheel runs where there is no checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a virtual environment that holds the wheel; the libraries are lent from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    lookup = [scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(lookup, check=True, capture_output=True, text=True).stdout.strip())
    # A folder that is named in a .pth file has its own .pth files ignored: an editable install stays out of sight.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return scripts


def test_a_wheel_denoises_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    source, target = ROOT / "docs" / "images" / "noisy.jpg", tmp_path / "clean.png"
    subprocess.run([installed / "denoise", "image", source, "-o", target], cwd=tmp_path, check=True)
    assert target.stat().st_size > 10_000


def test_a_wheel_knows_its_weights(installed: Path, tmp_path: Path) -> None:
    where = "from denoise_cli.models import manifest; print(manifest.__file__); print(manifest.weights_folder())"
    done = subprocess.run([installed / "python", "-c", where], cwd=tmp_path, check=True, capture_output=True, text=True)
    module, weights = done.stdout.split("\n")[:2]
    assert str(installed.parent) in module
    assert str(installed.parent) in weights
    subprocess.run([installed / "denoise", "models", "verify"], cwd=tmp_path, check=True)


def test_a_wheel_has_the_cards(installed: Path, tmp_path: Path) -> None:
    show = [installed / "denoise", "models", "show", "mallenet-s", "--json"]
    done = subprocess.run(show, cwd=tmp_path, check=True, capture_output=True, text=True)
    card = Path(json.loads(done.stdout)["card"])
    assert card.is_relative_to(installed.parent)
    assert card.is_file()


def test_a_wheel_has_the_kernels(installed: Path, tmp_path: Path) -> None:
    text = "from denoise_cli.ops import cuda; print(cuda.source('malleable') + cuda.source('deformable'))"
    done = subprocess.run([installed / "python", "-c", text], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "__global__ void malleable_planes" in done.stdout
    assert "struct BFloat16" in done.stdout


def test_a_wheel_writes_pages(installed: Path, tmp_path: Path) -> None:
    photo = ROOT / "docs" / "images" / "noisy.jpg"
    subprocess.run([installed / "denoise", "compare", photo, photo], cwd=tmp_path, check=True)
    assert "<dialog" in (tmp_path / "comparison.html").read_text(encoding="utf-8")


def test_an_sdist_holds_what_its_tests_need(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    needed = {
        path.relative_to(ROOT)
        for folder in ("tests", "docs", "denoise_cli", "kernels", "weights", ".github", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in needed if not (unpacked / path).is_file()} == set()
    some = ["tests/test_project_files.py", "tests/test_errors.py", "tests/imaging/test_tiling.py"]
    run = [sys.executable, "-m", "pytest", "-n", "0", *some]
    done = subprocess.run(
        run, cwd=unpacked, env=os.environ | {"PYTHONPATH": str(unpacked)}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_source_tree_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "denoise_cli", "--version"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("denoise ")
