"""Work in threads that hand over what they make."""

import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from queue import Full, Queue
from typing import TypeVar

Item = TypeVar("Item")

QUEUED = 4  # items that wait between two threads
WAIT = 0.2  # seconds between two looks at whether anybody still wants what a thread has made


def ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The same items, made in a thread of their own, a few ahead.

    None of them may be None. An error is raised where the items are used. Closed, it waits until the thread has ended.
    """
    waiting: Queue[tuple[Item | None, BaseException | None]] = Queue(QUEUED)
    unwanted = threading.Event()

    def hand_over(item: Item | None, error: BaseException | None = None) -> None:
        while not unwanted.is_set():
            with suppress(Full):
                waiting.put((item, error), timeout=WAIT)
                return

    def make() -> None:
        try:
            for item in items:
                hand_over(item)
                if unwanted.is_set():
                    return
            hand_over(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the items are used
            hand_over(None, error)

    thread = threading.Thread(target=make, daemon=True)
    try:
        thread.start()
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        unwanted.set()
        _wait_for(thread)


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
