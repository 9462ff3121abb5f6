"""The exact network on CUDA in fused kernels, and what each kernel takes.

    PYTHONPATH=. python benchmarks/exact_cuda.py [--models base_v3,...] [--parts digests,...]

Parts: digests (equality with the stored self-tests and with torch operations), scoring, steps,
profile, looks and products (the settings of `mbz/exact/triton_tiles.py` for attention and products,
and others, on the shapes of the first model). `--kinds fused,plain` times torch operations as well.
A part that fails says so, and the others go on.
"""

import argparse
import logging
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from triton.testing import do_bench, do_bench_cudagraph

from mbz import weights
from mbz.exact import triton_backend
from mbz.exact.selftest import digest
from mbz.exact.torch_backend import intervals_of
from mbz.exact.torch_matrix import choose
from mbz.exact.torch_steps import SteppingPredictor
from mbz.exact.triton_backend import FusedPredictor, supported
from mbz.exact.triton_heads import attend
from mbz.exact.triton_products import ADD, SQUARE, product
from mbz.exact.triton_rows import NOTHING, STEPS, quantise_rows
from mbz.exact.triton_steps import attend_step
from mbz.exact.triton_tiles import Look, Step, Tile, heads_tile, look_tile, product_tile, step_tile

DEVICE = torch.device("cuda")
KINDS = {"fused": FusedPredictor, "plain": SteppingPredictor}
LANES = (8, 64, 512)
FOLDER = Path(__file__).parents[1] / "models"


def attempt(name: str, work: Callable[[], str]) -> None:
    """Prints a line of results, or why there is none."""
    try:
        print(f"{name}: {work()}", flush=True)
    except Exception:  # noqa: BLE001  (one run must tell as much as it can)
        lines = traceback.format_exc(limit=-3).strip().splitlines()
        print(f"{name}: FAILED\n    " + "\n    ".join(lines[-12:]), flush=True)


class Bench:
    """One model on the device."""

    def __init__(self, name: str, kinds: Sequence[str]) -> None:
        self.name, self.weights, self.kinds = name, weights.read(FOLDER / name), kinds
        self.matrix = choose(DEVICE)

    def opened(self, kind: str) -> SteppingPredictor:
        """A fresh predictor."""
        return KINDS[kind](self.weights.config, self.weights.tensors, DEVICE, self.matrix)

    def digests(self) -> None:
        """Whether each kind gives the stored digest, and how long the first one takes."""
        for kind in self.kinds:

            def equal(kind: str = kind) -> str:
                start = time.perf_counter()
                same = digest(self.opened(kind)) == self.weights.golden
                return f"{'EQUAL' if same else 'DIFFERENT'} ({time.perf_counter() - start:.1f} s)"

            attempt(f"{self.name} {kind} digest", equal)
        attempt(f"{self.name} long streams", self.same)

    def same(self) -> str:
        """Both kinds on streams that wrap all rings, scored, split, and stepped; intervals."""
        rng, length = np.random.default_rng(3), 12_000
        text = np.repeat(rng.integers(0, 256, (3, length // 2)), 2, 1).astype(np.uint8)
        results = []
        for kind, rows in (("plain", 1 << 15), ("fused", 1 << 10), ("fused", 1 << 15)):
            triton_backend.ROWS = rows
            predictor = self.opened(kind)
            predictor.reset(3)
            ends = (length - 160, length - 10)
            counts = [predictor.score(text[:, : ends[0]]), predictor.score(text[:, slice(*ends)])]
            for column in text[:, ends[1] :].T:
                counts.append(predictor.counts()[:, None])
                predictor.push(column)
            results.append(np.concatenate(counts, 1))
        wrong = (results[0] != results[1]) | (results[0] != results[2])
        wrong = wrong.any((0, 2))
        predictor.reset(3)
        counts, symbols = torch.from_numpy(results[0]), torch.from_numpy(text).long()
        same = np.array_equal(predictor.intervals(text), intervals_of(counts, symbols).numpy())
        if wrong.any():
            return f"DIFFERENT from {wrong.argmax()} on"
        return "EQUAL" if same else "intervals DIFFERENT"

    def scoring(self) -> None:
        """Megabytes a second: on the device alone, and from bytes to intervals on the host."""
        for lanes in LANES:
            for kind in self.kinds:
                attempt(
                    f"{self.name} {kind} scoring, {lanes} lanes",
                    lambda kind=kind, lanes=lanes: self.score_rate(kind, lanes),
                )

    def score_rate(self, kind: str, lanes: int) -> str:
        """In passes of 2^15 positions and, fused, of more; the first with counts on the host."""
        sizes = (15, 16, 17) if kind == "fused" else (15,)
        return "; ".join(self.pass_rate(kind, lanes, 1 << size) for size in sizes)

    def pass_rate(self, kind: str, lanes: int, rows: int) -> str:
        """The middle of five passes, when the windows are half full."""
        triton_backend.ROWS = rows
        predictor = self.opened(kind)
        size = rows // lanes
        predictor.reset(lanes)
        text = torch.randint(32, 127, (lanes, size), device=DEVICE, dtype=torch.uint8)
        reach = predictor.before_BH.shape[1]

        @torch.inference_mode()
        def on_device() -> None:
            known = torch.cat([predictor.before_BH, text.long()], 1)
            predictor.before_BH = known[:, -reach:]
            predictor.counts_of(predictor.extend(known[:, :-1]))

        symbols = text.cpu().numpy()

        rates = []
        on_device()
        deepen(predictor, 1500)
        works = [on_device, lambda: predictor.intervals(symbols)]
        if rows == 1 << 15:
            works.append(lambda: predictor.score(symbols))
        for work in works:
            work()
            times = []
            for _ in range(5):
                torch.cuda.synchronize()
                start = time.perf_counter()
                work()
                torch.cuda.synchronize()
                times.append(time.perf_counter() - start)
            rates.append(lanes * size / statistics.median(times) / 1e6)
        names = ("on the device", "intervals", "counts")
        found = ", ".join(f"{name} {rate:.2f}" for name, rate in zip(names, rates, strict=False))
        return f"{rows}: {found} MB/s"

    def steps(self) -> None:
        """Milliseconds a step: the graph alone, without and with a new patch, and all of it."""
        for lanes in (*LANES, 4096):
            for kind in self.kinds:
                attempt(
                    f"{self.name} {kind} step, {lanes} lanes",
                    lambda kind=kind, lanes=lanes: self.step_times(kind, lanes),
                )

    def stepping(self, kind: str, lanes: int) -> SteppingPredictor:
        """A predictor in the middle of its windows, whose steps are recorded."""
        predictor = self.opened(kind)
        predictor.reset(lanes)
        column = np.full(lanes, 101, np.uint8)
        predictor.score(np.repeat(column[:, None], 9, 1))
        deepen(predictor, 1530)
        for _ in range(8):
            predictor.counts()
            predictor.push(column)
        return predictor

    def step_times(self, kind: str, lanes: int) -> str:
        """Medians."""
        predictor = self.stepping(kind, lanes)
        column = np.full(lanes, 101, np.uint8)
        graphs = predictor.steps.graphs
        alone = [replayed(graphs[starts]) for starts in (False, True)]
        start = time.perf_counter()
        for _ in range(64):
            predictor.counts()
            predictor.push(column)
        whole = (time.perf_counter() - start) / 64 * 1e3
        mean = alone[0] + (alone[1] - alone[0]) / predictor.config.patch
        return (
            f"{alone[0]:.3f} ms, with a patch {alone[1]:.3f}, mean {mean:.3f}; "
            f"with counts on the host {whole:.3f} ({lanes / whole / 1e3:.2f} MB/s)"
        )

    def profile(self) -> None:
        """Device time by kernel, of intervals of 2^17 bytes in 64 lanes and of 64 steps of 512."""
        attempt(f"{self.name} profile of scoring", self.profile_scoring)
        attempt(f"{self.name} profile of steps", self.profile_steps)

    def profile_scoring(self) -> str:
        """Four passes."""
        triton_backend.ROWS = 1 << 15
        predictor = self.opened("fused")
        predictor.reset(64)
        text = np.random.default_rng(0).integers(32, 127, (64, 512)).astype(np.uint8)
        predictor.intervals(text)
        deepen(predictor, 1500)
        predictor.intervals(text)
        return profiled(lambda: predictor.intervals(np.tile(text, 4)))

    def profile_steps(self) -> str:
        """16 patches."""
        predictor = self.stepping("fused", 512)

        def work() -> None:
            for _ in range(64):
                predictor.counts()
                predictor.push(np.full(512, 101, np.uint8))

        return profiled(work)

    def products(self) -> None:
        """Microseconds of other tiles."""
        config = self.weights.config
        for stack, share in ((config.local_stack, 1), (config.global_stack, config.patch)):
            for rows in (8, 64, 512, 4096, (1 << 15) // share):
                for outputs, terms, after in (
                    (stack.hidden, stack.width, SQUARE),
                    (stack.width, stack.hidden, ADD),
                ):
                    product_tiles(rows, outputs, terms, after)

    def looks(self) -> None:
        """The same of heads and attention, in scoring and in steps."""
        predictor = self.opened("fused")
        for lanes, length in ((64, 512), (512, 64), (1024, 1), (8, 1)):
            heads_and_looks(predictor, lanes, length)


def deepen(predictor: SteppingPredictor, patches: int) -> None:
    """Moves a predictor on by whole patches of zeros, as if they had been scored."""
    predictor.t += patches * predictor.config.patch
    predictor.global_stack.t += patches
    for stack in (predictor.local_stack, predictor.encoder):
        if stack is not None:
            stack.t = predictor.t


def replayed(graph: torch.cuda.CUDAGraph) -> float:
    """Milliseconds of one of 50 replays, one after the other, as a decoder comes to them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    begin.record()
    for _ in range(50):
        graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 50


def profiled(work: Callable[[], None]) -> str:
    """The kernels by their time."""
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        work()
        torch.cuda.synchronize()
    events = [e for e in profile.key_averages() if e.self_device_time_total > 0]
    events = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    events.sort(key=lambda e: -e.self_device_time_total)
    total = sum(e.self_device_time_total for e in events)
    lines = [f"{total / 1e3:.3f} ms of kernels"]
    lines += [
        f"    {e.self_device_time_total / 1e3:9.3f} ms {e.count:6d} x "
        f"{e.self_device_time_total / e.count:8.1f} us  {e.key[:90]}"
        for e in events[:25]
    ]
    return "\n".join(lines)


def timed(work: Callable[[], object], *, short: bool) -> float:
    """Microseconds; short work is timed in a graph."""
    if short:
        return do_bench_cudagraph(work, rep=10) * 1e3
    return do_bench(work, warmup=5, rep=20, quantiles=[0.5]) * 1e3


def contest(
    name: str,
    tiles: Sequence[tuple[int, ...]],
    chosen: tuple[int, ...],
    work: Callable[[Any], object],
    *,
    short: bool,
) -> None:
    """Prints the microseconds of each tile from the fastest on; the one in use is starred."""
    results, failures = [], []
    for tile in tiles:
        label = "/".join(map(str, tile)) + "*" * (tile == chosen)
        try:
            results.append((timed(lambda tile=tile: work(tile), short=short), label))
        except Exception as error:  # noqa: BLE001
            failures.append(f"\n    {label}: {str(error)[:200]}")
    settings = ", ".join(f"{label} {time:.1f}" for time, label in sorted(results))
    print(f"{name}, us: {settings}{''.join(failures)}", flush=True)


def product_tiles(rows: int, outputs: int, terms: int, after: int) -> None:
    """One product in several tiles, and the rows that it takes quantised."""
    x = torch.randn((rows, terms), device=DEVICE)
    weight = torch.randint(-127, 128, (outputs, terms), device=DEVICE, dtype=torch.int8)
    scale, factor = torch.rand(outputs, device=DEVICE), torch.rand(rows, device=DEVICE)
    roots, y = torch.rand(27 << 10, device=DEVICE), torch.zeros((rows, outputs), device=DEVICE)
    q, _ = quantise_rows(x, NOTHING, roots)
    if rows <= 512:
        tiles = [
            Tile(m, n, k, w, s)
            for m, n, k, w, s in (
                (16, 16, 128, 2, 4), (16, 32, 128, 4, 4), (16, 64, 128, 4, 4), (32, 32, 128, 4, 4),
                (32, 64, 128, 4, 3), (64, 32, 128, 4, 3), (64, 64, 128, 4, 3),
            )
        ]  # fmt: skip
    else:
        tiles = [
            Tile(m, n, k, w, s)
            for m, n, k, w, s in (
                (64, 128, 128, 4, 3), (128, 64, 128, 4, 3), (128, 128, 64, 8, 4),
                (128, 128, 128, 8, 3), (128, 256, 64, 8, 3), (128, 256, 128, 8, 3),
                (256, 128, 64, 8, 3),
            )
        ]  # fmt: skip
    contest(
        f"product {rows} x {terms} -> {outputs}",
        tiles,
        product_tile(rows, outputs, terms),
        lambda tile: product(q, weight, scale, after, factor, y_MN=y, tile=tile),
        short=rows <= 512,
    )
    attempt(
        f"quantise {rows} x {terms}, us",
        lambda: f"{timed(lambda: quantise_rows(x, STEPS, roots), short=rows <= 512):.1f}",
    )


def heads_and_looks(predictor: FusedPredictor, lanes: int, length: int) -> None:
    """Heads and attention of the first local and global block in several tiles."""
    for name, stack in (("local", predictor.local_stack), ("global", predictor.global_stack)):
        count = max(1, length // predictor.config.patch) if name == "global" else length
        stack.reset(lanes)
        block, config = stack.blocks[0], stack.config
        position = torch.full((1,), 1530, device=DEVICE)
        x = torch.randn((lanes * count, config.width), device=DEVICE)
        roots, ring = block.roots, block.ring
        few = len(x) <= 2048
        a, _ = quantise_rows(x, NOTHING, roots)
        parts = (count, stack.rotary, roots, position, ring)

        label = f"{name}, {lanes} lanes of {count}"
        contest(
            f"heads {label}",
            [
                Tile(m, 64, k, w, s)
                for m, k, w, s in (
                    (16, 128, 4, 4), (32, 128, 4, 3), (64, 128, 4, 3), (128, 128, 4, 3),
                    (128, 128, 8, 3),
                )
            ],
            heads_tile(len(x)),
            lambda tile, block=block, a=a, parts=parts: block.heads(a, *parts, tile),
            short=few,
        )  # fmt: skip
        heads = block.heads(a, *parts, heads_tile(len(x)))
        if count == 1:
            sizes = ((16, 32, 2, 2), (16, 64, 2, 1), (16, 64, 4, 2), (16, 128, 4, 2))
        else:
            sizes = ((64, 64, 4, 2), (64, 64, 4, 3), (64, 64, 4, 4), (64, 128, 4, 3),
                     (64, 32, 4, 2), (64, 32, 4, 4), (128, 64, 8, 3), (128, 32, 4, 3))  # fmt: skip
        if count == 1 and name == "global":
            steps = [
                Step(keys, chunks, warps, stages)
                for keys, warps, stages in ((64, 4, 3), (128, 4, 2), (128, 4, 3), (128, 2, 3))
                for chunks in (1, 2, 4, 8, 16)
            ]
            contest(
                f"two kernels of attention {label}",
                steps,
                step_tile(lanes * config.kv_heads),
                lambda tile, heads=heads, rest=(ring, config.window, position): attend_step(
                    heads, *rest, tile
                ),
                short=True,
            )
        rest = (ring, count, config.window, position)
        contest(
            f"attention {label}",
            [Look(*size) for size in sizes],
            look_tile(count, config.window),
            lambda tile, heads=heads, rest=rest: attend(heads, *rest, tile),
            short=count == 1,
        )


def main() -> None:
    """Prints a line per result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="base_v3,small_v1,tiny_v1")
    parser.add_argument("--kinds", default="fused")
    parser.add_argument("--parts", default="digests,scoring,steps,profile,looks")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(torch.cuda.get_device_name(), torch.__version__, triton.__version__)
    benches = [Bench(name, args.kinds.split(",")) for name in args.models.split(",")]
    print("sound:", [supported(bench.weights.config, DEVICE) for bench in benches], flush=True)
    for part in args.parts.split(","):
        for bench in benches if part in ("digests", "scoring", "steps") else benches[:1]:
            with torch.inference_mode(part in ("looks", "products")):
                attempt(f"{bench.name} {part}", lambda: getattr(bench, part)() or "done")  # noqa: B023
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
