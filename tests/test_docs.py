"""What the pages say of the weights is what the manifest says."""

import re
from pathlib import Path

import pytest

from denoise_cli.zoo import read_manifest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_scores_are_those_of_the_manifest(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, card in read_manifest().items():
        rows = "".join(re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE))
        for test_set, scores in card.scores.items():
            for level, value in scores.items():
                assert f" {value:.2f} " in rows, (name, test_set, level)


def test_pictures_that_the_pages_show_are_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)
