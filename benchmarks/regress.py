"""Compresses files at several levels beside the peers; the table of every file against every peer.

    python benchmarks/regress.py --out results.csv [--levels 0,1,3,6] [--peers PEERS.csv] [--jobs 2]
        FOLDER

Every archive is restored by a process of its own and compared, if it is not `--unrestored`. The
standard library's xz and bzip2 and zstd are run here; PEERS.csv (columns file, cut, tool,
compressed_bytes; `cut` is "full") adds figures of others. Figures are bytes, and stay right however
busy the machine is. Level by level, the smallest files first; what stands in results.csv is not
done again: delete it to start afresh.
"""

import argparse
import bz2
import csv
import lzma
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from backports import zstd

PEERS = {
    "xz -9e": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
    "bzip2 -9": bz2.compress,
    "zstd -22": lambda data: zstd.compress(data, 22),
}


def run(*args: str) -> None:
    """Runs `mbz`; CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", "mbz_cli", *args], check=True)


def archive_bytes(file: Path, level: str, *, restored: bool) -> int:
    """Length of the file's archive; SystemExit if it is restored and comes back changed."""
    with tempfile.TemporaryDirectory() as folder:
        archive, again = Path(folder) / "a.mbz", Path(folder) / "again"
        run("compress", "-q", "-T", "1", f"-{level}", "-o", str(archive), str(file))
        if restored:
            run("decompress", "-q", "-T", "1", "-o", str(again), str(archive))
            if again.read_bytes() != file.read_bytes():
                sys.exit(f"{file} came back changed at level {level}")
        return archive.stat().st_size


def peers_of(path: Path) -> dict[str, dict[str, str]]:
    """Bytes by tool, that is not run here, and file."""
    others: dict[str, dict[str, str]] = {}
    with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["cut"] == "full" and row["compressed_bytes"] and row["tool"] not in PEERS:
                others.setdefault(row["tool"], {})[row["file"]] = row["compressed_bytes"]
    return others


def main() -> None:
    """Prints a line per archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--levels", default="0,1,3,6")
    parser.add_argument("--unrestored", action="store_true")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="files at a time, each on one thread")
    args = parser.parse_args()
    others = peers_of(args.peers) if args.peers else {}
    levels = [f"mbz -{level}" for level in args.levels.split(",")]
    columns = ["file", "bytes", *PEERS, *sorted(others), *levels]
    rows: dict[str, dict[str, str]] = {}
    if args.out.exists():
        with args.out.open(newline="") as lines:
            rows = {row["file"]: row for row in csv.DictReader(lines)}
    files = {
        path.relative_to(args.folder).as_posix(): path
        for path in sorted(args.folder.rglob("*"), key=lambda path: path.stat().st_size)
        if path.is_file() and path.name != "SHA256SUMS"
    }

    def save() -> None:
        with args.out.open("w", newline="") as out:
            writer = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows[name] for name in files)

    for name, file in files.items():
        row = rows.setdefault(name, {})
        if not row:
            data = file.read_bytes()
            row |= {"file": name, "bytes": str(len(data))}
            row |= {peer: str(len(compress(data))) for peer, compress in PEERS.items()}
        row |= {tool: sizes.get(name, "") for tool, sizes in others.items()}
    save()
    with ThreadPoolExecutor(args.jobs) as pool:
        working = {
            pool.submit(archive_bytes, file, level[-1], restored=not args.unrestored): (name, level)
            for level in levels
            for name, file in files.items()
            if not rows[name].get(level)
        }
        for done in as_completed(working):
            name, level = working[done]
            size = done.result()
            rows[name][level] = str(size)
            bpb = 8 * size / files[name].stat().st_size
            print(name, level, size, f"{bpb:.4f} bpb", flush=True)
            save()


if __name__ == "__main__":
    main()
