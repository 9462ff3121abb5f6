"""Draws speed against ratio for `mbz bench`. Needs matplotlib."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO

from mbz.errors import MbzError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .results import Result


def check() -> None:
    """Raises MbzError unless there is matplotlib to draw with."""
    if find_spec("matplotlib") is None:
        raise MbzError("--plot needs matplotlib; pip install 'mbz[plot]'")


def draw(results: Sequence[Result], file: BinaryIO) -> None:
    """Writes a PNG: a picture for each way, with the levels of mbz joined and named."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    for axes, way in zip(both, ("compress", "restore"), strict=True):
        points = {
            result.program: (result.raw / 1e3 / getattr(result, way).seconds, result.ratio)
            for result in results
        }
        ours = {program: points[program] for program in points if program.startswith("mbz")}
        speeds, ratios = ([point[i] for point in ours.values()] for i in (0, 1))
        axes.plot(speeds, ratios, "o-", color="black", label="mbz")
        for names, point in _labels(ours).items():
            axes.annotate(names, point, xytext=(4, 5), textcoords="offset points")
        for program, (speed, ratio) in points.items():
            if program not in ours:
                axes.plot(speed, ratio, "s", label=program)
        axes.set(xscale="log", xlabel=f"{way}, KB/s")
        axes.grid(alpha=0.3, which="both")
        axes.margins(0.1)
    both[0].set_ylabel("ratio, input / archive")
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(file, format="png", dpi=120)


def _labels(ours: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Names of levels and where they go; levels that nearly coincide share one."""
    near: list[tuple[list[str], tuple[float, float]]] = []
    for program, (speed, ratio) in ours.items():
        names = next((n for n, at in near if _close(at[0], speed) and _close(at[1], ratio)), None)
        if names is None:
            near.append((names := [], (speed, ratio)))
        names.append(program.removeprefix("mbz "))
    return {", ".join(names): at for names, at in near}


def _close(a: float, b: float) -> bool:
    return abs(a - b) < 0.06 * a
