"""What denoises a run's photos: the models, loaded once, in this process or in one of several."""

from dataclasses import dataclass, field

from denoise_cli.inference.denoiser import Denoiser, load_denoiser
from denoise_cli.inference.device import Precision, limit_threads
from denoise_cli.inference.tiles import Progress
from denoise_cli.io import codecs
from denoise_cli.pipeline import photo
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.model_choice import AUTO
from denoise_cli.pipeline.task import Settings


@dataclass(frozen=True)
class Loading:
    """How models are loaded, as plain data that can be sent to another process.

    Attributes:
        device, precision, tile: as `load_denoiser` takes them.
        threads: how many to compute with; None for all that the process may use.
    """

    device: str = "auto"
    precision: Precision = "auto"
    tile: int | None = None
    threads: int | None = None


@dataclass
class Worker:
    """Denoises one photo after another with models that it loads when they are first needed.

    Attributes:
        loading: how they are loaded.
        settings: how to denoise.
    """

    loading: Loading
    settings: Settings
    _loaded: dict[str, Denoiser] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.loading.threads is not None:
            limit_threads(self.loading.threads)
            codecs.limit_threads(self.loading.threads)

    def prepare(self) -> None:
        """Load the model now if it is known already, so that what is wrong with it does not look like a photo's fault.

        Raises:
            DenoiseError: it cannot be loaded.
        """
        if self.settings.model != AUTO:
            self.load(self.settings.model)

    def load(self, name: str) -> Denoiser:
        """The denoiser of a model, see `load_denoiser`."""
        if name not in self._loaded:
            loading = self.loading
            self._loaded[name] = load_denoiser(name, loading.device, loading.precision, loading.tile)
        return self._loaded[name]

    def run(self, job: Job, progress: Progress | None = None) -> photo.Result:
        """Denoise a photo, see `photo.run`."""
        return photo.run(job, self.load, self.settings, progress)
