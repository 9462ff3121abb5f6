"""Looks at running programs, for tests."""

import contextlib
import os
import pty
import re
import subprocess
from pathlib import Path

from mbz.atomic import PARTIAL


def on_terminal(words, **streams):
    """Runs a program with the streams named in `streams` on a terminal; returns what it shows."""
    terminal, end = pty.openpty()
    with subprocess.Popen(words, **dict.fromkeys(streams, end)) as process:
        os.close(end)
        shown = b""
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
    os.close(terminal)
    return process.returncode, shown


def is_writing(process, folder):
    """Whether a program has opened a new file in a folder, which on Linux has no name yet."""
    if any(re.fullmatch(PARTIAL, path.name) for path in folder.iterdir()):
        return True
    with contextlib.suppress(OSError):  # it has ended, or this is no Linux
        for entry in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()).startswith(f"{folder}/#"):
                    return True
    return False
