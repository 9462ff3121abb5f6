"""The programs that `mbz bench` runs: mbz at its levels, and the peers that are installed."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from mbz.levels import LEVELS

INPUT, RESTORED = "data", "restored"  # in the folder where the programs run


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A program at one setting.

    Attributes:
        name: As tables call it.
        compress: Its words to make the archive from INPUT.
        restore: Its words to make RESTORED from the archive.
        archive: Name of the archive.
        packs: Whether `compress` writes the archive to standard output.
        prints: Whether `restore` writes the content to standard output.
    """

    name: str
    compress: Sequence[str]
    restore: Sequence[str]
    archive: str = "packed"
    packs: bool = True
    prints: bool = True


# One thread each, as they do by themselves or are told.
PEERS = (
    Tool(
        name="gzip -9", compress=("gzip", "-9", "-c", INPUT), restore=("gzip", "-dc", "packed.gz"),
        archive="packed.gz",
    ),
    Tool(
        name="xz -9e", compress=("xz", "-9e", "-T1", "-c", INPUT),
        restore=("xz", "-dc", "-T1", "packed.xz"), archive="packed.xz",
    ),
    Tool(
        name="zstd -22 --long=27",
        compress=("zstd", "--ultra", "-22", "--long=27", "-q", "-c", INPUT),
        restore=("zstd", "--long=27", "-qdc", "packed"),
    ),
    Tool(
        name="brotli -q 11 -w 24", compress=("brotli", "-q", "11", "-w", "24", "-c", INPUT),
        restore=("brotli", "-dc", "packed"),
    ),
    Tool(
        name="bzip3 -b 16", compress=("bzip3", "-b", "16", "-c", "-e", INPUT),
        restore=("bzip3", "-dc", "packed"),
    ),
    Tool(
        name="7z PPMd o=16",
        compress=("7z", "a", "-m0=PPMd:o=16:mem=1g", "-mmt=1", "packed.7z", INPUT),
        restore=("7z", "x", "-so", "packed.7z"), archive="packed.7z", packs=False,
    ),
    Tool(
        name="zpaq -m5", compress=("zpaq", "add", "packed.zpaq", INPUT, "-m5", "-t1"),
        restore=("zpaq", "x", "packed.zpaq", INPUT, "-to", RESTORED, "-t1"),
        archive="packed.zpaq", packs=False, prints=False,
    ),
)  # fmt: skip
OTHER_NAMES = {"7z": "7zz"}  # of Debian's package 7zip


def peers() -> Iterator[Tool]:
    """The peers that are installed."""
    for tool in PEERS:
        if _program(tool.compress[0]) is not None:
            yield tool


def mbz(level: int, options: Sequence[str], model: Sequence[str]) -> Tool:
    """Mbz itself at a level, with the same options both ways, and a model of its own if any."""
    words = [sys.executable, "-m", "mbz_cli"]
    named = model if LEVELS[level].model is not None else ()
    names = ("-o", "packed", INPUT)
    return Tool(
        name=f"mbz -{level}",
        compress=[*words, "compress", "-qf", f"-{level}", *options, *named, *names],
        restore=[*words, "decompress", "-qf", *options, "-o", RESTORED, "packed"],
        packs=False,
        prints=False,
    )


def distinct_levels() -> list[int]:
    """The first of each group of levels that do the same."""
    return [n for n, level in enumerate(LEVELS) if n == 0 or level != LEVELS[n - 1]]


def runnable(words: Sequence[str]) -> list[str]:
    """The words, with the program under the name that it has here."""
    return [_program(words[0]) or words[0], *words[1:]]


def versions(tools: Sequence[Tool]) -> dict[str, str]:
    """Versions of the programs, by their names."""
    found = {"mbz": version("mbz")}
    for name in {tool.compress[0]: None for tool in tools if tool.compress[0] != sys.executable}:
        words = [name] if name in {"7z", "zpaq"} else [name, "--version"]  # they show it first
        said = subprocess.run(  # noqa: S603 - the peers above
            runnable(words), capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
        number = re.search(rb"\d+(\.\d+)+", said.stdout + said.stderr)
        found[name] = number[0].decode() if number else "unknown"
    return found


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(OTHER_NAMES.get(name, name))
