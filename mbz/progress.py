"""Progress of work that goes on in several threads."""

import threading
from collections.abc import Callable

__all__ = ["Stopped", "Sum"]


class Stopped(BaseException):
    """The work as a whole ends, and with it that of each thread; nobody is told."""


class Sum:
    """Adds up what is done, and ends all work when it is to stop."""

    def __init__(self, report: Callable[[int], object] | None) -> None:
        """Takes what to call with the sum, by one thread at a time, or None."""
        self._report = report
        self._stopped = False
        self._lock = threading.Lock()
        self._done = 0

    def stop(self) -> None:
        """Lets those who report raise `Stopped` from here on."""
        self._stopped = True

    def part(self) -> Callable[[int], None]:
        """What to call with the bytes done of one part."""
        before = 0

        def report(done: int) -> None:
            nonlocal before
            if self._stopped:
                raise Stopped
            if self._report is not None:
                with self._lock:
                    self._done += max(done - before, 0)
                    self._report(self._done)
            before = done

        return report
