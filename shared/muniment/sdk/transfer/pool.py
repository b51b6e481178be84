"""Jobs on a few threads: bounded, stopped as one, and the first real failure wins."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from muniment.contracts.errors import Transient

T = TypeVar("T")
_PAUSES: Final = (0.1, 0.4, 1.0, 3.0, 5.0)
Job = Callable[[], T]


def pauses() -> Iterator[float]:
    """The seconds between six tries, ten in all, with jitter, so that many clients do not come back as one."""
    return (pause * random.uniform(0.7, 1.3) for pause in _PAUSES)  # noqa: S311  # reason: jitter is no secret


class Stopped(Exception):
    """The work was called off by a failure elsewhere or by its owner."""


class Stop:
    """A flag that jobs look at between chunks."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Call the work off."""
        self._event.set()

    def check(self) -> None:
        """Raise `Stopped` if the work was called off."""
        if self._event.is_set():
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Wait, or raise `Stopped` as soon as the work is called off."""
        if self._event.wait(seconds):
            raise Stopped


def run_all(jobs: Iterable[Job[T]], *, workers: int, stop: Stop) -> list[T]:
    """The results of all jobs in order; twice `workers` are taken from the iterable ahead of time at most.

    When one fails, or the caller is interrupted, the others are stopped and waited for before it is raised.
    """
    results: list[T] = []
    waiting: deque[Future[T]] = deque()
    failure: BaseException | None = None
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="muniment") as executor:
        try:
            for job in jobs:
                waiting.append(executor.submit(job))
                if len(waiting) >= 2 * workers:
                    results.append(waiting.popleft().result())
            while waiting:
                results.append(waiting.popleft().result())
        except BaseException as error:  # noqa: BLE001  # reason: an interrupt must stop the threads too; raised below
            failure = error
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
    if failure is None:
        return results
    if isinstance(failure, Stopped):  # another job has the reason
        for other in waiting:
            reason = None if other.cancelled() else other.exception()
            if reason is not None and not isinstance(reason, Stopped):
                raise reason
    raise failure


def with_retries(attempt: Job[T], stop: Stop) -> T:
    """The result of an attempt, tried again after a pause while it raises `Transient`."""
    waits = pauses()
    while True:
        try:
            return attempt()
        except Transient:
            pause = next(waits, None)
            if pause is None:
                raise
            stop.sleep(pause)
