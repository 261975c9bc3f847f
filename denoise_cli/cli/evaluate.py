"""`denoise eval`: how good models are, on photos whose truth is known."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import (
    Device,
    Json,
    Precision,
    PrecisionName,
    Quiet,
    Tile,
    read_number,
    read_precision,
    read_tile,
)
from denoise_cli.errors import DenoiseError, UsageError

if TYPE_CHECKING:
    from denoise_cli.evaluation.baselines import Denoise
    from denoise_cli.evaluation.samples import Noise, Sample
    from denoise_cli.evaluation.scores import Score

Data = Annotated[Path, typer.Option(help="A folder of clean photos, or one with folders noisy and clean in it.")]
Sigmas = Annotated[
    list[str],
    typer.Option("--sigma", help="Noise on the scale of 255; may be given several times. [default: 15, 25 and 50]"),
]
ShotReads = Annotated[
    list[str],
    typer.Option(
        "--shot-read", metavar="SHOT,READ", help="A sensor's noise in linear light; may be given several times."
    ),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        help="A name from `denoise models`, a .safetensors file, nlm, nlm:H, wavelet or ffmpeg:FILTER; may be given "
        "several times. [default: mallenet-r for pairs, else mallenet-s]",
    ),
]
Blind = Annotated[bool, typer.Option("--blind", help="Do not tell the model the noise level: it is estimated.")]
Each = Annotated[bool, typer.Option("--each", help="Show the figures of every photo, too.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the figures of every photo.")]
Grid = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Write a picture to look at: inputs, outputs, truths, errors.")
]
Profile = Annotated[
    Path | None, typer.Option(metavar="FILE.png", help="Write a picture of one line of the first clip over time.")
]
Frames = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=9,
        help="Score each folder as a clip, of which so many frames are looked at for each one, as in `denoise video`. "
        "[default: 5 with a model for clips, else all are single photos]",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]

Record = dict[str, Any]

USUAL_LEVELS = (15.0, 25.0, 50.0)
USUAL_FRAMES = 5
# Of a table's columns, the measure and how it is written.
FIGURES = {
    "noisy dB": ("noisy", ".2f"),
    "dB": ("denoised", ".2f"),
    "noisy SSIM": ("noisy_ssim", ".4f"),
    "SSIM": ("denoised_ssim", ".4f"),
    "shift": ("shift", ".2f"),
    "flicker": ("flicker", ".2f"),
    "s": ("seconds", ".2f"),
}


def evaluate(
    data: Data,
    sigma: Sigmas = [],  # noqa: B006 - typer copies it
    shot_read: ShotReads = [],  # noqa: B006
    model: Models = [],  # noqa: B006
    blind: Blind = False,
    each: Each = False,
    csv: Csv = None,
    grid: Grid = None,
    profile: Profile = None,
    frames: Frames = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score models by PSNR and SSIM: on clean photos with synthetic noise, or on pairs of a noisy and a clean one."""
    levels = [read_number(text, "--sigma", 0, 255, auto=False) for text in sigma]
    sensors = [_read_sensor(text) for text in shot_read]
    arithmetic, side = read_precision(precision), read_tile(tile)
    targets = {"--csv": csv, "--grid": grid, "--profile": profile}
    _check_names({option: target for option, target in targets.items() if target is not None})

    from denoise_cli.evaluation import report
    from denoise_cli.evaluation.samples import RealNoise
    from denoise_cli.evaluation.scores import score_all
    from denoise_cli.files import check_target
    from denoise_cli.pipeline.model_choice import model_for_scores

    for target in filter(None, targets.values()):
        check_target(target, overwrite)
    photos, noises = _find(data, levels, sensors)
    names = model or [model_for_scores(isinstance(noises[0], RealNoise))]
    denoisers = {name: _load(name, device, arithmetic, side) for name in names}
    if frames is None and any(getattr(denoise, "takes_neighbours", False) for denoise in denoisers.values()):
        frames = USUAL_FRAMES
    if frames is not None and isinstance(noises[0], RealNoise):
        raise UsageError(f"{data}: holds pairs of photos, and no clips: choose models for photos, without --frames")
    scores: dict[tuple[Noise, str], list[Score]] = {pair: [] for pair in product(noises, denoisers)}
    failed: set[Path] = set()
    rows = []
    lines = report.TemporalProfiles(photos[0].parent)
    pictured = {photos[i] for i in report.choose_photos(len(photos), len(noises))} if grid else set()
    with console.bar(len(photos) * len(noises), quiet) as bar:
        read = partial(_read, photos, bar=bar, failed=failed)
        fail = partial(_fail, bar=bar, failed=failed)
        for noise in noises:
            for sample, results in score_all(denoisers, read(noise), frames, blind, fail):
                bar.finish()
                for name, (figures, _) in results.items():
                    scores[noise, name].append(figures)
                outputs = {name: output for name, (_, output) in results.items()}
                if profile:
                    lines.add(sample.path, str(noise), sample.noisy, sample.clean, outputs)
                if sample.path in pictured:
                    rows.append(report.compare(f"{sample.path.name}, {noise}", sample.noisy, sample.clean, outputs))
    shared = {"data": str(data), "blind": blind}
    singles = [
        _record(pair, shared | {"photo": str(one.path)}, [one]) for pair, several in scores.items() for one in several
    ]
    means = [_record(pair, shared | {"photos": len(several)}, several) for pair, several in scores.items() if several]
    _print(singles if each else [], means, as_json)
    if csv and singles:
        report.write_table(csv, singles, overwrite)
    if rows and grid:
        report.write_grid(grid, rows, overwrite)
    if profile and lines.rows:
        report.write_grid(profile, lines.rows, overwrite)
    if failed:
        raise DenoiseError(f"{data}: {len(failed)} of {len(photos)} photos could not be scored")


def _load(name: str, device: str, precision: PrecisionName, tile: int | None) -> "Denoise":
    from denoise_cli.evaluation.baselines import load_baseline
    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.pipeline.model_choice import check_not_for_raw

    if baseline := load_baseline(name):
        return baseline
    check_not_for_raw(name)
    return load_denoiser(name, device, precision, tile)


def _read(photos: Sequence[Path], noise: "Noise", bar: console.Bar, failed: set[Path]) -> "Iterator[Sample]":
    """The photos with a noise, but those that failed."""
    for index, path in enumerate(photos):
        bar.start(path.name)
        if path in failed:
            bar.finish()
            continue
        try:
            yield noise.sample(path, index)
        except DenoiseError as error:
            _fail(path, error, bar, failed)


def _fail(path: Path, error: DenoiseError, bar: console.Bar, failed: set[Path]) -> None:
    failed.add(path)
    console.error(str(error))
    bar.finish()


def _check_names(targets: Mapping[str, Path]) -> None:
    for option, target in targets.items():
        if option != "--csv" and target.suffix.lower() != ".png":
            raise UsageError(f"{option} {target}: expected a name that ends in .png")
    for (option, target), (other, its) in combinations(targets.items(), 2):
        if target == its:
            raise UsageError(f"{option} and {other} are both {target}: name two files")


def _find(
    data: Path, levels: Sequence[float], sensors: Sequence[tuple[float, float]]
) -> tuple[list[Path], "list[Noise]"]:
    """The photos, and the noise that they are scored with, one after another."""
    from denoise_cli.data.photos import find_pairs, find_photos
    from denoise_cli.evaluation.samples import RealNoise, ShotReadNoise, WhiteNoise

    pairs = dict(find_pairs(data))
    if not pairs:
        usual = USUAL_LEVELS if not (levels or sensors) else ()
        noises: list[Noise] = [WhiteNoise(level / 255) for level in (*levels, *usual)]
        noises += [ShotReadNoise(shot, read) for shot, read in sensors]
        return find_photos([data]), list(dict.fromkeys(noises))
    if levels or sensors:
        raise UsageError(f"{data}: holds pairs, whose noise is real: leave --sigma and --shot-read away")
    return list(pairs), [RealNoise(pairs)]


def _record(pair: "tuple[Noise, str]", what: Record, scores: "Sequence[Score]") -> Record:
    from denoise_cli.evaluation.scores import mean

    noise, model = pair
    return {"model": model} | what | {"noise": str(noise)} | noise.facts | mean(scores)


def _print(singles: Sequence[Record], means: Sequence[Record], as_json: bool) -> None:
    columns = {head: figure for head, figure in FIGURES.items() if any(r[figure[0]] is not None for r in means)}
    for record in [*singles, *means] if as_json else []:
        console.data(json.dumps({key: None if value == math.inf else value for key, value in record.items()}))
    if singles and not as_json:
        lines = [[r["noise"], r["model"], Path(r["photo"]).name, *_figures(r, columns)] for r in singles]
        console.table(["noise", "model", "photo", *columns], lines, numbers=list(columns))
        console.data("")
    if means and not as_json:
        lines = [[r["noise"], r["model"], str(r["photos"]), *_figures(r, columns)] for r in means]
        console.table(["noise", "model", "photos", *columns], lines, numbers=["photos", *columns])


def _figures(record: Record, columns: Mapping[str, tuple[str, str]]) -> list[str]:
    known = [(record[measure], form) for measure, form in columns.values()]
    return ["-" if value is None else format(value, form) for value, form in known]


def _read_sensor(text: str) -> tuple[float, float]:
    try:
        shot, read = map(float, text.split(","))
    except ValueError:
        shot = read = math.nan
    if not (0 <= shot <= 1 and 0 <= read <= 1):
        raise UsageError(f"--shot-read {text}: expected two numbers from 0 to 1, like 0.001,0.003")
    return shot, read
