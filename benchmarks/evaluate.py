"""Compresses and restores files with the real commands and prints a table of ratios and speeds.

    python benchmarks/evaluate.py [--threads N] [--csv OUT] PATH...

Folders are searched for files. Each file is compressed, restored in a process of its own, and
compared. Bits per byte are those of the whole archive; seconds are of the whole process.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(*args: str) -> float:
    """Runs `mbz` and returns its wall time; CalledProcessError if it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "mbz_cli", *args], check=True)
    return time.perf_counter() - start


def kinds(archive: Path) -> str:
    """How the blocks of an archive are coded."""
    command = [sys.executable, "-m", "mbz_cli", "list", "--json", str(archive)]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return "+".join(sorted({block["kind"] for archive in listed for block in archive["blocks"]}))


def main() -> None:
    """Prints a line per file, and totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    files = [
        file
        for path in args.paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]
    rows = []
    print(f"{'file':36} {'bytes':>9} {'archive':>9} {'bpb':>7} {'KB/s':>6} {'KB/s':>6} same kind")
    with tempfile.TemporaryDirectory() as folder:
        archive, restored = Path(folder) / "a.mbz", Path(folder) / "restored"
        for file in files:
            options = ["-q", "-f", "-T", args.threads]
            up = run("compress", *options, "-o", str(archive), str(file))
            down = run("decompress", *options, "-o", str(restored), str(archive))
            content = file.read_bytes()
            size, packed = len(content), archive.stat().st_size
            same = restored.read_bytes() == content
            row = {
                "file": f"{file.parent.name}/{file.name}",
                "bytes": size,
                "archive": packed,
                "bpb": round(8 * packed / max(size, 1), 4),
                "compress_KB/s": round(size / up / 1e3, 2),
                "restore_KB/s": round(size / down / 1e3, 2),
                "same": same,
                "kind": kinds(archive),
            }
            rows.append(row)
            print(
                f"{row['file']:36} {size:9} {packed:9} {row['bpb']:7.4f} "
                f"{row['compress_KB/s']:6.2f} {row['restore_KB/s']:6.2f} {same!s:5} {row['kind']}",
                flush=True,
            )
    identical = sum(bool(row["same"]) for row in rows)
    print(f"{len(rows)} files, {identical} came back identical")
    if args.csv:
        with args.csv.open("w", newline="") as out:
            writer = csv.DictWriter(out, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    sys.exit(identical != len(rows))


if __name__ == "__main__":
    main()
