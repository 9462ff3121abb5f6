"""What compressors make of damaged archives: an error, the right bytes, or wrong bytes and no word.

    python benchmarks/damage.py [--count 1000] [--levels 0 1] [FILE]

COUNT times one bit is flipped, and COUNT times the end is cut off, anywhere. mbz decodes by its
library in this process; the peers that are installed run as programs, as they are by themselves.
"""

import argparse
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mbz_cli import tools

import mbz

SAMPLES = Path(__file__).parents[1] / "tests" / "samples"


def flipped(archive: bytes, chance: random.Random) -> bytes:
    """An archive with one other bit."""
    damaged = bytearray(archive)
    damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def cut(archive: bytes, chance: random.Random) -> bytes:
    """An archive without its end."""
    return archive[: chance.randrange(len(archive))]


def by_mbz(archive: bytes) -> bytes | None:
    """The content, None after an error."""
    try:
        return mbz.decompress(archive)
    except mbz.MbzError:
        return None


def by(tool: tools.Tool, folder: Path) -> Callable[[bytes], bytes | None]:
    """A function that restores with a peer."""

    def restore(archive: bytes) -> bytes | None:
        (folder / tool.archive).write_bytes(archive)
        words = tools.runnable(tool.restore)
        done = subprocess.run(words, cwd=folder, capture_output=True, check=False)
        return None if done.returncode else done.stdout

    return restore


def measure(name: str, archive: bytes, restore: Callable[[bytes], bytes | None], count: int) -> str:
    """A row of the table: how many of each."""
    content = restore(archive)
    assert content is not None
    cells = [name, str(len(archive))]
    for damage in (flipped, cut):
        chance = random.Random(0)
        results = Counter(
            "error" if found is None else "right" if found == content else "wrong"
            for found in (restore(damage(archive, chance)) for _ in range(count))
        )
        cells += [str(results[result]) for result in ("error", "right", "wrong")]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measures all and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--levels", type=int, nargs="+", default=[0, 1])
    parser.add_argument("file", type=Path, nargs="?", default=SAMPLES / "data.json")
    wanted = parser.parse_args()
    content = wanted.file.read_bytes()
    print("| | bytes | flipped: error | right | wrong | cut: error | right | wrong |")
    print("|---|---|---|---|---|---|---|---|")
    for level in wanted.levels:
        archive = mbz.compress(content, level=level)
        print(measure(f"mbz -{level}", archive, by_mbz, wanted.count), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / tools.INPUT).write_bytes(content)
        for tool in tools.peers():
            if not (tool.packs and tool.prints):
                continue
            words = tools.runnable(tool.compress)
            packed = subprocess.run(words, cwd=folder, capture_output=True, check=True).stdout
            print(measure(tool.name, packed, by(tool, folder), wanted.count), flush=True)


if __name__ == "__main__":
    main()
