"""Steps of the exact network, or of several mixing coders, over threads without Python in between.

A step has parts that do not need each other: lanes of the network, or blocks. Whoever comes first
takes the next part, so that a thread which others keep from running delays nobody. Between steps
the threads look again and again whether there is work, and let others run meanwhile.

Between two steps the thread that calls for them can offer work to be done beside its own: both note
how far they are, in AHEAD and KNOWN, and wait for each other (`reach`). Where the other thread is
not free to take it, it does both.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread

import numpy as np

from mbz.exact.compiled import function, part
from mbz.pointers import add, address_of, call, pause, peek, poke

# Bytes from the start of what threads share; words of their own lines of cache where they change.
TICKET, DONE, STOP, OFFERED, AHEAD, KNOWN = 0, 64, 128, 192, 256, 320
PARTS, REST, WORK, BESIDE, OF_BESIDE, JOBS = 384, 392, 400, 408, 416, 424
PAUSES = 16  # between two looks: about a microsecond
# Looks before others may run, which can take milliseconds: soon where there may be nothing to do
# for long, late where another thread is at work already.
SHORT, LONG = 100, 10_000


@function
def step(crew: int) -> None:
    """All parts of a step, by all threads."""
    poke(crew + DONE, 0)
    poke(crew + TICKET, 0)
    _take(crew)
    parts = peek(crew + PARTS)
    waited = 0
    while peek(crew + DONE) < parts:
        waited = _rest(crew, waited, LONG)


@function
def rounds(first: int, first_of: int, then: int, then_of: int, count: int) -> None:
    """Calls the one function and then the other with its argument, `count` times."""
    for _ in range(count):
        call(first, first_of)
        call(then, then_of)


@function
def serve(crew: int, second: int) -> None:
    """Takes parts of steps until the end.

    second: whether this thread takes what is offered, too. One alone does, so that what it works
    on stays in its caches.
    """
    parts = peek(crew + PARTS)
    waited = 0
    while peek(crew + STOP) == 0:
        if peek(crew + TICKET) < parts:
            _take(crew)
            waited = 0
        elif second and peek(crew + OFFERED) == 0 and taken(crew):
            call(peek(crew + BESIDE), peek(crew + OF_BESIDE))
            waited = 0
        else:
            waited = _rest(crew, waited, SHORT)


@part
def _take(crew: int) -> None:
    parts = peek(crew + PARTS)
    number = add(crew + TICKET, 1)
    while number < parts:
        call(peek(crew + WORK), peek(crew + JOBS + 8 * number))
        add(crew + DONE, 1)
        number = add(crew + TICKET, 1)


@function
def beside(crew: int, work: int, job: int) -> None:
    """Says which function, with which argument, does what will be offered."""
    poke(crew + BESIDE, work)
    poke(crew + OF_BESIDE, job)


@part
def offer(crew: int) -> None:
    """Offers work to be done beside this thread's own, which has not begun: AHEAD is -1."""
    poke(crew + KNOWN, 0)
    poke(crew + AHEAD, -1)
    poke(crew + OFFERED, 0)


@part
def taken(crew: int) -> int:
    """Takes what is offered, if nobody has, and says whether this was the first to."""
    return add(crew + OFFERED, 1) == 0


@part
def reach(crew: int, word: int, least: int) -> None:
    """Waits until the other thread has noted so much."""
    waited = 0
    while peek(crew + word) < least:
        pause(crew)
        waited += 1
        if waited >= LONG:
            waited = _rest(crew, waited, LONG)


@part
def _rest(crew: int, waited: int, patience: int) -> int:
    """Waits a little; lets others run if it has come to this often enough."""
    for _ in range(PAUSES):
        pause(crew)
    rest = peek(crew + REST)
    if rest and waited >= patience:
        call(rest, 0)
    return waited + 1


@contextmanager
def at_work(work: int, jobs: Sequence[int], threads: int) -> Iterator[tuple[int, int]]:
    """Has up to `threads` threads, this one too, ready to do jobs.

    Args:
        work: address of the function that does a job.
        jobs: what it is called with, one after the other.
        threads: most threads.

    Yields:
        What to call for a step, and with which argument.
    """
    shared = np.zeros(JOBS // 8 + len(jobs), np.int64)
    shared[TICKET // 8], shared[OFFERED // 8] = len(jobs), 1
    shared[PARTS // 8 : BESIDE // 8] = len(jobs), _yielding(), work
    shared[JOBS // 8 :] = jobs
    crew = shared.ctypes.data
    count = min(threads, len(jobs)) - 1
    others = [Thread(target=serve, args=(crew, int(n == 0))) for n in range(count)]
    for thread in others:
        thread.start()
    try:
        yield address_of(step), crew
    finally:
        shared[STOP // 8] = 1
        for thread in others:
            thread.join()


def _yielding() -> int:
    """Where the system's function is that lets other threads run; 0 if it is not known."""
    if sys.platform == "win32":
        found = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        found = getattr(ctypes.CDLL(None), "sched_yield", None)
    return ctypes.cast(found, ctypes.c_void_p).value or 0 if found is not None else 0
