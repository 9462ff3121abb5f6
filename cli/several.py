"""Several files at once, a file a thread, told of as if they had come one after the other."""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mbz import parallel
from mbz.exact.cores import usable_cores
from mbz.progress import Sum
from mbz.together import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .predictors import Models
    from .ui import Ui

Child: TypeAlias = "tuple[Ui, str]"  # what hears of a file, and its name

MOST = 8  # files at once: each takes the memory of a block and of its mixing coder
SEATS = 8  # small files that share a network; twice as many are not faster
LOOK_AHEAD = 256  # files


class Need(NamedTuple):
    """What a small file needs of a network that others may share.

    Attributes:
        fingerprint: The model.
        name: Its name, if the file says it.
        length: Bytes to go through it, in one lane.
    """

    fingerprint: bytes
    name: str | None
    length: int


def each(
    ui: Ui, names: Sequence[str], models: Models, body: Callable[[Ui, str, Models], None], *,
    apart: bool, need_of: Callable[[str], Need | None] | None = None,
) -> None:  # fmt: skip
    """Calls `body` for each file.

    Args:
        ui: What tells of the files, in their order.
        names: The files.
        models: Shared, or with a predictor of its own for each thread.
        body: Does the work on one file, and reports its errors to the `Ui` it is given.
        apart: Whether the files have nothing to do with each other, such as a common output.
        need_of: What a file needs that others may share with it; None for nothing.
    """
    jobs = min(models.cores(), len(names), MOST) if apart else 1
    if jobs <= 1 and not (apart and need_of):
        for name in names:
            body(ui, name, models)
        return
    mine = threading.local()

    def work(group: Sequence[Child], need: Need | None) -> None:
        if not hasattr(mine, "models"):
            mine.models = models.apart() if jobs > 1 else models
        if need is not None and len(group) > 1:
            _share(group, need, mine.models, body)
        else:
            body(*group[0], mine.models)

    with ui.bar(f"{len(names)} files", None) as report, ThreadPoolExecutor(jobs) as pool:
        counted = Sum(report)
        try:
            for start in range(0, len(names), LOOK_AHEAD):
                window = names[start : start + LOOK_AHEAD]
                children = [(ui.child(counted.part()), name) for name in window]
                futures: dict[Child, Future[None]] = {}
                for group, need in _groups(children, need_of, jobs):
                    futures |= dict.fromkeys(group, pool.submit(work, group, need))
                for child in children:
                    futures[child].result()
                    ui.join(child[0])
        except BaseException:  # Ctrl-C and SIGTERM too
            counted.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _groups(
    children: Sequence[Child], need_of: Callable[[str], Need | None] | None, jobs: int
) -> Iterator[tuple[Sequence[Child], Need | None]]:
    """Files that share a network, of about one length, and each of the others alone."""
    sharing = defaultdict[tuple[bytes, str | None], list[tuple[Need, Child]]](list)
    for child in children:
        need = need_of(child[1]) if need_of else None
        if need is None:
            yield [child], None
        else:
            sharing[need.fingerprint, need.name].append((need, child))
    for files in sharing.values():
        files.sort(key=lambda one: -one[0].length)
        largest = parallel.memory_of(files[0][0].length, mixed=True)
        seats = max(1, min(SEATS, parallel.memory() // jobs // largest))
        count = -(-len(files) // seats // jobs) * jobs  # no thread waits for the others' last ones
        edges = [len(files) * i // count for i in range(count + 1)]
        for start, end in pairwise(edges):
            if start < end:
                yield [child for _, child in files[start:end]], files[start][0]


def _share(
    group: Sequence[Child], need: Need, models: Models, body: Callable[[Ui, str, Models], None]
) -> None:
    """Has the files of a group go through one network."""
    try:
        predictor = models.find(need.fingerprint, need.name)
    except Exception:  # noqa: BLE001 - each file says so by itself
        for ui, name in group:
            body(ui, name, models)
        return
    table = Table(predictor, len(group), models.threads or usable_cores())
    for _ in parallel.sharing(
        group,
        lambda child, seat, _: body(*child, models.seated(need.fingerprint, seat)),
        table,
        Sum(None),
    ):
        pass
