"""A TIFF with several pages: denoised and encoded page by page, so that no more than one is in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from denoise_cli.inference.tiles import Progress
from denoise_cli.io import image
from denoise_cli.io.photo import Photo
from denoise_cli.pipeline.done import Done


def denoise_pages(
    photo: Photo,
    denoise: Callable[[Photo, Progress | None], Done],
    software: Callable[[Done], str],
    progress: Progress | None,
) -> Done:
    """Denoise and encode one page after another.

    Args:
        photo: the first page, which leads to the others.
        denoise: called with each page and what to call with the fraction of it that is done.
        software: the name of the program, for the metadata of a page.
        progress: called with the fraction of all pages that is done.

    Raises:
        ValueError and others: a page cannot be encoded; see `image.encoder_errors`.
        DenoiseError: a page cannot be read or denoised.
    """
    count = 1 + len(photo.others)
    outcomes: list[Done] = []

    def pages() -> Iterator[tuple[Photo, str]]:
        for number, page in enumerate((lambda: photo, *photo.others)):
            part = None if progress is None else partial(_page_progress, progress, number, count)
            done = denoise(page(), part)
            assert isinstance(done.picture, Photo)
            outcomes.append(replace(done, picture=b""))
            yield done.picture, software(done)

    data = image.encode_pages(pages())
    noisiest = max(outcomes, key=lambda done: done.level)
    return Done(data, noisiest.noise, noisiest.noise_from, tuple(_notes_on_pages(outcomes)))


def _page_progress(progress: Progress, number: int, count: int, fraction: float) -> None:
    progress((number + fraction) / count)


def _notes_on_pages(outcomes: Sequence[Done]) -> Iterator[str]:
    """Each note once, with the pages that it is about, unless that is all of them."""
    for note in dict.fromkeys(note for done in outcomes for note in done.notes):
        numbers = [str(number) for number, done in enumerate(outcomes, 1) if note in done.notes]
        whose = "page" if len(numbers) == 1 else "pages"
        yield note if len(numbers) == len(outcomes) else f"{whose} {', '.join(numbers)}: {note}"
