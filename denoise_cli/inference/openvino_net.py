"""Networks compiled by OpenVINO for a CPU, where they run in less than half of PyTorch's time.

Compiled networks are kept in the user's cache folder, as compiling takes some seconds, and PyTorch, which takes seconds
to import. One that is there runs without PyTorch.

Legend: B batch, H x W image.
"""

import hashlib
import importlib.util
import io
import os
import platform
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoise_cli.errors import CannotCompile, UnwritableFile, raise_signal_behind
from denoise_cli.files import write_atomically
from denoise_cli.inference.device import Arithmetic, count_threads, cpu_features, is_out_of_memory, refuse_little_room
from denoise_cli.nets.configs import MalleNetVideoConfig
from denoise_cli.temporary_files import one_at_a_time

if TYPE_CHECKING:
    import openvino

# OpenVINO reports every import to its makers through this package, and works without it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

Array = NDArray[np.float32]
Shapes = tuple[tuple[int, ...], ...]
VideoParts = tuple["openvino.Model", "openvino.Model"]

# Part of a compiled network's name in the cache: to be increased when networks are converted or computed differently.
FORMAT = 3
HINTS: dict[Arithmetic, str] = {"float32": "f32", "bfloat16": "bf16"}
O_BINARY = getattr(os, "O_BINARY", 0)  # on Windows
DIGEST_SIZE = 32  # bytes of SHA-256
LENGTH_SIZE = 8  # bytes of a length
CACHE_SIZE = 256 * 2**20  # bytes of compiled networks
PRIVATE = 0o700  # of the cache's folder: whoever can write there decides what the networks compute
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
# By which a user restricts the instructions that OpenVINO compiles for.
ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS", "DNNL_CPU_ISA_HINTS")
# Bytes of addresses, more than the library for the CPU takes at first, with the stack and the heap of a thread.
ROOM = 192 * 2**20
MAX_SHAPES = 8  # for which a network is held; a clip whose frames are cut into tiles has up to four


def is_available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def note_on_fallback(error: CannotCompile) -> str:
    """What the user should hear if PyTorch runs a network instead."""
    return f"{error}: PyTorch runs it, more slowly"


class Inference:
    """Runs a compiled network, in one thread at a time; each result is overwritten by the next.

    Args:
        load: returns the network; called at once, and again after a run that failed, as one that has run out of memory
            leaves OpenVINO's network unusable.
    """

    def __init__(self, load: Callable[[], "openvino.CompiledModel"]) -> None:
        self._load = load
        self._compiled: openvino.CompiledModel | None = None
        self._request: openvino.InferRequest | None = None
        self._ready()

    def __call__(self, *inputs: Array) -> list[Array]:
        """The network's outputs for its inputs, which are contiguous.

        Raises:
            CannotCompile: OpenVINO compiles it, but does not run it, as for some processors.
        """
        request = self._ready()
        try:
            with _refusals("run the network"):
                return list(request.infer(list(inputs), share_inputs=True, share_outputs=True).values())
        except (RuntimeError, MemoryError, CannotCompile):
            self._compiled = self._request = None
            raise

    def release_memory(self) -> None:
        """Free what the layers' outputs are computed in; the next run allocates it again."""
        if self._compiled is not None:
            self._compiled.release_memory()

    def _ready(self) -> "openvino.InferRequest":
        if self._request is None:
            self._compiled = self._load()
            with _refusals("run the network"):
                self._request = self._compiled.create_infer_request()
        return self._request


class InferenceByShape:
    """Runs a network that is compiled for every shape of its inputs, like `Inference`.

    Compiled for one shape, a network of many small layers takes less than two thirds of the time. Compiling takes some
    seconds, which pay off if many inputs have the same shape, as a clip's frames have.

    Args:
        convert: returns the network, if it has to be compiled.
        config: what identifies the network, apart from its weights.
        weights: a checksum of its weights, or of a file that holds them; empty if it has none.
        precision: of the arithmetic, float32 or bfloat16.
    """

    def __init__(
        self, convert: Callable[[], "openvino.Model"], config: object, weights: str, precision: Arithmetic
    ) -> None:
        self._convert = convert
        self._config, self._weights, self._precision = config, weights, precision
        self._compiled: dict[Shapes, Inference] = {}

    def __call__(self, *inputs: Array) -> list[Array]:
        """The network's outputs for its inputs, which are contiguous."""
        shapes = tuple(array.shape for array in inputs)
        if shapes not in self._compiled:
            while len(self._compiled) >= MAX_SHAPES:
                del self._compiled[next(iter(self._compiled))]
            load = partial(compile_cached, self._convert, self._config, self._weights, self._precision, shapes)
            self._compiled[shapes] = Inference(load)
        return self._compiled[shapes](*inputs)

    def drop(self) -> None:
        """Free everything that is compiled; what is run next is compiled again."""
        self._compiled.clear()

    def release_memory(self) -> None:
        """See `Inference`."""
        for inference in self._compiled.values():
            inference.release_memory()


class VideoInference:
    """Runs a compiled `MalleNetVideo` on arrays.

    Args:
        convert: returns the network's parts as OpenVINO models, if they have to be compiled: from the frame, the others
            and the level to the merged frames and their level; and from the merged frames, with the frame itself as
            further channels, and their level to their noise.
        config: of the network.
        weights: a checksum of its weights, or of a file that holds them.
        precision: of the convolutions, float32 or bfloat16.
    """

    def __init__(
        self, convert: Callable[[], VideoParts], config: MalleNetVideoConfig, weights: str, precision: Arithmetic
    ) -> None:
        parts = cache(convert)  # both at once
        self._predicts_level = config.blind
        # In 16 bits, the positions to which motion leads would be too coarse.
        self._merge = InferenceByShape(lambda: parts()[0], (config, "merge"), weights, "float32")
        self._find_noise = InferenceByShape(lambda: parts()[1], (config, "noise"), weights, precision)

    def release_memory(self) -> None:
        """See `Inference`."""
        self._merge.release_memory()
        self._find_noise.release_memory()

    def drop(self) -> None:
        """See `InferenceByShape`."""
        self._merge.drop()
        self._find_noise.drop()

    def __call__(self, frames: Sequence[Array], level: Array) -> Array:
        """The first of the frames, each (B, 3, H, W), denoised, with the level of all of them, (B, 1, H, W)."""
        return np.concatenate(
            [self._denoise([frame[i : i + 1] for frame in frames], level[i : i + 1]) for i in range(len(level))]
        )

    def _denoise(self, frames: Sequence[Array], level: Array) -> Array:
        merged = frame = np.ascontiguousarray(frames[0])
        level = np.ascontiguousarray(level)
        if len(frames) > 1:
            merged, level = self._merge(frame, np.concatenate(frames[1:]), level)
        elif self._predicts_level:  # a frame that has nothing in common with it is not merged and tells nothing
            _, level = self._merge(frame, frame + 1, level)
        (noise,) = self._find_noise(np.concatenate([merged, frame], axis=1), level)
        return merged - noise


def compile_cached(
    convert: Callable[[], "openvino.Model"],
    config: object,
    weights: str,
    precision: Arithmetic,
    shapes: Shapes | None = None,
) -> "openvino.CompiledModel":
    """A compiled network, from the cache if it is there.

    Args:
        convert: returns the network, if it has to be compiled.
        config: what identifies the network, apart from its weights.
        weights: a checksum of its weights, or of a file that holds them; empty if it has none.
        precision: of the arithmetic, float32 or bfloat16.
        shapes: of the inputs; None for any.

    Raises:
        CannotCompile: OpenVINO refuses it, for another reason than a lack of memory.
    """
    ov, _ = openvino_core()
    settings: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": count_threads(),
        "ENABLE_HYPER_THREADING": True,
        "ENABLE_CPU_PINNING": False,  # several processes would all be pinned to the first cores
        "PERFORMANCE_HINT": "LATENCY",
    }
    network = FORMAT, ov.__version__, config, weights
    with _refusals("use this processor"):
        processor = _processor()
    path = _cached_path((network, processor, settings, shapes))
    compiled = _import_cached(path, settings)
    if compiled is not None:
        return compiled
    with _one_at_a_time(path):  # of several processes one compiles, and the others need not even import PyTorch
        compiled = _import_cached(path, settings)
        return _compile(convert, network, shapes, settings, path) if compiled is None else compiled


def _import_cached(path: Path | None, settings: dict[str, object]) -> "openvino.CompiledModel | None":
    """A compiled network from the cache; None if it is not there, or not accepted."""
    cached = _read_cached(path)
    if cached is None:
        return None
    _, core = openvino_core()
    try:
        return core.import_model(io.BytesIO(cached), "CPU", settings)
    except RuntimeError as error:  # whatever OpenVINO dislikes about it, it is compiled anew
        if is_out_of_memory(error):
            raise
        return None


def _compile(
    convert: Callable[[], "openvino.Model"],
    network: object,
    shapes: Shapes | None,
    settings: dict[str, object],
    path: Path | None,
) -> "openvino.CompiledModel":
    """A network that is compiled now, and then cached."""
    ov, core = openvino_core()
    with _refusals("compile the network"):
        if shapes is None:
            converted = convert()
        else:
            converted = _convert_cached(convert, network)
            converted.reshape({place: ov.PartialShape(list(shape)) for place, shape in enumerate(shapes)})
        model = core.compile_model(converted, "CPU", settings)
    with suppress(RuntimeError, MemoryError):  # then it is compiled again next time
        blob = model.export_model()
        _write_cached(path, blob if isinstance(blob, bytes) else blob.getvalue())
    return model


def _processor() -> tuple[object, ...]:
    """What a compiled network depends on: a cache may be shared by machines, or a machine get another processor."""
    _, core = openvino_core()
    named = (core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES"))
    limits = [os.environ.get(name) for name in ISA_VARIABLES]
    return (*named, platform.machine(), sorted(cpu_features()), limits)


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Tell what OpenVINO cannot do from a lack of memory.

    Raises:
        CannotCompile: it cannot do it.
        MemoryError, RuntimeError: memory has run out.
    """
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        raise_signal_behind(error)
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise CannotCompile(f"OpenVINO cannot {what} ({_last_line(error)})") from error


def _last_line(error: Exception) -> str:
    """What OpenVINO says at the end, after the places in its source."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _convert_cached(convert: Callable[[], "openvino.Model"], network: object) -> "openvino.Model":
    """A network from the cache, as OpenVINO's files describe it, if it is there: without PyTorch."""
    ov, core = openvino_core()
    path = _cached_path(network)
    cached = _read_cached(path)
    if cached is not None:
        size = int.from_bytes(cached[:LENGTH_SIZE])
        description, values = cached[LENGTH_SIZE : LENGTH_SIZE + size], cached[LENGTH_SIZE + size :]
        with suppress(RuntimeError):  # then it is converted anew
            return core.read_model(description, values)
    converted = convert()
    with suppress(OSError, RuntimeError), TemporaryDirectory() as folder:  # without room, it is not cached
        written = Path(folder) / "network.xml"
        ov.save_model(converted, written, compress_to_fp16=False)
        description, values = written.read_bytes(), written.with_suffix(".bin").read_bytes()
        _write_cached(path, len(description).to_bytes(LENGTH_SIZE) + description + values)
    return converted


@cache
def openvino_core() -> tuple[Any, Any]:
    """OpenVINO's module and its core.

    Raises:
        CannotCompile: it is installed, but cannot be loaded.
        MemoryError: there is no room for it.
    """
    with _refusals("be loaded"):
        import openvino

        # If its threads get no stack, its library for the CPU never returns.
        refuse_little_room(ROOM)
        return openvino, openvino.Core()


def cache_folder() -> Path | None:
    """The folder in which compiled networks are kept; None for a user without a home."""
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("denoise", appauthor=False)
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # "~" is left as it is where it means nothing


def _cached_path(facts: object) -> Path | None:
    """The file for what these facts determine; None if nothing is cached."""
    folder = cache_folder()
    return None if folder is None else folder / f"{hashlib.sha256(repr(facts).encode()).hexdigest()}.openvino"


def _read_cached(path: Path | None) -> bytes | None:
    """What `_write_cached` has written; None if there is no file, if it is damaged, or if others could have made it."""
    if path is None:
        return None
    try:
        if not _is_ours(path.parent.stat()):
            return None
        # A FIFO would be waited for, and a link may lead to another user's file.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | O_BINARY)
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not (stat.S_ISREG(about.st_mode) and _is_ours(about)):
                return None
            content = file.read()
    except OSError:
        return None
    with suppress(OSError):  # the folder may be read-only
        path.touch()  # used last, removed last
    digest, blob = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def _write_cached(path: Path | None, blob: bytes) -> None:
    """Cache a compiled network; if that fails, it is simply compiled again next time."""
    if path is None:
        return
    with suppress(OSError, UnwritableFile, MemoryError):
        if _make_private(path.parent):
            write_atomically(path, hashlib.sha256(blob).digest() + blob, overwrite=True)
            _trim(path.parent)


def _make_private(folder: Path) -> bool:
    """Make the cache folder, or keep others out of the one that is there; whether it is the user's alone.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    if _belongs_to_us(folder.stat()):
        with suppress(OSError):  # some file systems have no permissions
            folder.chmod(PRIVATE)
    return _is_ours(folder.stat())


@contextmanager
def _one_at_a_time(path: Path | None) -> Iterator[None]:
    """Let one process at a time fill the cache, if that is possible."""
    with ExitStack() as held:
        with suppress(OSError):
            if path is not None and _make_private(path.parent) and os.access(path.parent, os.W_OK):
                held.enter_context(one_at_a_time(path.parent))
        yield


def _belongs_to_us(about: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or about.st_uid == os.geteuid()  # Windows has neither owners nor bits


def _is_ours(about: os.stat_result) -> bool:
    """Whether a file or folder is this user's, and nobody else may write to it."""
    return _belongs_to_us(about) and (os.name != "posix" or not about.st_mode & WRITABLE_BY_OTHERS)


def _trim(folder: Path) -> None:
    """Remove the networks that have not been used for longest, so that the cache does not grow with every size."""
    files = sorted(folder.glob("*.openvino"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path, size in zip(files, accumulate(path.stat().st_size for path in files), strict=True):
        if size > CACHE_SIZE:
            path.unlink(missing_ok=True)
