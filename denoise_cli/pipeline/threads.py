"""Work in threads that hand over what they make.

Networks belong into the thread that has loaded them: PyTorch keeps a crew of helpers for each thread that calculates,
and where two crews are more than the processors, their waiting for work is slow.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from queue import Full, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

QUEUED = 4  # items that wait between two threads
WAIT = 0.2  # seconds between two looks at whether anybody still wants what a thread has made


def ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The same items, made in a thread of their own, a few ahead.

    None of them may be None. An error is raised where the items are used. Closed, it waits until the thread has ended.
    """
    belt = _Belt[Item]()
    thread = threading.Thread(target=belt.fill, args=(items,), daemon=True)
    try:
        thread.start()
        yield from belt.items()
    finally:
        belt.unwanted.set()
        _wait_for(thread)


def behind(work: Callable[[Iterator[Item]], Outcome], items: Iterable[Item]) -> Outcome:
    """What `work` makes of the items, in a thread of its own, a few behind; they are made in the calling one.

    None of them may be None. An error where they are made, Ctrl-C too, is raised in `work` as well, before it is here.
    """
    belt = _Belt[Item]()
    outcomes: list[Outcome] = []
    errors: list[BaseException] = []

    def do() -> None:
        try:
            outcomes.append(work(belt.items()))
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)
        finally:
            belt.unwanted.set()

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    try:
        belt.fill(items)
    finally:
        _wait_for(thread)
    if errors:
        raise errors[0]
    return outcomes[0]


class _Belt(Generic[Item]):
    """Carries items from the thread that makes them to the one that uses them.

    Attributes:
        unwanted: set when nobody uses them any more.
    """

    def __init__(self) -> None:
        self.unwanted = threading.Event()
        self._waiting: Queue[Item | None] = Queue(QUEUED)
        self._error: BaseException | None = None

    def fill(self, items: Iterable[Item]) -> None:
        """Put them on, and at their end a mark."""
        try:
            for item in items:
                self._put(item)
                if self.unwanted.is_set():
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the items are used
            # Without waiting for room, where Ctrl-C might strike once more; a belt that is full wakes its user anyway.
            self._error = error
            with suppress(Full):
                self._waiting.put_nowait(None)

    def items(self) -> Generator[Item, None, None]:
        """Take them off; an error comes before what is waiting."""
        while (item := self._waiting.get()) is not None and self._error is None:
            yield item
        if self._error is not None:
            raise self._error

    def _put(self, item: Item | None) -> None:
        while not self.unwanted.is_set():
            with suppress(Full):
                self._waiting.put(item, timeout=WAIT)
                return


def _wait_for(thread: threading.Thread) -> None:
    """Until a thread has ended, however often Ctrl-C is pressed meanwhile: it holds what is to be closed next."""
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as pressed:
            interrupt = pressed
    if interrupt is not None:
        raise interrupt
