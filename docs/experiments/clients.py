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
from tests.pipeline.raw_matrix import ROWS, Figures, compare, lost_tags, make_files
from tests.pipeline.raw_programs import READERS, RENDERERS

LEFT = 100  # pixels of the scene that are left out: there is nothing to see


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=ROWS)
    parser.add_argument("--keep", type=Path, help="a new folder for the files")
    given = parser.parse_args()
    denoisers = {name: load_denoiser(name, precision="fp32") for name in ("mallenet-raw", "mallenet-linear")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary, "files")
        folder.mkdir()
        files = make_files(given.rows, data.astronaut()[:, LEFT:], folder, denoisers.__getitem__)
        cells: dict[str, dict[str, str]] = {}
        for key, renderer in RENDERERS.items():
            if renderer.is_here:
                own = Path(temporary, key)
                own.mkdir()
                cells[renderer.name] = {row: words(each) for row, each in compare(renderer, files, own).items()}
        for reader in READERS.values():
            if reader.is_here:
                cells[reader.name] = {row: lost or "valid" for row, lost in lost_tags(reader, files).items()}
    print("| file | " + " | ".join(cells) + " |")
    print("|---" * (len(cells) + 1) + "|")
    for row in given.rows:
        print(f"| {row} | " + " | ".join(cells[name][row].replace("|", "/") for name in cells) + " |")


def words(figures: Figures) -> str:
    """A cell of the table."""
    if figures.reason is not None:
        return figures.reason
    if figures.size != figures.expected:
        return "{} x {} instead of {} x {}".format(*figures.size, *figures.expected)
    return f"{figures.shift:.2f}, {figures.before:.1f} → {figures.after:.1f}"


if __name__ == "__main__":
    main()
