"""What the pages say about the weights is what the manifest says, and their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from denoise_cli.models.manifest import read_manifest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_scores_are_those_of_the_manifest(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, entry in read_manifest().items():
        rows = "".join(re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE))
        for test_set, scores in entry.scores.items():
            for level, value in scores.items():
                assert f" {value:.2f} " in rows, (name, test_set, level)


def test_pictures_and_pages_that_the_pages_link_to_are_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "weights" / "cards").glob("*.md")]
    for page in pages:
        for link, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
            target = page.parent / link if link else page
            assert target.exists(), (page.name, link)
            assert not heading or heading in anchors(target), (page.name, link, heading)


def anchors(page: Path) -> set[str]:
    """What the headings of a page are linked by, as GitHub does it: small letters, hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--quiet",
        "--builder",
        "html",
        ROOT / "docs",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert 'id="denoise_cli.load_denoiser"' in reference
    assert "Noise level" in (tmp_path / "architecture.html").read_text(encoding="utf-8")
