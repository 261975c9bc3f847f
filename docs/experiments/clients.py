"""Open denoised digital negatives in other programs, and print as Markdown what each shows of them.

    python docs/experiments/clients.py

It writes every kind of file that the tests write too (`tests/pipeline/negatives.py`), denoises each, and has each
program that is installed render the noisy, the clean and the denoised file. The scene is scikit-image's astronaut.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from skimage import data

sys.path.insert(0, str(Path(__file__).parents[2]))

from denoise_cli.inference.denoiser import load_denoiser
from tests.pipeline.raw_matrix import ROWS, Figures, compare, files_in, lost_tags, make_files
from tests.pipeline.raw_programs import READERS, RENDERERS


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=ROWS)
    parser.add_argument("--keep", type=Path, help="a new folder for the files")
    given = parser.parse_args()
    denoisers = {
        name: load_denoiser(name, precision="fp32") for name in ("mallenet-raw", "mallenet-xtrans", "mallenet-linear")
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary, "files")
        folder.mkdir()
        files = files_in(folder, given.rows)
        make_files(files, data.astronaut(), denoisers.__getitem__)
        cells: dict[str, dict[str, str]] = {}
        for key, renderer in RENDERERS.items():
            if renderer.is_here:
                own = Path(temporary, key)
                own.mkdir()
                cells[renderer.name] = {row: cell(each) for row, each in compare(renderer, files, own).items()}
        for reader in READERS.values():
            if reader.is_here:
                cells[reader.name] = {row: lost or "valid" for row, lost in lost_tags(reader, files).items()}
    print("| file | " + " | ".join(cells) + " |")
    print("|---" * (len(cells) + 1) + "|")
    for row in given.rows:
        print(f"| {row} | " + " | ".join(cells[name][row].replace("|", "/") for name in cells) + " |")


def cell(figures: Figures) -> str:
    """A cell of the table; faults are in bold."""
    return f"**{figures.fault}**" if figures.fault else str(figures)


if __name__ == "__main__":
    main()
