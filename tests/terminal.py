"""A program's view of a terminal, for tests."""

import os
import pty
import subprocess


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
