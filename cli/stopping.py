"""Ctrl-C and SIGTERM as a request to stop at the next good moment."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Lets the body ask whether it should stop, and stop in its own time.

    Until it first asks, signals do what they did before, for there is nothing to save yet; and so
    does a second Ctrl-C.

    Yields:
        What to ask.
    """
    asked, received = False, False
    before = {int(number): signal.getsignal(number) for number in SIGNALS}

    def receive(number: int, _frame: FrameType | None) -> None:
        nonlocal received
        if not asked or (received and number == signal.SIGINT):
            signal.signal(number, before[number])
            signal.raise_signal(number)
        received = True

    def should_stop() -> bool:
        nonlocal asked
        asked = True
        return received

    for number in SIGNALS:
        signal.signal(number, receive)
    try:
        yield should_stop
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])
