"""Producers and consumers in threads of their own, joined by short queues.

A network has to be run by the thread that loaded it: PyTorch keeps a pool of workers for each thread that computes, and
two pools with more workers than processors slow each other down.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from queue import Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

QUEUE_LENGTH = 4  # items
POLL_INTERVAL = 0.2  # seconds between two checks whether the consumer still wants items


class Stopwatch:
    """Adds up how long it takes to get items, whichever thread gets them.

    Attributes:
        seconds: spent so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items."""
        source = iter(items)
        while True:
            started = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - started
            yield item


def prefetch(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The same items, produced by a thread a few items ahead.

    Items must not be None. An error of the producer is raised here. When the generator is closed, it waits for the
    thread to end.
    """
    queue = _ClosableQueue[Item]()
    thread = threading.Thread(target=queue.fill, args=(items,), daemon=True)
    try:
        thread.start()
        yield from queue.items()
    finally:
        queue.closed.set()
        _wait_for(thread)


def consume_in_thread(work: Callable[[Iterator[Item]], Outcome], items: Iterable[Item]) -> Outcome:
    """What `work` returns for the items, run by a thread a few items behind; the items are produced by the caller.

    Items must not be None. An error of the producer, Ctrl-C included, is raised in `work` before it is raised here.
    """
    queue = _ClosableQueue[Item]()
    outcomes: list[Outcome] = []
    errors: list[BaseException] = []

    def consume() -> None:
        try:
            outcomes.append(work(queue.items()))
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)
        finally:
            queue.closed.set()

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    try:
        queue.fill(items)
    finally:
        _wait_for(thread)
    if errors:
        raise errors[0]
    return outcomes[0]


class _ClosableQueue(Generic[Item]):
    """Hands items from a producing thread to a consuming one.

    Attributes:
        closed: set when nobody consumes any longer.
    """

    def __init__(self) -> None:
        self.closed = threading.Event()
        self._queue: Queue[Item | None] = Queue(QUEUE_LENGTH)
        self._error: BaseException | None = None

    def fill(self, items: Iterable[Item]) -> None:
        """Put all items, then an end mark."""
        try:
            for item in items:
                self._put(item)
                if self.closed.is_set():
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the consumer
            # Do not wait for room: Ctrl-C might strike again. A full queue wakes its consumer anyway.
            self._error = error
            with suppress(Full):
                self._queue.put_nowait(None)

    def items(self) -> Generator[Item, None, None]:
        """Get the items; an error of the producer takes precedence over items that are still queued."""
        while (item := self._queue.get()) is not None and self._error is None:
            yield item
        if self._error is not None:
            raise self._error

    def _put(self, item: Item | None) -> None:
        while not self.closed.is_set():
            with suppress(Full):
                self._queue.put(item, timeout=POLL_INTERVAL)
                return


def _wait_for(thread: threading.Thread) -> None:
    """Join a thread, however often Ctrl-C is pressed meanwhile: it holds what has to be closed next."""
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as pressed:
            interrupt = pressed
    if interrupt is not None:
        raise interrupt
