"""Workers for tests of the pool, which copy photos instead of denoising them; what is in a file tells them more.

They are imported by the processes of the pool, too.
"""

import os
import signal
import time
from pathlib import Path

from denoise_cli.errors import DenoiseError
from denoise_cli.inference.device import THREAD_VARIABLES
from denoise_cli.inference.tiles import Progress
from denoise_cli.pipeline.jobs import Job
from denoise_cli.pipeline.photo import NoRoom, Result
from denoise_cli.pipeline.worker import Worker
from denoise_cli.temporary_files import folder_beside

PATIENCE = 60  # seconds until a worker gives up to wait for something


class Copying(Worker):
    """Copies, and obeys: "signal N", "exit N", "full", "wait PATTERN" for a file, and "hold", which half writes."""

    def prepare(self) -> None:
        """Nothing has to be loaded."""

    def run(self, job: Job, progress: Progress | None = None) -> Result:
        """Copy a photo."""
        what, _, about = job.source.read_text().partition(" ")
        if what == "signal":
            os.kill(os.getpid(), int(about))
            time.sleep(PATIENCE)
        elif what == "exit":
            os._exit(int(about))
        elif what == "full":
            return NoRoom(str(job.source), str(job.target), "none", error="no room")
        elif what == "wait":
            wait_for(about)
        elif what == "hold":
            with folder_beside(job.target):
                wait_for(str(job.target))
        job.target.write_bytes(job.source.read_bytes())
        return Result(str(job.source), str(job.target), "none", seconds=0.0, notes=(os.environ[THREAD_VARIABLES[0]],))


class Stillborn(Copying):
    """Dies as it starts, after it has left a mark."""

    def prepare(self) -> None:
        """Die."""
        mark()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(PATIENCE)


class Refusing(Copying):
    """Says why it cannot work."""

    def prepare(self) -> None:
        """Refuse."""
        mark()
        raise DenoiseError("weights: damaged")


class Single(Copying):
    """Works only if no other does, or did."""

    def prepare(self) -> None:
        """Refuse, unless it is the first."""
        try:
            Path("taken").touch(exist_ok=False)
        except FileExistsError as error:
            raise DenoiseError("the GPU is in use") from error


def mark() -> None:
    """Count in the working folder how many have started."""
    with Path("marks").open("a") as marks:
        marks.write(".")


def wait_for(pattern: str, count: int = 1) -> None:
    """Wait until files of that pattern are in the working folder.

    Raises:
        TimeoutError: they do not come.
    """
    for _ in range(PATIENCE * 100):
        if len(list(Path().glob(pattern))) >= count:
            return
        time.sleep(0.01)
    raise TimeoutError(pattern)
