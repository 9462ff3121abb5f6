"""Runs a program and says how long it took and how much memory it held at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import launcher

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a program: wall and CPU seconds, peak memory of a process in bytes."""

    seconds: float
    cpu_seconds: float
    memory: int


class RunError(Exception):
    """The program failed; the message is the last line that it printed."""


def measured(words: list[str], folder: Path, output: str | None = None) -> Run:
    """Runs a program to its end.

    Args:
        words: The program and its arguments.
        folder: Where it runs.
        output: File in the folder that takes its standard output; None drops it.

    Raises:
        RunError: If its exit code is not 0.
    """
    messages = "messages.txt"
    files = [output or os.devnull, messages]
    printed = subprocess.run(  # noqa: S603 - a peer, or mbz itself
        [sys.executable, "-I", "-S", launcher.__file__, *files, *words],
        cwd=folder,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    code, *figures = json.loads(printed.stdout)
    if code:
        text = (folder / messages).read_text(encoding="utf-8", errors="replace").strip()
        raise RunError(text.splitlines()[-1] if text else f"exit code {code}")
    return Run(*figures)
