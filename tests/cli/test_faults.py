"""Full disks, folders that cannot be written, inputs that vanish, and readers that go away.

Each is one sentence and exit code 1, and leaves no part of a file.
"""

import os
import random
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from programs import is_writing

NOISE = random.Random(0).randbytes(200_000)


@pytest.fixture
def files(tmp_path, mbz):
    """A file that cannot be compressed, and its archive."""
    path = tmp_path / "noise"
    path.write_bytes(NOISE)
    assert mbz("compress", "-0", path).exit_code == 0
    return path, tmp_path / "noise.mbz"


@pytest.fixture
def mounted(tmp_path):
    """Mounts a disk in memory, of 64 KiB, where that is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with ExitStack() as ending:

        def mount(options):
            words = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
            try:
                done = subprocess.run(words, capture_output=True, check=False).returncode == 0
            except FileNotFoundError:
                done = False
            if not done:
                pytest.skip("nothing can be mounted here")
            ending.callback(subprocess.run, ["umount", folder], check=True)
            return folder

        yield mount


def failure(words, **options):
    """What a program says that fails, without the prefix."""
    result = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False, **options)
    assert result.returncode == 1
    assert result.stderr.startswith("mbz: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("mbz: ").rstrip("\n")


@pytest.mark.parametrize("options", ["size=64k", "ro"])
def test_a_disk_that_takes_no_file(command, files, mounted, options):
    folder = mounted(options)
    does, why = {
        "size=64k": ("write", "No space left on device"),
        "ro": ("create", "Read-only file system"),
    }[options]
    for word, source in zip(("compress", "decompress"), files, strict=True):
        out = folder / "out"
        words = [*command, word, "-o", out, source]
        assert failure(words) == f"{source}: cannot {does} {out} ({why})"
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [("size=64k", "write {} (No space left on device)"), ("ro", "create {} (Read-only")],
)
def test_a_disk_that_takes_no_model(command, files, mounted, options, says):
    out = mounted(options) / "run"
    words = [*command, "train", "--data", files[0], "--out", out, "--steps", "1", "--device", "cpu"]
    said = failure([*words, "--batch", "1", "--sequence", "64"])
    assert said.startswith(f"cannot {says.format(out)}")
    assert not out.exists()


@pytest.mark.parametrize("words", [["compress", "-0", "-c"], ["decompress", "-c"], ["list"]])
def test_a_full_standard_output(command, files, words):
    with Path("/dev/full").open("wb") as full:
        said = failure([*command, *words, files[words[0] != "compress"]], stdout=full)
    assert said.endswith("cannot write standard output (No space left on device)")
    if "-c" in words:
        said = failure([*command, *words[:-1], "-o", "/dev/full", files[words[0] != "compress"]])
        assert said.endswith("cannot write /dev/full (No space left on device)")


def test_an_input_that_shrinks(command, tmp_path, wait_for):
    path, folder = tmp_path / "shrinks", tmp_path / "out"
    path.write_bytes(b"one line and another one\n" * 80_000)
    folder.mkdir()
    words = [*command, "compress", "-0", "--block-size", "16K", "-o", folder / "out", path]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process, ExitStack() as end:
        end.callback(process.kill)
        wait_for(lambda: is_writing(process, folder))
        os.truncate(path, 100)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "it changed while being read" in said
    assert said.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_an_input_that_is_removed_is_still_read(command, tmp_path, wait_for):
    """Removing a file takes its name only, so that what was opened comes to its end."""
    path, folder = tmp_path / "goes", tmp_path / "out"
    content = b"one line and another one\n" * 8000
    path.write_bytes(content)
    folder.mkdir()
    words = [*command, "compress", "-0", "--block-size", "16K", "-o", folder / "out", path]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as process, ExitStack() as end:
        end.callback(process.kill)
        wait_for(lambda: is_writing(process, folder))
        path.unlink()
        assert process.communicate(timeout=60)[1] == b""
    restored = subprocess.run(
        [*command, "decompress", "-c", folder / "out"], capture_output=True, check=True
    )
    assert restored.stdout == content
