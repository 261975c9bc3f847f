"""`denoise eval`: score denoisers on photos and clips whose clean version is known."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import (
    NAME_OR_FILE,
    Device,
    Json,
    Overwrite,
    Precision,
    Quiet,
    Tile,
    check_frames,
    read_number,
    read_precision,
    read_shot_read,
    read_tile,
)
from denoise_cli.errors import DenoiseError, UsageError

if TYPE_CHECKING:
    from denoise_cli.evaluation.baselines import Denoise
    from denoise_cli.evaluation.samples import Noise, Sample
    from denoise_cli.evaluation.scores import Array, Score
    from denoise_cli.evaluation.vmaf import Vmaf
    from denoise_cli.imaging.noise import ShotRead
    from denoise_cli.inference.device import Precision as PrecisionName
    from denoise_cli.io.grid import Tile as Picture

DEFAULT_LEVELS = (15.0, 25.0, 50.0)  # on the scale of 0 to 255
DEFAULT_FRAMES = 5
UNCHANGED = "as it is"  # in place of a model's name: the clip of a pair itself
# The columns of the table: heading, measure and format.
COLUMNS = {
    "noisy dB": ("noisy", ".2f"),
    "dB": ("denoised", ".2f"),
    "noisy SSIM": ("noisy_ssim", ".4f"),
    "SSIM": ("denoised_ssim", ".4f"),
    "shift": ("shift", ".2f"),
    "flicker": ("flicker", ".2f"),
    "VMAF": ("vmaf", ".2f"),
    "s": ("seconds", ".2f"),
}

Record = dict[str, Any]
Scores = dict[tuple["Noise", str], list["Score"]]  # by noise and name of the denoiser

Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of clean photos; or of pairs, with noisy photos in noisy/ and clean ones with the same names in "
        "clean/.",
    ),
]
Pair = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        metavar="CLIP CLEAN",
        help="Clip to score, noisy or denoised, and its clean version, instead of --data.",
    ),
]
Sigmas = Annotated[
    list[str],
    typer.Option(
        "--sigma",
        metavar="SIGMA",
        help="Standard deviation of white noise to add, on a scale of 0 to 255. Repeatable.",
        show_default="15, 25 and 50, unless --shot-read is given",
    ),
]
ShotReads = Annotated[
    list[str],
    typer.Option(
        "--shot-read",
        metavar="SHOT,READ",
        help="Sensor noise to add in linear light, such as 0.001,0.003. Repeatable.",
    ),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        metavar="MODEL",
        help=f"Model: {NAME_OR_FILE}; or nlm, nlm:H, wavelet or ffmpeg:FILTER for comparison. Repeatable.",
        show_default="mallenet-r for pairs of photos, none for a pair of clips, otherwise mallenet-s",
    ),
]
Kinds = Annotated[
    bool,
    typer.Option(
        "--kinds",
        help="Score on several kinds of pictures, made from the photos or drawn, each also with the noise of simulated "
        "cameras and with none; name the worst.",
    ),
]
Blind = Annotated[bool, typer.Option("--blind", help="Estimate the noise level instead of giving models the true one.")]
Each = Annotated[bool, typer.Option("--each", help="Print the scores of every photo as well.")]
Csv = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="CSV file to write, with the scores of every photo.")
]
Grid = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="PNG file to write, with inputs, outputs, clean photos and errors at 100%."),
]
Profile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="PNG file to write, with the middle row of the first clip's frames over time."),
]
Frames = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of frames used to denoise each frame, as in `denoise video`: odd, from 1 to 9; every folder is "
        "scored as a clip.",
        show_default="5 with a model for clips or --pair; otherwise photos are scored one by one",
    ),
]
VmafOption = Annotated[
    bool, typer.Option("--vmaf", help="Score clips by VMAF as well, which needs an ffmpeg program with libvmaf.")
]


def evaluate(
    data: Data = None,
    pair: Pair = None,
    sigma: Sigmas = [],  # noqa: B006 - typer copies it
    shot_read: ShotReads = [],  # noqa: B006
    model: Models = [],  # noqa: B006
    kinds: Kinds = False,
    blind: Blind = False,
    each: Each = False,
    csv: Csv = None,
    grid: Grid = None,
    profile: Profile = None,
    frames: Frames = None,
    vmaf: VmafOption = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score models on your photos and clips, by PSNR and SSIM.

    The photos are either clean, and noise is added to them, or pairs of a noisy and a clean one. With --pair, a clip is
    compared with its clean version, as it is and as models denoise it.
    """
    levels = [read_number(text, "--sigma", 0, 255, auto=False) for text in sigma]
    sensors = [read_shot_read(text, "--shot-read") for text in shot_read]
    precision_name, tile_side = read_precision(precision), read_tile(tile)
    targets = {
        option: path
        for option, path in {"--csv": csv, "--grid": grid, "--profile": profile}.items()
        if path is not None
    }
    _check_names(targets)

    from denoise_cli.evaluation import report
    from denoise_cli.evaluation.vmaf import Vmaf
    from denoise_cli.files import check_target

    if frames is not None:
        check_frames(frames)
    if pair is not None and (levels or sensors or kinds or data is not None):
        raise UsageError("--pair: has its own noise: drop --data, --sigma, --shot-read and --kinds")
    if pair is not None:
        tests = _find_frames(*pair)
    elif data is not None:
        tests = _find_photos(data, levels, sensors, kinds)
    else:
        raise UsageError("name what to score: --data FOLDER, or --pair CLIP CLEAN")
    names = model or tests.usual_models
    for target in targets.values():
        check_target(target, overwrite, [*tests.files, *map(Path, names)])
    denoisers: dict[str, Denoise] = {} if pair is None else {UNCHANGED: lambda picture, _: picture}
    denoisers |= {name: _load(name, device, precision_name, tile_side) for name in names}
    takes_neighbours = any(getattr(denoise, "takes_neighbours", False) for denoise in denoisers.values())
    if frames is None and (takes_neighbours or pair is not None):
        frames = DEFAULT_FRAMES
    if frames is not None and tests.no_clips is not None:
        raise UsageError(f"{data}: {tests.no_clips}: choose models for photos, and drop --frames")
    if vmaf and frames is None:
        raise UsageError("--vmaf: only for clips: add --frames, or use --pair")
    pictures = _Pictures(tests.photos, tests.noises, grid, profile)
    judge: Vmaf[tuple[Noise, str]] | None = Vmaf(tests.matrix) if vmaf else None
    with judge or nullcontext():
        scores, failed = _score(tests, denoisers, frames, blind, pictures, judge, quiet)
        judged = judge.means() if judge else {}
    singles, means = _records(scores, tests.unit, {**tests.facts, "blind": blind}, judged)
    _print(singles if each else [], means, tests.unit, as_json)
    if kinds and not as_json:
        _print_worst(means)
    if csv and singles:
        report.write_table(csv, singles, overwrite)
    pictures.write(overwrite)
    if failed:
        raise DenoiseError(
            f"{tests.facts['data']}: {len(failed)} of {len(tests.photos)} {tests.unit}s could not be scored"
        )


def _check_names(targets: Mapping[str, Path]) -> None:
    for option, target in targets.items():
        if option != "--csv" and target.suffix.lower() != ".png":
            raise UsageError(f"{option} {target}: expected a name that ends in .png")
    for (option, target), (other_option, other_target) in combinations(targets.items(), 2):
        if target == other_target:
            raise UsageError(f"{option} and {other_option} both name {target}: choose different files")


@dataclass(frozen=True)
class _Tests:
    """What is scored.

    Attributes:
        photos: the noisy photos or frames, or the clean ones to which noise is added.
        noises: each noise to score them with.
        files: that are read.
        facts: for the records.
        usual_models: names of the models if the user gives none.
        unit: what the photos are, in words for the user: "photo" or "frame".
        no_clips: why the photos cannot be the frames of clips; None if they can.
        matrix: H.273's number of the matrix between RGB and luma.
    """

    photos: list[Path]
    noises: "list[Noise]"
    files: list[Path]
    facts: Record
    usual_models: list[str]
    unit: str
    no_clips: str | None
    matrix: int


def _find_photos(data: Path, levels: Sequence[float], sensors: "Sequence[ShotRead]", kinds: bool) -> _Tests:
    """The photos in a folder, with each noise; with `kinds`, on each kind of pictures."""
    from denoise_cli.data.photos import find_pairs, find_photos
    from denoise_cli.evaluation.kinds import KINDS, NoiseOnKind
    from denoise_cli.evaluation.samples import (
        CameraNoise,
        NoNoise,
        RealNoise,
        ShotReadNoise,
        SimulatedNoise,
        WhiteNoise,
    )
    from denoise_cli.imaging.yuv import DEFAULT_MATRIX
    from denoise_cli.pipeline.model_choice import model_for_scores

    pairs = dict(find_pairs(data))
    if pairs and (levels or sensors or kinds):
        raise UsageError(f"{data}: contains pairs, which have real noise: drop --sigma, --shot-read and --kinds")
    photos = list(pairs) or find_photos([data])
    noises: list[Noise] = [RealNoise(pairs)]
    no_clips: str | None = "contains pairs of photos, not clips"
    if not pairs:
        defaults = () if levels or sensors else DEFAULT_LEVELS
        added: list[SimulatedNoise] = [WhiteNoise(level / 255) for level in (*levels, *defaults)]
        added += [ShotReadNoise(sensor.shot, sensor.read) for sensor in sensors]
        added = list(dict.fromkeys(added))
        noises = [*added]
        if kinds:
            noises = [NoiseOnKind(kind, noise) for kind in KINDS for noise in (*added, CameraNoise(), NoNoise())]
        no_clips = "--kinds makes photos, not clips" if kinds else None
    return _Tests(
        photos=photos,
        noises=noises,
        files=[*photos, *pairs.values()],
        facts={"data": str(data)},
        usual_models=[model_for_scores(bool(pairs))],
        unit="photo",
        no_clips=no_clips,
        matrix=DEFAULT_MATRIX,
    )


def _find_frames(clip: Path, clean: Path) -> _Tests:
    """The frames of a clip and of its clean version."""
    from denoise_cli.evaluation.clip_pair import ClipPair

    pair = ClipPair(clip, clean)
    return _Tests(
        photos=pair.frames,
        noises=[pair],
        files=[clip, clean],
        facts={"data": str(clip), "clean": str(clean)},
        usual_models=[],
        unit="frame",
        no_clips=None,
        matrix=pair.matrix,
    )


def _load(name: str, device: str, precision: "PrecisionName", tile_side: int | None) -> "Denoise":
    from denoise_cli.evaluation.baselines import load_baseline
    from denoise_cli.inference.denoiser import load_denoiser
    from denoise_cli.pipeline.model_choice import check_not_for_raw

    if baseline := load_baseline(name):
        return baseline
    check_not_for_raw(name)
    return load_denoiser(name, device, precision, tile_side)


class _Pictures:
    """Collects the rows of the grid and of the profile during scoring."""

    def __init__(
        self, photos: Sequence[Path], noises: "Sequence[Noise]", grid: Path | None, profile: Path | None
    ) -> None:
        from denoise_cli.evaluation import report

        self._grid = grid
        self._profile = profile
        self._in_grid = {photos[index] for index in report.choose_photos(len(photos), len(noises))} if grid else set()
        self._grid_rows: list[list[Picture]] = []
        self._profiles = report.TemporalProfiles(photos[0].parent)

    def add(self, noise: "Noise", sample: "Sample", outputs: "Mapping[str, Array]") -> None:
        from denoise_cli.evaluation import report

        if self._profile:
            self._profiles.add(sample.path, str(noise), sample.noisy, sample.clean, outputs)
        if sample.path in self._in_grid:
            title = f"{sample.path.name}, {noise}"
            self._grid_rows.append(report.compare(title, sample.noisy, sample.clean, outputs))

    def write(self, overwrite: bool) -> None:
        from denoise_cli.io.grid import write_grid

        if self._grid and self._grid_rows:
            write_grid(self._grid, self._grid_rows, overwrite)
        if self._profile and self._profiles.rows:
            write_grid(self._profile, self._profiles.rows, overwrite)


def _score(
    tests: _Tests,
    denoisers: "Mapping[str, Denoise]",
    frames: int | None,
    blind: bool,
    pictures: _Pictures,
    judge: "Vmaf[tuple[Noise, str]] | None",
    quiet: bool,
) -> tuple[Scores, set[Path]]:
    """The scores of all photos, and the photos that could not be scored; `judge` is shown all results, too."""
    from denoise_cli.evaluation.scores import score_all

    photos, noises = tests.photos, tests.noises
    scores: Scores = {pair: [] for pair in product(noises, denoisers)}
    failed: set[Path] = set()
    with console.progress_bar(len(photos) * len(noises), quiet) as bar:

        def leave_out(path: Path, error: DenoiseError) -> None:
            failed.add(path)
            console.error(str(error))
            bar.finish()

        def samples(noise: "Noise") -> "Iterator[Sample]":
            for index, path in enumerate(photos):
                bar.start(path.name)
                if path in failed:
                    bar.finish()
                    continue
                try:
                    yield noise.sample(path, index)
                except DenoiseError as error:
                    leave_out(path, error)

        for noise in noises:
            for sample, results in score_all(denoisers, samples(noise), frames, blind, leave_out):
                bar.finish()
                for name, (score, output) in results.items():
                    scores[noise, name].append(score)
                    if judge is not None:
                        judge.add((noise, name), sample.path.parent, output, sample.clean)
                pictures.add(noise, sample, {name: output for name, (_, output) in results.items()})
    return scores, failed


def _records(
    scores: Scores, unit: str, common: Record, judged: "Mapping[tuple[Noise, str], float]"
) -> tuple[list[Record], list[Record]]:
    """A record for every photo or frame, and one with the mean and with VMAF for every noise and denoiser."""
    from denoise_cli.evaluation.scores import mean

    def record(pair: "tuple[Noise, str]", scored: Record, several: "Sequence[Score]") -> Record:
        noise, name = pair
        return {"model": name} | common | scored | {"noise": str(noise), **noise.facts} | mean(several)

    singles = [record(pair, {unit: str(score.path)}, [score]) for pair, several in scores.items() for score in several]
    means = [
        record(pair, {f"{unit}s": len(several)}, several) | {"vmaf": judged.get(pair)}
        for pair, several in scores.items()
        if several
    ]
    return singles, means


def _print(singles: Sequence[Record], means: Sequence[Record], unit: str, as_json: bool) -> None:
    if as_json:
        for record in [*singles, *means]:
            # JSON has no infinity, the PSNR of a photo without noise.
            finite = {key: None if value == math.inf else value for key, value in record.items()}
            console.measured(finite)
        return
    columns = {
        heading: (measure, form)
        for heading, (measure, form) in COLUMNS.items()
        if any(record[measure] is not None for record in means)
    }
    if singles:
        rows = [[r["noise"], r["model"], Path(r[unit]).name, *_cells(r, columns)] for r in singles]
        console.table(["noise", "model", unit, *columns], rows, numbers=list(columns))
        console.output("")
    if means:
        rows = [[r["noise"], r["model"], str(r[f"{unit}s"]), *_cells(r, columns)] for r in means]
        console.table(["noise", "model", f"{unit}s", *columns], rows, numbers=[f"{unit}s", *columns])


def _print_worst(means: Sequence[Record]) -> None:
    """For each model: where it gains least, where another is furthest ahead, and what it changes most without noise."""
    noisy = [record for record in means if record["noisy"] < math.inf]
    for model in dict.fromkeys(record["model"] for record in means):
        own = [record for record in noisy if record["model"] == model]
        least = min(own, key=lambda record: record["denoised"] - record["noisy"])
        words = [f"gains least on {least['noise']} ({least['denoised'] - least['noisy']:+.2f} dB)"]
        gap, behind, ahead = max(
            (other["denoised"] - record["denoised"], record["noise"], other["model"])
            for record, other in product(own, noisy)
            if record["noise"] == other["noise"]
        )
        if gap > 0:
            words.append(f"is furthest behind on {behind} ({gap:.2f} dB below {ahead})")
        clean = min(
            (record for record in means if record["model"] == model and record["noisy"] == math.inf),
            key=lambda record: record["denoised"],
        )
        words.append(f"changes clean pictures most if {clean['kind']} ({clean['denoised']:.2f} dB)")
        console.output(f"{model} {', '.join(words[:-1])}, and {words[-1]}")


def _cells(record: Record, columns: Mapping[str, tuple[str, str]]) -> list[str]:
    values = [(record.get(measure), form) for measure, form in columns.values()]
    return ["-" if value is None else format(value, form) for value, form in values]
