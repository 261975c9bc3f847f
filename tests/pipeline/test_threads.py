"""Two threads, one queue: all items, in order, and every error where it can be dealt with."""

import threading
from collections.abc import Iterator

import pytest

from denoise_cli.pipeline.threads import QUEUE_LENGTH, consume_in_thread, prefetch

MANY = range(3 * QUEUE_LENGTH)


def failing(error: BaseException) -> Iterator[int]:
    yield 1
    raise error


def test_prefetching_hands_over_all_in_order() -> None:
    assert list(prefetch(MANY)) == list(MANY)


def test_a_consumer_thread_gets_all_in_order_to_another_thread() -> None:
    def work(items: Iterator[int]) -> tuple[list[int], int]:
        return list(items), threading.get_ident()

    made, thread = consume_in_thread(work, MANY)
    assert made == list(MANY)
    assert thread != threading.get_ident()


def test_the_caller_makes_the_items_in_the_calling_thread() -> None:
    threads = set(consume_in_thread(list, (threading.get_ident() for _ in MANY)))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_fails_while_items_are_made_is_raised_where_they_are_used(error: BaseException) -> None:
    with pytest.raises(type(error)):
        list(prefetch(failing(error)))
    seen = []

    def work(items: Iterator[int]) -> None:
        try:
            list(items)
        except BaseException as raised:
            seen.append(raised)
            raise

    with pytest.raises(type(error)):
        consume_in_thread(work, failing(error))
    assert seen == [error]


def test_work_that_fails_ends_the_making() -> None:
    made = []

    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    def work(items: Iterator[int]) -> None:
        next(items)
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        consume_in_thread(work, endless())
    assert len(made) <= QUEUE_LENGTH + 2


def test_what_is_closed_early_leaves_no_thread() -> None:
    before = threading.active_count()
    items = prefetch(MANY)
    next(items)
    items.close()
    assert threading.active_count() == before
