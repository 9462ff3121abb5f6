"""Digests of the mixer's chances for the first bytes of files, as lines to compare.

    python first_bytes.py PATH... > compiled
    NUMBA_DISABLE_JIT=1 python first_bytes.py PATH... > interpreted
    cmp compiled interpreted

Each file with the sets that it would be coded with at levels 0 and 6, the latter beside a network.
Interpreted, 4,096 bytes take minutes a file; the daily tests do the same with short blocks.
"""

import argparse
import hashlib
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from chances import counts_like, lanes_of

from mbz.mixing import Mixer
from mbz.mixing.detect import settings_of


def digest(path: Path, use: str, size: int) -> str:
    """Of the chances of the first `size` bytes in one lane, or two where there is a network."""
    whole = path.read_bytes()
    found = settings_of(whole, use)
    data = np.frombuffer(whole[:size], np.uint8)
    network = use == found.use == "rich"
    symbols = lanes_of(data, 1 + network)
    options = {"stride": found.stride, "unit": found.unit, "phase": found.phase}
    mixer = Mixer(data.size, 1 + network, use=found.use, network=network, **options)
    chances = mixer.score(symbols, counts_like(symbols) if network else None)
    return hashlib.sha256(chances.tobytes()).hexdigest()[:16]


def main() -> None:
    """Prints a line for each file and set, in the order of names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=4096, help="bytes of each file")
    parser.add_argument("--processes", type=int)
    args = parser.parse_args()
    files = sorted(file for path in args.paths for file in ([path], path.rglob("*"))[path.is_dir()])
    cases = [(file, use) for file in files if file.is_file() for use in ("lean", "rich")]
    with ProcessPoolExecutor(args.processes) as pool:
        found = [pool.submit(digest, file, use, args.size) for file, use in cases]
        for (file, use), answer in zip(cases, found, strict=True):
            sys.stdout.write(f"{file.name} {use} {answer.result()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
