"""`denoise eval`: how good a model is, on photos whose truth is known."""

import json
from pathlib import Path
from typing import Annotated

import typer

from denoise_cli.cli import console
from denoise_cli.cli.options import Device, Json, Model, Precision, Quiet, Tile, read_number, read_precision, read_tile

Data = Annotated[Path, typer.Option(help="A folder of clean photos.")]
Sigmas = Annotated[list[str], typer.Option("--sigma", help="Noise on the scale of 255; may be given several times.")]
Blind = Annotated[bool, typer.Option("--blind", help="Do not tell the model the noise level: it is estimated.")]


def evaluate(
    data: Data,
    sigma: Sigmas = ["15", "25", "50"],  # noqa: B006 - typer copies it
    model: Model = "mallenet-s",
    blind: Blind = False,
    device: Device = "auto",
    precision: Precision = "auto",
    tile: Tile = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Add Gaussian noise to clean photos, take it away, and report the mean PSNR."""
    levels = [read_number(text, "--sigma", 0, 255) for text in sigma]
    arithmetic, side = read_precision(precision), read_tile(tile)

    import numpy as np

    from denoise_cli.data.photos import find_photos
    from denoise_cli.denoiser import load_denoiser
    from denoise_cli.evaluate import evaluate as score_photos

    photos = find_photos([data])
    denoise = load_denoiser(model, device, arithmetic, side)
    rows = []
    with console.bar(len(photos) * len(levels), quiet) as bar:
        for level in levels:
            scores = []
            for score in score_photos(denoise, photos, level / 255, blind):
                bar.start(score.path.name)
                scores.append((score.noisy, score.denoised))
                bar.finish()
            noisy, denoised = np.mean(scores, axis=0)
            rows.append({"sigma": level, "photos": len(photos), "noisy": noisy, "denoised": denoised})
    for row in rows if as_json else []:
        console.data(json.dumps({"model": model, "data": str(data), "blind": blind} | row))
    if not as_json:
        lines = [[f"{r['sigma']:g}", str(r["photos"]), f"{r['noisy']:.2f}", f"{r['denoised']:.2f}"] for r in rows]
        columns = ["sigma", "photos", "noisy dB", f"{model} dB"]
        console.table(columns, lines, numbers=columns)
