"""What `mbz bench` measured: a program's runs on a file, sums over files, and the machine."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import tools
from .measured import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one program did to one file: lengths in bytes, and its runs both ways."""

    file: str
    program: str
    raw: int
    packed: int
    compress: Run
    restore: Run

    @property
    def ratio(self) -> float:
        """How many times smaller the archive is."""
        return self.raw / self.packed

    def row(self) -> list[str | int | float]:
        """The line of the table."""
        runs = (self.compress, self.restore)
        return [
            self.file,
            self.program,
            self.raw,
            self.packed,
            self.ratio,
            8 * self.packed / self.raw,
            *(f"{speed:.{1 if speed >= 10 else 2}f}" for speed in map(self._speed, runs)),
            *(f"{run.memory / 1e6:.0f}" for run in runs),
        ]

    def _speed(self, run: Run) -> float:
        return self.raw / 1e3 / run.seconds

    def as_json(self) -> dict[str, object]:
        """All that is known, for programs."""
        return asdict(self) | {
            "ratio": self.ratio,
            "bpb": 8 * self.packed / self.raw,
            "compress_kb_s": self._speed(self.compress),
            "restore_kb_s": self._speed(self.restore),
        }


def median(runs: list[Run]) -> Run:
    """Medians of the times, and the largest memory."""
    return Run(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.cpu_seconds for run in runs),
        max(run.memory for run in runs),
    )


def totals(results: Sequence[Result]) -> list[Result]:
    """Sums over files, of the programs that did all of them; peaks of memory."""
    names = {result.file for result in results}
    by_program: dict[str, list[Result]] = {}
    for result in results:
        by_program.setdefault(result.program, []).append(result)
    return [
        Result(
            file="total",
            program=program,
            raw=sum(result.raw for result in all_of_it),
            packed=sum(result.packed for result in all_of_it),
            compress=_sum(result.compress for result in all_of_it),
            restore=_sum(result.restore for result in all_of_it),
        )
        for program, all_of_it in by_program.items()
        if len(all_of_it) == len(names)
    ]


def report(
    programs: Sequence[tools.Tool], results: Sequence[Result], runs: int
) -> dict[str, object]:
    """The results with the machine and the versions, for programs."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": _machine(),
        "versions": tools.versions(programs),
        "runs": runs,
        "results": [result.as_json() for result in results],
    }


def _sum(runs: Iterator[Run]) -> Run:
    listed = list(runs)
    return Run(
        sum(run.seconds for run in listed),
        sum(run.cpu_seconds for run in listed),
        max(run.memory for run in listed),
    )


def _machine() -> dict[str, object]:
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = models[0] if models else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
