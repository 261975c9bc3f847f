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
from tests.pipeline.raw_matrix import ROWS, Figures, compare, make_files
from tests.pipeline.raw_programs import PROGRAMS

LEFT = 100  # pixels of the scene that are left out: there is nothing to see


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=ROWS)
    parser.add_argument("--keep", type=Path, help="a new folder for the files")
    given = parser.parse_args()
    denoisers = {name: load_denoiser(name, precision="fp32") for name in ("mallenet-raw", "mallenet-linear")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary, "files")
        folder.mkdir()
        files = make_files(given.rows, data.astronaut()[:, LEFT:], folder, denoisers.__getitem__)
        here = {name: program for name, program in PROGRAMS.items() if program.is_here}
        figures = {}
        for name, program in here.items():
            own = Path(temporary, name)
            own.mkdir()
            figures[name] = compare(program, files, own)
    print("| file | " + " | ".join(program.name for program in here.values()) + " |")
    print("|---" * (len(here) + 1) + "|")
    for row in given.rows:
        print(f"| {row} | " + " | ".join(words(figures[name][row]) for name in here) + " |")


def words(figures: Figures) -> str:
    """A cell of the table."""
    if figures.reason is not None:
        return figures.reason.replace("|", "/")
    if figures.size != figures.expected:
        return "{} x {} instead of {} x {}".format(*figures.size, *figures.expected)
    return f"{figures.shift:.2f}, {figures.before:.1f} → {figures.after:.1f}"


if __name__ == "__main__":
    main()
