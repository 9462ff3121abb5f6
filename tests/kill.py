"""Kills compress, restore and train at random moments, and looks what is left (`make faults`).

    python tests/kill.py [--count 100] [--seed 0]

COUNT times each, half of them where the output is there before and -f or --resume replaces it, and
half of them after the output has been begun. What bears the output's name must be what it was, or
the complete new one; a file with a temporary name may be left only where PARTIAL says so.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import tomli_w
from conftest import TINY
from programs import is_writing

from mbz import weights
from mbz.atomic import PARTIAL
from mbz.training import checkpoint, record, settings

MBZ = [sys.executable, "-m", "mbz_cli"]
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
CONTENT = b"".join(b"line %d of what is to be kept\n" % number for number in range(8000))


class Job(Protocol):
    """A command that is killed."""

    name: str
    words: Sequence[str | Path]

    def prepare(self) -> None:
        """Makes its folder as it is before the command."""

    def is_begun(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it has begun to write."""

    def look(self) -> str:
        """Says what bears the output's name, and refuses what should not."""


@dataclass
class FileJob:
    """Compress or restore, onto a file that holds `old` if that is not None."""

    name: str
    words: Sequence[str | Path]
    output: Path  # alone in its folder
    old: bytes | None
    new: bytes

    def prepare(self) -> None:
        shutil.rmtree(self.output.parent, ignore_errors=True)
        self.output.parent.mkdir()
        if self.old is not None:
            self.output.write_bytes(self.old)

    def is_begun(self, process: subprocess.Popen[bytes]) -> bool:
        return is_writing(process, self.output.parent)

    def look(self) -> str:
        held = self.output.read_bytes() if self.output.exists() else None
        assert held in (self.old, self.new), f"{self.output}: half a file"
        others = [path.name for path in self.output.parent.iterdir() if path != self.output]
        assert all(re.fullmatch(PARTIAL, name) for name in others), others
        left = ", a temporary file left" if others else ""
        return ("new" if held == self.new else "old") + left


@dataclass
class TrainJob:
    """Train, in a new folder or on in a copy of one that holds a model already."""

    name: str
    words: Sequence[str | Path]
    folder: Path
    finished: Path | None
    new: bytes | None = None  # the model at the end, once it is known

    def prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.finished is not None:
            shutil.copytree(self.finished, self.folder)

    def is_begun(self, process: subprocess.Popen[bytes]) -> bool:
        del process
        before = 0 if self.finished is None else (self.finished / record.LOG).stat().st_size
        log = self.folder / record.LOG
        return log.exists() and log.stat().st_size > before

    def look(self) -> str:
        """Reads all of the run that bears its final name."""
        old = None if self.finished is None else (self.finished / weights.FILE_NAME).read_bytes()
        path = self.folder / weights.FILE_NAME
        held = path.read_bytes() if path.exists() else None
        self.new = self.new or held
        assert held in (old, self.new), f"{path}: half a file"
        if (self.folder / "config.toml").exists():
            settings.load(self.folder / "config.toml")
        made = checkpoint.steps(self.folder)
        for step in made:
            folder = self.folder / checkpoint.FOLDER / f"step-{step}"
            assert checkpoint.read_state(folder)["step"] == step
            assert checkpoint.read_weights(folder)[1]
        record.read(self.folder / record.LOG)
        return f"{'new' if held == self.new else 'old'}, checkpoints: {'some' if made else 'none'}"


def file_jobs(folder: Path, words: str, source: Path, new: bytes) -> list[Job]:
    """A command where its output is absent, and where it is there."""
    output = folder / "out" / "output"
    ending = ["-o", output, source]
    return [
        FileJob(words, [*words.split(), *ending], output, None, new),
        FileJob(f"{words} -f", [*words.split(), "-f", *ending], output, b"precious", new),
    ]


def train_jobs(folder: Path) -> list[Job]:
    """Train, in a new folder, and on in one that holds a model already."""
    data, config, out, finished = (folder / name for name in ("data", "toml", "run", "finished"))
    data.write_bytes(b"some text to learn\n" * 100)
    table = {"batch": 1, "sequence": 64, "warmup": 1, "save_every": 1e-6}  # after each step
    config.write_text(tomli_w.dumps({"model": TINY.to_dict(), "train": table}))
    first = ["train", "--device", "cpu", "--config", config, "--data", data]
    subprocess.run([*MBZ, *first, "--out", finished, "--steps", "3"], check=True, **QUIET)
    on = ["train", "--device", "cpu", "--resume"]
    more = ["--out", out, "--steps", "8"]
    return [
        TrainJob("train", [*first, *more], out, None),
        TrainJob("train --resume", [*on, *more], out, finished),
    ]


def undisturbed(job: Job) -> tuple[float, float]:
    """Seconds of the whole command, and from when it has begun to write."""
    job.prepare()
    start = begun = time.perf_counter()
    with subprocess.Popen([*MBZ, *job.words], **QUIET) as process:
        while process.poll() is None:
            if not job.is_begun(process):
                begun = time.perf_counter()
            time.sleep(0.001)
    assert process.returncode == 0
    assert job.look().startswith("new")
    return time.perf_counter() - start, time.perf_counter() - begun


def killed(job: Job, seconds: float, *, begun: bool) -> str | None:
    """What is left after so many seconds, from the start or from when it has begun to write.

    None if it had ended, with all as it should be.
    """
    job.prepare()
    with subprocess.Popen([*MBZ, *job.words], **QUIET) as process:
        while begun and process.poll() is None and not job.is_begun(process):
            time.sleep(0.001)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
    found = job.look()
    if process.returncode == 0:
        assert found.startswith("new")
        return None
    assert process.returncode == -signal.SIGKILL
    return found


def kill(jobs: list[Job], count: int, chance: random.Random) -> Counter[str]:
    """Kills `count` times, each job alike, and says how often what was left."""
    results: Counter[str] = Counter()
    for job in jobs:
        seconds = undisturbed(job)
        number = 0
        while number < count // len(jobs):
            begun = number % 2 == 1
            found = killed(job, chance.uniform(0, seconds[begun]), begun=begun)
            if found is not None:
                results[f"{job.name}: {found}"] += 1
                number += 1
    return results


def kill_coding(folder: Path, count: int, chance: random.Random) -> Counter[str]:
    """Kills compress and restore, `count` times each, and says how often what was left."""
    content, archive = folder / "content", folder / "kept.mbz"
    content.write_bytes(CONTENT)
    subprocess.run([*MBZ, "compress", "-0", "-o", archive, content], check=True, **QUIET)
    packed = archive.read_bytes()
    results = kill(file_jobs(folder, "compress -0", content, packed), count, chance)
    results += kill(file_jobs(folder, "decompress", archive, CONTENT), count, chance)
    assert (content.read_bytes(), archive.read_bytes()) == (CONTENT, packed)
    return results


def kill_training(folder: Path, count: int, chance: random.Random) -> Counter[str]:
    """Kills train `count` times."""
    return kill(train_jobs(folder), count, chance)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    seeded = random.Random(wanted.seed)
    with tempfile.TemporaryDirectory() as name:
        for what in (kill_coding, kill_training):
            for outcome, times in sorted(what(Path(name), wanted.count, seeded).items()):
                print(f"{times:6} {outcome}")
