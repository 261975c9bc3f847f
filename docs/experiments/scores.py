"""Score every model with weights on every test set, and write the scores where the project states them.

    python docs/experiments/scores.py measure FOLDER         # FOLDER holds cbsd68, nam25 and clips
    python docs/experiments/scores.py measure FOLDER --model mallenet-s --model mallenet-r
    python docs/experiments/scores.py print                  # the table of docs/models.md, from the manifest

`measure` runs `denoise eval`, records the scores in the manifest of weights, and writes them into the tables of
docs/models.md and of the cards. Those of camera RAW are printed by raw.py and entered by hand.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from denoise_cli.models.manifest import card_of, read_manifest, weights_folder
from denoise_cli.models.registry import MODELS, ModelSpec

MODELS_PAGE = Path(__file__).parents[1] / "models.md"
KINDS_START, KINDS_STEP = 4, 12  # of the photos of cbsd68, every twelfth is scored as other kinds of pictures, too
SHOT_READ = {"low": "0.0025,0.01", "high": "0.0064,0.02"}  # the levels of the deformable kernels' paper
WHITE = {"15": "sigma 15", "25": "sigma 25", "50": "sigma 50"}
KIND_LEVELS = WHITE | {"camera": "of cameras", "none": "none"}
# What the sets of photos and clips are called in the tables, in their order, with the names of their noises.
SETS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "cbsd68": ("CBSD68", WHITE | {"low": "sensor, low", "high": "sensor, high"}),
    "cbsd68-six": ("six photos of CBSD68", KIND_LEVELS),
    "saturated": ("the six, saturated", KIND_LEVELS),
    "night": ("the six, dark", KIND_LEVELS),
    "soft": ("the six, out of focus", KIND_LEVELS),
    "detailed": ("the six, reduced", KIND_LEVELS),
    "vivid": ("the six, reduced, then saturated", KIND_LEVELS),
    "grey": ("the six, black and white", KIND_LEVELS),
    "drawn": ("six drawings", KIND_LEVELS),
    "nam25": ("25 pairs of real photos", {"real": "real"}),
    "clips": ("five clips", {"25": "sigma 25", "50": "sigma 50", "low": "sensor, low", "high": "sensor, high"}),
}
Scores = dict[str, dict[str, float]]  # by set and level


def measure(folder: Path, names: Sequence[str]) -> dict[str, Scores]:
    """The scores of models on the sets that they are for, by the model's name."""
    scores: dict[str, Scores] = {name: {} for name in names}
    for test_set, name, level, value in _measured(folder, {name: MODELS[name] for name in names}):
        scores[name].setdefault(test_set, {})[level] = value
    return scores


def _measured(folder: Path, models: Mapping[str, ModelSpec]) -> Iterator[tuple[str, str, str, float]]:
    photos = [name for name, spec in models.items() if spec.media == "image" and spec.noise != "sensor"]
    sensors = [name for name, spec in models.items() if spec.media == "image" and spec.noise == "sensor"]
    clips = [name for name, spec in models.items() if spec.media == "video" and spec.noise != "sensor"]
    clips_of_sensors = [name for name, spec in models.items() if spec.media == "video" and spec.noise == "sensor"]
    white = [option for level in ("25", "50") for option in ("--sigma", level)]
    sensor = [option for levels in SHOT_READ.values() for option in ("--shot-read", levels)]
    yield from _evaluated("cbsd68", folder / "cbsd68", photos)
    yield from _evaluated("cbsd68", folder / "cbsd68", sensors, *sensor)
    yield from _evaluated("nam25", folder / "nam25", photos)
    yield from _evaluated("clips", folder / "clips", clips, *white)
    yield from _evaluated("clips", folder / "clips", clips_of_sensors, *sensor)
    with tempfile.TemporaryDirectory() as scratch:
        for photo in sorted((folder / "cbsd68").iterdir())[KINDS_START::KINDS_STEP]:
            (Path(scratch) / photo.name).symlink_to(photo.resolve())
        yield from _evaluated("cbsd68-six", Path(scratch), photos, "--kinds")


def _evaluated(test_set: str, data: Path, names: Sequence[str], *options: str) -> Iterator[tuple[str, str, str, float]]:
    if not names:
        return
    models = [option for name in names for option in ("--model", name)]
    command = ["eval", "--data", str(data), *models, *options, "--precision", "fp32", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "denoise_cli", *command], stdout=subprocess.PIPE, text=True, check=True
    )
    for record in map(json.loads, done.stdout.splitlines()):
        kind = record.get("kind", "as they are")
        yield test_set if kind == "as they are" else kind, record["model"], _level(record), round(record["denoised"], 2)


def _level(record: Mapping[str, float | str | None]) -> str:
    if record["sigma"] is not None:
        return f"{record['sigma']:g}"
    if record["shot"] is not None:
        return next(name for name, levels in SHOT_READ.items() if levels == f"{record['shot']:g},{record['read']:g}")
    return str(record["noise"]).rpartition(", ")[2]


def record(scores: Mapping[str, Scores]) -> None:
    """Enter scores into the manifest; those of other sets stay."""
    path = weights_folder() / "manifest.toml"
    text = path.read_text(encoding="utf-8")
    before = read_manifest()
    for name, measured in scores.items():
        merged = {test_set: dict(levels) for test_set, levels in before[name].scores.items()}
        for test_set in SETS:  # new ones after those that are there, of which the first is the model's own
            if test_set in measured:
                merged[test_set] = merged.get(test_set, {}) | measured[test_set]
        lines = [
            f"{test_set} = {{ " + ", ".join(f'"{level}" = {value:.2f}' for level, value in levels.items()) + " }\n"
            for test_set, levels in merged.items()
        ]
        text = _replaced(text, rf"(?<=\[{name}\.scores\]\n)(?:.+\n)*", "".join(lines))
    path.write_text(text, encoding="utf-8")


def table(names: Sequence[str]) -> str:
    """The manifest's scores of models on photos and clips, as Markdown."""
    manifest = read_manifest()
    lines = [
        "| pictures | noise | " + " | ".join(f"`{name}`" for name in names) + " |",
        "|---" * (2 + len(names)) + "|",
    ]
    for test_set, (pictures, levels) in SETS.items():
        for level, noise in levels.items():
            values = [manifest[name].scores.get(test_set, {}).get(level) for name in names]
            if any(value is not None for value in values):
                cells = ["" if value is None else f"{value:.2f}" for value in values]
                lines.append(f"| {pictures} | {noise} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def scored_models() -> list[str]:
    """The models with weights that are not for camera RAW."""
    return [name for name in read_manifest() if MODELS[name].media != "raw"]


def write_pages() -> None:
    """Replace the tables of docs/models.md and of the cards, which follow a line that says so."""
    for page, names in [(MODELS_PAGE, scored_models()), *((card_of(name), [name]) for name in scored_models())]:
        text = page.read_text(encoding="utf-8")
        page.write_text(with_table(text, names), encoding="utf-8")


def with_table(page: str, names: Sequence[str]) -> str:
    """A page whose table of pictures and noise has the manifest's scores."""
    return _replaced(page, r"(?m)^\| pictures \| noise \|.*\n(?:\|.*\n)*", table(names) + "\n")


def _replaced(text: str, pattern: str, new: str) -> str:
    return re.sub(pattern, lambda _: new, text)


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="score models, and write their scores")
    measuring.add_argument("folder", type=Path, help="holds cbsd68, nam25 and clips")
    measuring.add_argument("--model", action="append", choices=scored_models(), help="instead of all; repeatable")
    commands.add_parser("print", help="print the table from the manifest")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        record(measure(arguments.folder, arguments.model or scored_models()))
        write_pages()
    print(table(scored_models()))


if __name__ == "__main__":
    main()
