"""Several files at once, a file a thread, told of as if they had come one after the other."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .predictors import Models
    from .ui import Ui

MOST = 8  # files at once: each takes the memory of a block and of its mixing coder


class Stopped(BaseException):
    """The command ends, and with it the work on each file; nobody is told."""


def each(
    ui: Ui, names: Sequence[str], models: Models, body: Callable[[Ui, str, Models], None], *,
    apart: bool,
) -> None:  # fmt: skip
    """Calls `body` for each file.

    Args:
        ui: What tells of the files, in their order.
        names: The files.
        models: Shared, or with a predictor of its own for each thread.
        body: Does the work on one file, and reports its errors to the `Ui` it is given.
        apart: Whether the files have nothing to do with each other, such as a common output.
    """
    jobs = min(models.cores(), len(names), MOST) if apart else 1
    if jobs <= 1:
        for name in names:
            body(ui, name, models)
        return
    stop = threading.Event()
    mine = threading.local()

    def work(child: Ui, name: str) -> None:
        if not hasattr(mine, "models"):
            mine.models = models.apart()
        body(child, name, mine.models)

    with ui.bar(f"{len(names)} files", None) as report, ThreadPoolExecutor(jobs) as pool:
        try:
            counted = _Sum(report, stop)
            waiting: deque[tuple[Ui, Future[None]]] = deque()
            for name in names:
                child = ui.child(counted.part())
                waiting.append((child, pool.submit(work, child, name)))
                while len(waiting) > 2 * jobs or (waiting and waiting[0][1].done()):
                    _finish(ui, *waiting.popleft())
            while waiting:
                _finish(ui, *waiting.popleft())
        except BaseException:  # Ctrl-C and SIGTERM too
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _finish(ui: Ui, child: Ui, done: Future[None]) -> None:
    done.result()
    ui.join(child)


class _Sum:
    """Adds up the progress of all files, and ends their work when it is to stop."""

    def __init__(self, report: Callable[[int], None] | None, stop: threading.Event) -> None:
        self._report = report
        self._stop = stop
        self._lock = threading.Lock()
        self._done = 0

    def part(self) -> Callable[[int], None]:
        """What to call with the bytes done of one file."""
        before = 0

        def report(done: int) -> None:
            nonlocal before
            if self._stop.is_set():
                raise Stopped
            if self._report is not None:
                with self._lock:
                    self._done += max(done - before, 0)
                    self._report(self._done)
            before = done

        return report
