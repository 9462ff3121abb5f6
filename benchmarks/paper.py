"""The paper's tables at small scale, each row trained and scored by the project's own commands.

    python benchmarks/paper.py --out OUT --seconds 60 \
        --text TRAIN TEST --images64 TRAIN TEST --images256 TRAIN TEST --audio TRAIN TEST

Rows are those of paper.toml whose data is given. All train for the same time, so they are matched
by compute as measured. Results go to OUT/results.json, row by row; rows that are there already are
not run again, and a row that failed is.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

DATA = ("text", "images64", "images256", "audio")


def mbz(*args: str) -> str:
    """What a command prints; CalledProcessError if it fails."""
    command = [sys.executable, "-m", "mbz_cli", *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(
    row: dict[str, Any], config: dict[str, Any], test: str, run: Path, device: str
) -> dict[str, Any]:
    """Trains and scores one row, in a new folder."""
    shutil.rmtree(run, ignore_errors=True)
    settings = run.with_suffix(".toml")
    settings.write_text(tomli_w.dumps(config), encoding="utf-8")
    mbz("train", "--quiet", "--config", str(settings), "--out", str(run), "--device", device)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    train, data = config["train"], config["data"]
    reading = ["--as", data["kind"], *(["--scan", data["scan"]] if "scan" in data else [])]
    context = ["--context", str(train["sequence"])]
    found: dict[str, Any] = {
        "bytes trained": log[-1]["step"] * train["batch"] * train["sequence"],
        "seconds": log[-1]["seconds"],
        "bpb": {},
    }
    for name, flags in row.get("score", {"plain": []}).items():
        start = time.perf_counter()
        command = ("score", "--quiet", "--json", "-m", str(run), "--device", device)
        total = json.loads(mbz(*command, *reading, *context, *flags, test))["total"]
        found["bpb"][name] = total["bits"] / total["bytes"]
        found[f"seconds {name}"] = time.perf_counter() - start
    return found


def show(rows: list[dict[str, Any]], results: dict[str, Any]) -> None:
    """Prints the tables as far as they are filled."""
    for table in dict.fromkeys(row["table"] for row in rows):
        print(f"\n## {table}\n\n| row | bits per byte | MB trained |\n|---|---|---|")
        for row in (row for row in rows if row["table"] == table):
            found = results.get(row["name"], {})
            if "bpb" in found:
                bits = ", ".join(f"{name} {bpb:.3f}" for name, bpb in found["bpb"].items())
                print(f"| {row['name']} | {bits} | {found['bytes trained'] / 1e6:.1f} |")
            else:
                print(f"| {row['name']} | {found.get('error', 'not run')} | |")


def main() -> None:
    """Runs what is missing and prints all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and results.json")
    parser.add_argument("--seconds", type=float, required=True, help="training time of a row")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--configs", type=Path, default=Path(__file__).with_name("paper.toml"))
    parser.add_argument("--rows", nargs="+", help="only these")
    for name in DATA:
        parser.add_argument(f"--{name}", nargs=2, metavar=("TRAIN", "TEST"))
    args = parser.parse_args()
    configs = tomllib.loads(args.configs.read_text("utf-8"))
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "results.json"
    results: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    rows = [r for r in configs["rows"] if not args.rows or r["name"] in args.rows]
    for row in rows:
        paths, name = getattr(args, row["data"]), row["name"]
        if paths is None or "bpb" in results.get(name, {}):
            continue
        base, shape = configs["data"][row["data"]], configs["shapes"][row["shape"]]
        train = base["train"] | row.get("train", {}) | {"seconds": args.seconds}
        data = {"paths": [str(Path(paths[0]).absolute())], "validation": 0.0, "kind": base["kind"]}
        data |= {"scan": row["scan"]} if "scan" in row else {}
        if base["kind"] != "bytes":
            train["align"] = shape["patch"]
        config = {"model": shape, "train": train, "data": data}
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            results[name] = measured(row, config, paths[1], args.out / name, args.device)
        except subprocess.CalledProcessError as error:
            results[name] = {"error": f"failed with exit code {error.returncode}"}
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(results, indent=1), encoding="utf-8")
        partial.replace(file)
    show(rows, results)


if __name__ == "__main__":
    main()
