"""Compresses files at several levels beside the peers; the table of every file against every peer.

    python benchmarks/regress.py --out results.csv [--levels 0,6] [--peers PEERS.csv] FOLDER

Every archive is restored by a process of its own and compared. The standard library's xz and bzip2
and zstd are run here; PEERS.csv (columns file, cut, tool, compressed_bytes; `cut` is "full") adds
figures of others. Figures are bytes, and stay right however busy the machine is. A file that stands
in results.csv with the same levels is not done again: delete it to start afresh.
"""

import argparse
import bz2
import csv
import lzma
import subprocess
import sys
import tempfile
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


def archive_bytes(file: Path, level: str) -> int:
    """Length of the file's archive, after it was restored; SystemExit if it came back changed."""
    with tempfile.TemporaryDirectory() as folder:
        archive, restored = Path(folder) / "a.mbz", Path(folder) / "restored"
        run("compress", "-q", f"-{level}", "-o", str(archive), str(file))
        run("decompress", "-q", "-o", str(restored), str(archive))
        if restored.read_bytes() != file.read_bytes():
            sys.exit(f"{file} came back changed at level {level}")
        return archive.stat().st_size


def main() -> None:
    """Prints a line per file, and totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--levels", default="0,6")
    parser.add_argument("--peers", type=Path)
    args = parser.parse_args()
    others: dict[str, dict[str, int]] = {}
    if args.peers:
        with args.peers.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row["cut"] == "full" and row["compressed_bytes"]:
                    others.setdefault(row["tool"], {})[row["file"]] = int(row["compressed_bytes"])
    others = {tool: sizes for tool, sizes in others.items() if tool not in PEERS}
    levels = [f"mbz -{level}" for level in args.levels.split(",")]
    columns = ["file", "bytes", *PEERS, *sorted(others), *levels]
    done: dict[str, dict[str, str]] = {}
    if args.out.exists():
        with args.out.open(newline="") as lines:
            done = {row["file"]: row for row in csv.DictReader(lines) if set(row) == set(columns)}
    files = sorted(
        (path for path in args.folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"),
        key=lambda path: path.stat().st_size,
    )
    rows: list[dict[str, object]] = []
    for file in files:
        name = file.relative_to(args.folder).as_posix()
        row: dict[str, object] = dict(done.get(name, {}))
        if not row:
            data = file.read_bytes()
            row = {"file": name, "bytes": len(data)}
            row |= {peer: len(compress(data)) for peer, compress in PEERS.items()}
            row |= {tool: sizes.get(name, "") for tool, sizes in others.items()}
            row |= {
                f"mbz {level}": archive_bytes(file, level[1:])
                for level in (level.removeprefix("mbz ") for level in levels)
            }
        rows.append(row)
        print(" ".join(f"{column} {row[column]}" for column in columns), flush=True)
        with args.out.open("w", newline="") as out:
            writer = csv.DictWriter(out, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
