"""Several blocks at a time, each by a thread of its own, and what is made of them in their order.

On a CPU threads share the weights only, so that as many blocks as there are cores are worked on. A
device wants many lanes instead, so that blocks share the network, too (`mbz.together`).
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from queue import SimpleQueue
from typing import Final, NamedTuple, TypeVar

from mbz.exact import Predictor, Resident, Shareable, Wide
from mbz.exact.cores import usable_cores
from mbz.progress import Sum
from mbz.together import Coders, Seat, Table

__all__ = ["Load", "each", "memory", "memory_of", "sharing"]

_UNKNOWN_MEMORY: Final = 1 << 30

Item = TypeVar("Item")
Made = TypeVar("Made")
Report = Callable[[int], object]
Work = Callable[[Item, Predictor | None, Report], Made]  # of an item, by this predictor


class Load(NamedTuple):
    """What a block asks for.

    Attributes:
        length: bytes of its content.
        lanes: lanes of it that the network takes, 0 for none.
        experts: number of the set of experts that takes part (docs/format.md), 0 for none.
    """

    length: int
    lanes: int
    experts: int


def each(
    items: Iterable[Item],
    work: Work[Item, Made],
    load_of: Callable[[Item], Load],
    predictor: Predictor | None,
    *,
    progress: Report | None,
    threads: int | None,
) -> Iterator[Made]:
    """What `work` makes of each item, in their order.

    An error of one, and of `items`, is raised when those before have been given out.

    Args:
        items: blocks in whatever form; taken when they are worked on.
        work: makes something of an item with a predictor of its own, and reports the bytes done.
        load_of: what an item asks for.
        predictor: the network; None for none.
        progress: called with the sum of bytes done, by one thread at a time.
        threads: most threads; None means one for each core that this process may use.
    """
    total = Sum(progress)
    cores = threads or usable_cores()
    if isinstance(predictor, Shareable):
        cores = min(cores, predictor.threads)
    coming = _Coming(items, load_of)
    for first in coming:
        load = load_of(first)
        run = chain([first], coming.like(load))
        coders = _coders(load, predictor)
        batch = list(islice(run, _at_once(load, predictor, cores, coders)))
        # A device mixes one block hardly faster than many; half of the cores are as fast.
        if load.experts and len(batch) <= cores // 2:
            coders = None
        if len(batch) == 1:
            yield work(first, predictor, total.part())
        elif load.lanes and isinstance(predictor, Wide):
            yield from sharing(batch, work, Table(predictor, len(batch), cores, coders), total)
            coders = None  # which may hold much of the device's memory
        else:
            shares: list[Predictor | None] = [predictor] * len(batch)
            if isinstance(predictor, Shareable):
                shares = [predictor.apart(cores // len(batch)) for _ in batch]
            yield from _apart(chain(batch, run), work, shares, total)


def memory() -> int:
    """Bytes of memory that blocks may take together: a quarter of the machine's."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, OSError, ValueError):  # Windows has no such function
        return _UNKNOWN_MEMORY


def memory_of(length: int, *, mixed: bool) -> int:
    """Bytes that coding a block of so many bytes may take, about."""
    # Most of it are the experts' slots, and then the counts that wait for the mixing coder.
    slots = min(length << 12, 1 << 28) if mixed else 0
    return slots + (1 << 26) + (length << 4)


class _Coming(Iterator[Item]):
    """Items to come, of which the next may have been looked at."""

    def __init__(self, items: Iterable[Item], load_of: Callable[[Item], Load]) -> None:
        self._items, self._load_of = iter(items), load_of
        self._ahead: list[Item] = []
        self._error: Exception | None = None

    def __next__(self) -> Item:
        if self._ahead:
            return self._ahead.pop()
        if self._error is not None:
            raise self._error
        return next(self._items)

    def like(self, load: Load) -> Iterator[Item]:
        """The next items as long as they can be worked on with one of this load."""
        while True:
            try:
                item = next(self._items)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - raised once the others are done
                self._error = error
                return
            other = self._load_of(item)
            more = other.length > load.length or other.lanes > load.lanes
            if more or (other.lanes > 0, other.experts) != (load.lanes > 0, load.experts):
                self._ahead.append(item)
                return
            yield item


def _coders(load: Load, predictor: Predictor | None) -> Coders | None:
    """What codes such blocks on the network's device, where it can."""
    if not (load.lanes and isinstance(predictor, Resident)):
        return None
    if load.experts:
        from mbz.mixing import cuda  # noqa: PLC0415 - numba is heavy

        return cuda.mixing_of(predictor, load.experts, load.lanes)
    from mbz.range_cuda import ranges_of  # noqa: PLC0415 - torch is heavy

    return ranges_of(predictor)


def _at_once(
    load: Load, predictor: Predictor | None, cores: int, coders: Coders | None = None
) -> int:
    """How many such blocks to work on at a time."""
    most = cores
    if load.lanes and isinstance(predictor, Wide):
        most = predictor.lanes_at_once // load.lanes
    elif load.lanes and not isinstance(predictor, Shareable):
        return 1
    needs = memory_of(load.length, mixed=load.experts > 0)
    if coders is not None:
        most, needs = min(most, coders.memory // needs), load.length << 5
    return max(1, min(most, memory() // needs))


def _apart(
    items: Iterable[Item], work: Work[Item, Made], shares: list[Predictor | None], total: Sum
) -> Iterator[Made]:
    """Works on as many items at a time as there are predictors."""
    free: SimpleQueue[Predictor | None] = SimpleQueue()
    for share in shares:
        free.put(share)

    def one(item: Item, report: Report) -> Made:
        share = free.get()
        try:
            return work(item, share, report)
        finally:
            free.put(share)

    window: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(len(shares)) as pool:
        try:
            for item in items:
                window.append(pool.submit(one, item, total.part()))
                if len(window) == 2 * len(shares):
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        except BaseException:
            total.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def sharing(
    items: Sequence[Item],
    work: Callable[[Item, Predictor, Report], Made],
    table: Table,
    total: Sum,
) -> Iterator[Made]:
    """What `work` makes of each item from a seat at a table of as many, all at a time.

    An error of one is raised when those before have been given out.
    """

    def one(item: Item, seat: Seat, report: Report) -> Made:
        with seat:
            return work(item, seat, report)

    with ThreadPoolExecutor(len(items)) as pool:
        try:
            made = [
                pool.submit(one, item, seat, total.part())
                for item, seat in zip(items, table.seats, strict=True)
            ]
            table.serve()
            for future in made:
                yield future.result()
        except BaseException:
            total.stop()
            for seat in table.seats:  # also of threads that did not start
                seat.leave()
            table.serve()
            raise
