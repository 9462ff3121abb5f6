"""What test_parallel.py lets each of two processes do; a program, not a test.

two_processes.py CONFIG.toml FOLDER
"""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from mbz.errors import MbzError
from mbz.training import loop, record, settings
from mbz.training import run as runs
from mbz.training.parallel import joined

path, folder = map(Path, sys.argv[1:])
torch.set_num_threads(1)
loop.SPACING = 1
record.can_draw = lambda: False
config = settings.resolve(settings.load(path), {}, on_cpu=True, shape_of=None)

with joined("cpu") as (team, place):
    runs.joined = lambda _device: nullcontext((team, place))  # one meeting is enough for all runs

    def go(name, *, stop_after=0, **changes):
        """A run in the folder `name`, which the second process alone may ask to stop."""
        changed = replace(config, name="same", train=replace(config.train, **changes))
        where = folder / name
        resume = where.exists()
        team.sums(0)  # wait until both know
        where.mkdir(exist_ok=True)
        questions = iter(range(1, 1000))
        runs.run(
            changed,
            where,
            device="cpu",
            resume=resume,
            should_stop=lambda: next(questions) == stop_after and team.rank == 1,
        )

    go("replicated")
    go("sharded", shard=True)
    go("resumed", stop_after=3)
    go("resumed")
    go("moved", stop_after=4, shard=True)

    def fail(name, body):
        try:
            body()
        except (ValueError, OSError, MbzError) as error:
            (folder / f"{name}{team.rank}").write_text(f"{type(error).__name__}: {error}")

    def lack_a_file():
        with team.together():
            [Path, Path("/nosuch").stat][team.rank]()

    fail("uneven", lambda: go("uneven", batch=6))
    fail("lacking", lack_a_file)
