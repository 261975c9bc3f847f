"""`denoise compare`: versions of a photo or a clip side by side, as a page."""

from pathlib import Path
from typing import Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import MaxPixels, Overwrite, Quiet
from denoise_cli.errors import UsageError
from denoise_cli.version import __version__

Versions = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        help="Versions of one photo or of one clip (a sequence: its folder or pattern), the original first.",
    ),
]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="PAGE", help="Page to write: a .html file, or a folder for it.")
]


def compare(
    versions: Versions,
    output: Output = "comparison.html",
    overwrite: Overwrite = False,
    max_pixels: MaxPixels = 200_000_000,
    quiet: Quiet = False,
) -> None:
    """Compare versions of a photo or a clip on a page.

    Shows the places that differ most and that have most detail, at 100 %, with a slider between two versions; and how
    a line of a clip changes over time.
    """
    from denoise_cli.files import check_target
    from denoise_cli.io.page import Entry, Page, page_path
    from denoise_cli.pipeline.comparison import compare_files

    if len(versions) < 2:
        raise UsageError("name two files or more to compare")
    names = tuple(map(str, versions))
    page = page_path(output, "--output")
    check_target(page, overwrite, versions, creates_folder=page != Path(output))  # only one that is named is made
    with Page(page, "Compared", overwrite, embeds=True, others=versions) as shown:
        found = compare_files(versions, max_pixels)
        difference = f"differs from {names[0]} by {{:.2f}} of 255 on average"
        facts = tuple((name, difference.format(change)) for name, change in zip(names[1:], found.changes, strict=True))
        links = tuple(("file", path) for path in versions)
        shown.about = f"denoise {__version__}"
        shown.add(Entry(", ".join(names), "done", "", None, found.notes, facts, {}, links, names, found.views))
    if not quiet:
        console.status("; ".join([f"{', '.join(names)} -> {page}", *found.notes]))
