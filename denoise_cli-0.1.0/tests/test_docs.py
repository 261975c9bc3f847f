"""What the pages say about the weights is what the manifest says, and their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path

from denoise_cli.models.manifest import read_manifest

ROOT = Path(__file__).parents[1]
# How the README's table calls a test set of the manifest and a noise level.
MEASURED_ON = {
    "CBSD68 at sigma 25": ("cbsd68", "25"),
    "25 pairs of real photos": ("nam25", "real"),
    "five clips at sigma 25": ("clips", "25"),
    "CBSD68, low sensor noise": ("cbsd68", "low"),
    "five clips, low sensor noise": ("clips", "low"),
    "CBSD68 as RAW, low noise": ("cbsd68-raw", "low"),
    "CBSD68 as X-Trans, low noise": ("cbsd68-xtrans", "low"),
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_every_score_of_a_models_own_set_is_in_its_section() -> None:
    for name, entry in read_manifest().items():
        rows = "".join(re.findall(rf"^\| `{name}` \|.*$", text_of("docs/models.md"), re.MULTILINE))
        own_set = next(iter(entry.scores))
        for level, value in entry.scores[own_set].items():
            assert f" {value:.2f} " in rows, (name, own_set, level)


def test_the_tables_of_scores_have_those_of_the_manifest() -> None:
    scores = run_path(str(ROOT / "docs" / "experiments" / "scores.py"))
    names = scores["scored_models"]()
    assert scores["table"](names) in text_of("docs/models.md")
    for name in names:
        assert scores["table"]([name]) in text_of(f"weights/cards/{name}.md"), name


def test_the_readme_has_a_row_for_each_model_with_its_size_and_a_score_of_the_manifest() -> None:
    rows = re.findall(r"^\| `(.+?)` \| .+ \| (.+) MB \| (.+) dB \| (.+) \|$", text_of("README.md"), re.MULTILINE)
    manifest = read_manifest()
    assert sorted(name for name, *_ in rows) == sorted(manifest)
    for name, size, score, measured_on in rows:
        test_set, level = MEASURED_ON[measured_on]
        assert size == f"{manifest[name].path.stat().st_size / 1e6:.1f}", name
        assert score == f"{manifest[name].scores[test_set][level]:.2f}", name


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


def test_every_guarantee_is_held_by_a_test_that_exists() -> None:
    held = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text_of("docs/guarantees.md"))
    assert len(held) > 20
    for page, test in held:
        assert f"def {test}(" in text_of(page), (page, test)
