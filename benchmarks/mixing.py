"""Codes files with experts alone, without an archive around them, and prints ratios and speeds.

    python benchmarks/mixing.py [--sets lean rich] [--lanes 1 8 64] [--threads 2] PATH...

Folders are searched for files. With several threads each codes the whole file, all at once, and the
speed is that of all together. Everything is decoded and compared.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mbz.mixing import SETS, BitDecoder, BitEncoder, Mixer


def code(symbols_TL: np.ndarray, size: int, use: str) -> tuple[bytes, float, float]:
    """The code of a block, and the seconds that it took to make and to read."""
    lanes = symbols_TL.shape[1]
    start = time.perf_counter()
    encoder = BitEncoder()
    encoder.encode(symbols_TL, Mixer(size, lanes, use=use).score(symbols_TL))
    done = encoder.finish()
    middle = time.perf_counter()
    decoded_TL = Mixer(size, lanes, use=use).decode(BitDecoder(done), len(symbols_TL))
    end = time.perf_counter()
    if not np.array_equal(decoded_TL, symbols_TL):
        raise SystemExit("the block came back changed")
    return done, middle - start, end - middle


def lanes_of(data: np.ndarray, lanes: int) -> np.ndarray:
    """Steps of lanes (T, L), as in an archive."""
    symbols_TL = np.zeros((-(-data.size // lanes), lanes), np.uint8)
    for lane, piece in enumerate(np.array_split(data, lanes)):
        symbols_TL[: piece.size, lane] = piece
    return symbols_TL


def main() -> None:
    """Prints a line per file, set and number of lanes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["lean"])
    parser.add_argument("--lanes", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    files = [
        file
        for path in args.paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]
    print(f"{'file':24} {'bytes':>9} set    lanes     bpb   KB/s   KB/s")
    for use in args.sets:
        code(np.zeros((9, 1), np.uint8), 9, use)  # compiles
        total = size = 0
        for file in files:
            data = np.frombuffer(file.read_bytes(), np.uint8)
            for lanes in args.lanes:
                symbols_TL = lanes_of(data, lanes)
                jobs = [(symbols_TL, data.size, use)] * args.threads
                with ThreadPoolExecutor(args.threads) as pool:
                    results = list(pool.map(lambda job: code(*job), jobs))
                up, down = (sum(data.size / result[k] for result in results) / 1e3 for k in (1, 2))
                bits = 8 * len(results[0][0]) / data.size
                total, size = total + len(results[0][0]), size + data.size
                print(
                    f"{file.name:24} {data.size:9} {use:6} {lanes:5} {bits:7.4f} {up:6.1f} "
                    f"{down:6.1f}",
                    flush=True,
                )
        print(f"{use}: {total} of {size} bytes, {8 * total / size:.4f} bits per byte")


if __name__ == "__main__":
    main()
