"""Pipes end to end, as `tar c dir | mbz compress | ssh host 'mbz decompress | tar x'`."""

import os
import subprocess
from pathlib import Path

import pytest

TEXT = Path(__file__).parents[1].joinpath("samples", "text.txt").read_bytes()
MIB = 1 << 20


def piped(*programs, cwd):
    """Runs programs into each other, and returns the peak memory of each in bytes."""
    running = []
    for words in programs:
        before = running[-1].stdout if running else subprocess.DEVNULL
        last = len(running) == len(programs) - 1
        after = subprocess.DEVNULL if last else subprocess.PIPE
        running.append(subprocess.Popen(words, stdin=before, stdout=after, cwd=cwd))
        if before != subprocess.DEVNULL:
            before.close()  # that program alone hears when its reader goes away
    peaks = []
    for process in running:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(used.ru_maxrss << 10)
    return peaks


def through(command, sent, received):
    pack = [*command, "compress", "-0", "-T1", "--block-size", "64K"]
    peaks = piped(
        ["tar", "-c", "-C", sent, "."],
        pack,
        ["cat"],  # in place of ssh
        [*command, "decompress", "-T1"],
        ["tar", "-x", "-C", received],
        cwd=sent.parent,
    )
    return peaks[1], peaks[3]


def test_a_folder_through_pipes(command, tmp_path):
    sent, received = tmp_path / "sent", tmp_path / "received"
    (sent / "sub").mkdir(parents=True)
    received.mkdir()
    (sent / "text").write_bytes(TEXT * 40)
    (sent / "sub" / "empty").touch()
    (sent / "sub" / "zeros").write_bytes(bytes(100_000))
    through(command, sent, received)
    names = sorted(path.relative_to(sent) for path in sent.rglob("*"))
    assert names == sorted(path.relative_to(received) for path in received.rglob("*"))
    for name in names:
        if (sent / name).is_file():
            assert (sent / name).read_bytes() == (received / name).read_bytes()


@pytest.mark.slow
def test_streams_take_no_memory_for_their_length(command, tmp_path):
    peaks = []
    for size in (MIB // 4, 8 * MIB):
        sent, received = tmp_path / f"sent-{size}", tmp_path / f"received-{size}"
        sent.mkdir()
        received.mkdir()
        (sent / "zeros").write_bytes(bytes(size))
        peaks.append(through(command, sent, received))
        assert (received / "zeros").stat().st_size == size
    for short, long in zip(*peaks, strict=True):
        assert long < short + 4 * MIB
