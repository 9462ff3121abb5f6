"""The paper's tables at small scale, each row trained and scored by the project's own commands.

    python benchmarks/paper.py --data DATA --out OUT --gpus 2 --workers 3

Rows, shapes and budgets are in paper.toml; paper_data.py writes DATA. Rows of a table are matched
by compute as measured: first each shape is timed with a GPU to itself, then each row trains for as
many steps as its budget of seconds holds, so that several may share a GPU meanwhile. A run scores
those of its weights that did best on files held out of training. Rows that generate are timed at
the end, one at a time. Rows with several seeds show means and standard deviations.

OUT/results.json is written row by row. Started again, the program goes on: what is there is not
run again, what failed is. OUT/NAME.log has what the commands of a row said.
"""

import argparse
import gc
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import tomli_w

TIMED = 20
"""Steps by which a shape is timed."""
HELD_OUT = 0.03
"""Share of the files to train on by which runs choose the best of their weights."""
VALIDATIONS = 4
ROOM = 0.9
"""Share of a device's memory that its runs may fill; what they take was measured one by one."""
Json = dict[str, Any]


@dataclass(kw_only=True)
class Store:
    """A JSON object in a file, written at each change."""

    path: Path
    values: Json = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.values = json.loads(self.path.read_text("utf-8"))

    def set(self, key: str, value: object) -> None:
        """Adds a value or replaces it."""
        with self.lock:
            self.values[key] = value
            new = self.path.with_suffix(".partial")
            new.write_text(json.dumps(self.values, indent=1), encoding="utf-8")
            new.replace(self.path)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run for a row of a table: its settings but for the steps, and the seed."""

    name: str
    seed: int
    given: Json
    settings: Json
    seconds: float
    test: Path

    @property
    def shape(self) -> str:
        """What rows have in common that take the same time for a step."""
        parts = (self.settings["model"], self.settings["train"])
        return json.dumps(parts, sort_keys=True)


def rows_of(configs: Json, data: Path) -> list[Row]:
    """The runs of all rows in their order, first those of the first seed."""
    rows = []
    for given in configs["rows"]:
        base, shape = configs["data"][given["data"]], configs["shapes"][given["shape"]]
        train = base["train"] | shape.get("train", {}) | given.get("train", {})
        model = {key: value for key, value in shape.items() if key != "train"}
        files = {"paths": [str(data / given["data"] / "train")], "validation": HELD_OUT}
        files |= {"kind": base["kind"]} | ({"scan": given["scan"]} if "scan" in given else {})
        rows += [
            Row(
                name=f"{given['name']}-{seed}" if seed else given["name"],
                seed=seed,
                given=given,
                settings={"model": model, "train": train, "data": files},
                seconds=given.get("seconds", base["seconds"]),
                test=data / given["data"] / "test",
            )
            for seed in range(given.get("seeds", 1))
        ]
    return sorted(rows, key=lambda row: row.seed)


def environment(gpu: int | None) -> dict[str, str]:
    """Variables of a process that shall see one GPU, or none."""
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "4")}
    return os.environ | threads | {"CUDA_VISIBLE_DEVICES": "" if gpu is None else str(gpu)}


def time_shapes(file: Path) -> None:
    """Prints a line of JSON for each of the settings in `file`: seconds of a step.

    Ends after the first that fails, as it may have spoilt the device.
    """
    import torch  # noqa: PLC0415 - not for the other processes

    from mbz.training import settings  # noqa: PLC0415
    from mbz.training.estimate import estimate  # noqa: PLC0415

    on_gpu = bool(os.environ["CUDA_VISIBLE_DEVICES"])
    room = ROOM * torch.cuda.mem_get_info()[1] if on_gpu else math.inf
    for shape, given in json.loads(file.read_text("utf-8")).items():
        train = given["train"] | {"steps": 1}
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        resolved = settings.resolve(given | {"train": train}, {}, on_cpu=False, shape_of=None)
        try:
            found = estimate(resolved, timed=TIMED if on_gpu else 1)
        except Exception as error:
            words = str(error).splitlines() or [repr(error)]
            print(json.dumps({"shape": shape, "error": words[0]}), flush=True)
            raise
        sizes = {"parameters": found.parameters, "multiply_adds": found.multiply_adds}
        sizes["share"] = torch.cuda.max_memory_reserved() / room if on_gpu else 0.0
        print(json.dumps({"shape": shape, "seconds": found.seconds} | sizes), flush=True)
        gc.collect()
        torch.cuda.empty_cache()


def calibrate(rows: list[Row], gpus: list[int | None], store: Store) -> None:
    """Times the shapes that were not, each with a GPU to itself."""
    left = {  # with data that is read soon
        row.shape: row.settings | {"data": row.settings["data"] | {"paths": [str(row.test)]}}
        for row in rows
        if row.shape not in store.values
    }
    todo = [dict(list(left.items())[i :: len(gpus)]) for i in range(len(gpus))]

    def work(number: int) -> None:
        file = store.path.with_name(f"calibrate-{number}.json")
        while todo[number]:
            file.write_text(json.dumps(todo[number]), encoding="utf-8")
            command = [sys.executable, __file__, "--time-shapes", str(file)]
            with (
                file.with_suffix(".log").open("a") as log,
                subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=environment(gpus[number]),
                ) as process,
            ):
                before = len(todo[number])
                for line in process.stdout or ():
                    found = json.loads(line)
                    shape = found.pop("shape")
                    todo[number].pop(shape)
                    if "error" in found:
                        print(f"cannot be timed: {found['error']}: {shape}", flush=True)
                    else:
                        store.set(shape, found)
            if len(todo[number]) == before:  # it never came to the first
                todo[number].pop(next(iter(todo[number])))

    with ThreadPoolExecutor(len(gpus)) as pool:
        list(pool.map(work, range(len(gpus))))


def mbz(*words: str, gpu: int | None, log: Path) -> str:
    """What a command prints; CalledProcessError if it fails."""
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, "-m", "mbz_cli", *words],
            check=True,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            errors="replace",
            env=environment(gpu),
        )
    return done.stdout


def measured(row: Row, timing: Json, gpu: int | None, run: Path, scale: float) -> Json:
    """Trains and scores one row, in a new folder."""
    shutil.rmtree(run, ignore_errors=True)
    log = run.with_suffix(".log")
    train = row.settings["train"]
    steps = max(2, round(row.seconds * scale / timing["seconds"]))
    train = train | {"steps": steps, "warmup": min(train.get("warmup", 100), -(-steps // 10))}
    train |= {"seed": row.seed, "validations": VALIDATIONS}
    file = run.with_suffix(".toml")
    file.write_text(tomli_w.dumps(row.settings | {"train": train}), encoding="utf-8")
    device = ("--device", "cpu" if gpu is None else "cuda")
    start = time.monotonic()
    mbz("train", "--quiet", "--config", str(file), "--out", str(run), *device, gpu=gpu, log=log)
    log_lines = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    lines = [line for line in log_lines if "loss" in line]
    held_out = [(line["validation"], line["step"]) for line in log_lines if "validation" in line]
    found: Json = {
        "steps": steps,
        "bytes trained": steps * train["batch"] * train["sequence"],
        "seconds": steps * timing["seconds"],
        "seconds shared": lines[-1]["seconds"],
        "training loss": sum(line["loss"] for line in lines[-50:]) / len(lines[-50:]),
        "held out": held_out,
        "weights after": min(held_out, default=(0.0, steps))[1] / steps,
        "parameters": timing["parameters"],
        "multiply_adds": timing["multiply_adds"],
        "bpb": {},
    }
    data = row.settings["data"]
    reading = ("--as", data["kind"], *(("--scan", data["scan"]) if "scan" in data else ()))
    context = ("--context", str(train["sequence"]))
    for name, flags in row.given.get("score", {"plain": []}).items():
        command = ("score", "--quiet", "--json", "-m", str(run), *reading, *context, *device)
        total = json.loads(mbz(*command, *flags, str(row.test), gpu=gpu, log=log))["total"]
        found["bpb"][name] = total["bits"] / total["bytes"]
    found["wall"] = time.monotonic() - start
    shutil.rmtree(run / "checkpoints" if "sample" in row.given else run)
    return found


def generated(row: Row, gpu: int | None, run: Path) -> Json:
    """Bytes a second that `mbz sample` draws, the start of the program left out."""
    count = row.given["sample"]
    took = []
    for length in (64, 64, 64 + count):  # the first may have to compile
        start = time.monotonic()
        device = ("--device", "cpu" if gpu is None else "cuda")
        words = ("sample", "-m", str(run), "--seed", "1", "-n", str(length), *device)
        mbz(*words, gpu=gpu, log=run.with_suffix(".log"))
        took.append(time.monotonic() - start)
    return {"bytes a second": count / (took[2] - took[1])}


def attempt(name: str, results: Store, work: Callable[[], Json]) -> None:
    """Does the work of a row and notes what came of it."""
    print(f"{time.strftime('%H:%M:%S')} {name} ...", flush=True)
    try:
        found = work()
    except subprocess.CalledProcessError as error:
        found = {"error": f"failed with exit code {error.returncode}"}
    except Exception as error:  # noqa: BLE001 - the other rows shall run
        found = {"error": repr(error)}
    before = {key: value for key, value in results.values.get(name, {}).items() if key != "error"}
    results.set(name, before | found)
    print(f"{time.strftime('%H:%M:%S')} {name}: {found.get('bpb', found)}", flush=True)


@dataclass(kw_only=True)
class Queue:
    """Rows that wait, and the shares of each device's memory that those have that run."""

    rows: list[Row]
    timings: Json
    taken: defaultdict[int | None, list[float]] = field(default_factory=lambda: defaultdict(list))
    change: threading.Condition = field(default_factory=threading.Condition)

    def next(self, gpu: int | None) -> Row | None:
        """The first row that fits beside those that run; waits for room, not for rows."""
        with self.change:
            while self.rows:
                for row in self.rows:
                    share, taken = self.timings[row.shape]["share"], self.taken[gpu]
                    if not taken or sum(taken) + share <= 1:
                        self.rows.remove(row)
                        taken.append(share)
                        return row
                self.change.wait()
        return None

    def done(self, row: Row, gpu: int | None) -> None:
        """Gives back what a row had."""
        with self.change:
            self.taken[gpu].remove(self.timings[row.shape]["share"])
            self.change.notify_all()


def run_rows(
    rows: list[Row], gpus: list[int | None], workers: int, out: Path, scale: float
) -> None:
    """Runs what is missing."""
    timings, results = (Store(path=out / f"{name}.json") for name in ("timings", "results"))
    missing = [row for row in rows if "bpb" not in results.values.get(row.name, {})]
    calibrate(missing, gpus, timings)
    if scale == 0:
        return
    for row in missing:
        if row.shape not in timings.values:
            results.set(row.name, {"error": "its shape could not be timed"})
    timed = [row for row in missing if row.shape in timings.values]
    queue = Queue(rows=timed, timings=timings.values)

    def worker(gpu: int | None) -> None:
        while (row := queue.next(gpu)) is not None:
            timing = timings.values[row.shape]
            attempt(row.name, results, partial(measured, row, timing, gpu, out / row.name, scale))
            queue.done(row, gpu)

    with ThreadPoolExecutor(len(gpus) * workers) as pool:
        list(pool.map(worker, gpus * workers))
    for row in rows:
        found = results.values.get(row.name, {})
        if "sample" in row.given and "bpb" in found and "bytes a second" not in found:
            rate = partial(generated, row, gpus[0], out / row.name)
            attempt(row.name, results, rate)


def cells(row: Row, runs: list[Json], methods: list[str]) -> list[str]:
    """A row of a table: means over the seeds, with standard deviations where there are several."""
    first, found = runs[0], [row.given["title"]]
    for method in methods:
        bits = [run["bpb"][method] for run in runs if method in run["bpb"]]
        spread = f" ± {stdev(bits):.3f}" if len(bits) > 1 else ""
        found.append(f"{fmean(bits):.3f}{spread}" if bits else "")
    size, seconds = first["bytes trained"] / 1e6, first["seconds"]
    found += [f"{first['parameters'] / 1e6:.1f} M", f"{first['multiply_adds'] / 1e6:.1f} M"]
    found += [f"{seconds:.0f}", f"{size:.0f}", f"{size / seconds:.2f}"]
    loss, after = (fmean(run[key] for run in runs) for key in ("training loss", "weights after"))
    return [*found, f"{loss:.3f}", f"{after:.0%}"]


def show(rows: list[Row], results: Json) -> None:
    """Prints the tables as far as they are filled; a row may stand in several."""
    runs: dict[str, list[Json]] = {row.given["name"]: [] for row in rows}
    for row in rows:
        if "bpb" in results.get(row.name, {}):
            runs[row.given["name"]].append(results[row.name])
    firsts = [row for row in rows if row.seed == 0]
    for table in dict.fromkeys(table for row in firsts for table in row.given["tables"]):
        chosen = [row for row in firsts if table in row.given["tables"]]
        done = [run for row in chosen for run in runs[row.given["name"]]]
        methods = list(dict.fromkeys(name for run in done for name in run["bpb"]))
        rates = any("bytes a second" in run for run in done)
        heads = ["row", *methods, "parameters", "multiply-adds a byte", "s", "MB trained", "MB/s"]
        heads += ["in training", "weights after", *(["bytes/s generated"] if rates else [])]
        print(f"\n## {table}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for row in chosen:
            if not (found := runs[row.given["name"]]):
                why = results.get(row.name, {}).get("error", "not run")
                print(f"| {row.given['title']} | {why} |")
                continue
            rate = [str(round(found[0]["bytes a second"]))] if "bytes a second" in found[0] else []
            print(f"| {' | '.join([*cells(row, found, methods), *(rate or [''] * rates)])} |")


def main() -> None:
    """Runs what is missing and prints all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data")
    parser.add_argument("--out", type=Path, help="folder of runs and results.json")
    parser.add_argument("--configs", type=Path, default=Path(__file__).with_name("paper.toml"))
    parser.add_argument("--gpus", type=int, default=1, help="0 for the CPU")
    parser.add_argument("--workers", type=int, default=1, help="rows at a time on each GPU")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="of all budgets of seconds; 0: no more than time the shapes",
    )
    parser.add_argument("--rows", nargs="+", help="only these")
    parser.add_argument("--show", action="store_true", help="run nothing")
    parser.add_argument("--time-shapes", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.time_shapes:
        time_shapes(args.time_shapes)
        return
    if args.data is None or args.out is None:
        parser.error("--data and --out are needed")
    configs = tomllib.loads(args.configs.read_text("utf-8"))
    rows = rows_of(configs, args.data.absolute())
    if args.rows:
        rows = [row for row in rows if row.given["name"] in args.rows]
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.show:
        gpus: list[int | None] = list(range(args.gpus)) or [None]
        run_rows(rows, gpus, args.workers, args.out.absolute(), args.scale)
    show(rows, Store(path=args.out / "results.json").values)


if __name__ == "__main__":
    main()
