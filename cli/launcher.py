"""Runs a program and prints its exit code, wall seconds, CPU seconds and peak memory as JSON.

    python -I -S launcher.py OUTPUT MESSAGES PROGRAM ARGUMENT...

It is small because Linux counts what a parent held into the peak of its child; so no peak reads
below some 6 MB. OUTPUT and MESSAGES are files that take what the program prints.
"""

import os
import sys
import time


def launch(output: str, messages: str, words: list[str]) -> None:
    """Runs the program to its end."""
    start = time.perf_counter()
    process = os.fork()
    if not process:
        for number, name in ((1, output), (2, messages)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        try:
            os.execvp(words[0], words)  # noqa: S606 - the caller's words
        finally:
            os._exit(127)
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    code = os.waitstatus_to_exitcode(status)
    figures = [code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit]
    print(figures)  # noqa: T201 - the result


if __name__ == "__main__":
    launch(sys.argv[1], sys.argv[2], sys.argv[3:])
