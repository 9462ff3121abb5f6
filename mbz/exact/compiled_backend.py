"""The exact network on the CPU in compiled kernels, without torch: equal to `reference.py`.

Lanes are dealt to parts that share nothing but the weights, so that threads need not wait for each
other within a step: a step of a part, or many positions at once, is one call of `kernels.score`.
"""

import copy
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbz.compiled import announce
from mbz.config import ModelConfig
from mbz.exact import crew, fixed, kernels
from mbz.exact.cores import usable_cores
from mbz.exact.memory import F32, I64, Job, Tables, held, network_of, part_of, scratch_of
from mbz.exact.powers import packed_powers
from mbz.pointers import address_of
from mbz.records import Held
from mbz.steps import Steps
from mbz.weights import Tensors

ROWS = 64
"""Positions times lanes that a part takes through the network at once: what fits in a cache."""

MOST_THREADS = 16


class CompiledPredictor:
    """The `Predictor` of these weights on the CPU."""

    def __init__(self, config: ModelConfig, tensors: Tensors, threads: int | None = None) -> None:
        """Takes the most threads to use; None means all cores."""
        announce(kernels.score, "the network's kernels")
        self.config, self.threads = config, min(threads or usable_cores(), MOST_THREADS)
        self.most_lanes = config.most_lanes
        # Held by parts of a job: it would take longer to write all down for a byte than the byte.
        self.network: Any = Held(network_of(config, tensors))
        tables = Tables(
            fixed.root_table().copy(),
            packed_powers(fixed.attention_table()),
            packed_powers(fixed.output_table()),
        )
        self.tables: Any = Held(tables)
        self.pool = ThreadPoolExecutor(max(self.threads - 1, 1))

    def apart(self, threads: int = 1) -> "CompiledPredictor":
        """Another predictor of the same weights, on so many threads."""
        other = copy.copy(self)
        other.threads = threads
        return other

    def reset(self, lanes: int) -> None:
        """Starts `lanes` empty streams."""
        count = min(lanes, max(self.threads, -(-lanes // ROWS)))
        edges = [lanes * i // count for i in range(count + 1)]
        sizes = [int(size) for size in np.diff(edges)]
        self.spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
        self.parts = [part_of(self.config, size, max(1, ROWS // size)) for size in sizes]
        self.memory: list[tuple[Any, Any]] = [
            (Held(part), Held(scratch_of(self.config, int(part.most[0]) * size)))
            for part, size in zip(self.parts, sizes, strict=True)
        ]

    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, (B, 256)."""
        lanes = self.spans[-1].stop
        return self.extend(np.empty((lanes, 0), np.uint8), 1)[:, 0]

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane."""
        for span, part in zip(self.spans, self.parts, strict=True):
            reach = part.history.shape[1] - int(part.most[0]) + 1
            part.history[:, : reach - 1] = part.history[:, 1:reach]
            part.history[:, reach - 1] = symbols_B[span]

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Counts before each of S given bytes, (B, S, 256)."""
        return self.extend(held(symbols_BS), symbols_BS.shape[1])

    def extend(self, symbols_BS: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
        """Counts of the next positions, of which all or none of the bytes are known."""
        counts = np.empty((len(symbols_BS), count, 256), np.uint32)
        jobs = self._jobs(symbols_BS, counts, steps=False)
        if self.threads == 1:
            for job in jobs:
                _score(job)
        else:
            waiting = [self.pool.submit(_score, job) for job in jobs[1:]]
            _score(jobs[0])
            for future in waiting:
                future.result()
        return counts.astype(F32)

    @contextmanager
    def stepping(self) -> Iterator[Steps]:
        """Has threads ready for steps from here on, which need no Python between them."""
        lanes = self.spans[-1].stop
        symbols, counts = np.zeros((lanes, 1), np.uint8), np.zeros((lanes, 1, 256), np.uint32)
        jobs = self._jobs(symbols, counts, steps=True)
        addresses = [job.address for job in jobs]
        score = address_of(kernels.score)
        with crew.at_work(score, addresses, self.threads) as (function, argument):
            several = argument if min(self.threads, len(addresses)) > 1 else 0
            yield Steps(np.array([function, argument]), symbols[:, 0], counts[:, 0], several)

    def _jobs(
        self, symbols: NDArray[np.uint8], counts: NDArray[np.uint32], *, steps: bool
    ) -> list[Held]:
        """The jobs of all parts, to be kept while they are worked on."""
        how = np.array([int(steps)], I64)
        jobs = [
            Held(Job(self.network, part, scratch, self.tables, how, symbols[span], counts[span]))
            for span, (part, scratch) in zip(self.spans, self.memory, strict=True)
        ]
        assert all(job.kind == kernels.JOB for job in jobs)
        return jobs


def _score(job: Held) -> None:
    """Works on a job, which lives as long as that takes, even if nobody waits for it any more."""
    kernels.score(job.address)
