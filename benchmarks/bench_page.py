"""Turns what `mbz bench --json` printed into a page of Markdown.

python benchmarks/bench_page.py BENCH.json > docs/bench/README.md
"""

import itertools
import json
import sys
from pathlib import Path

HEAD = "| program | archive | ratio | bpb | compress | restore | memory | memory |"


def line(result: dict) -> str:
    """A row of a file's table; KB/s and MB."""
    runs = (result["compress"], result["restore"])
    cells = [
        result["program"],
        f"{result['packed']:,}",
        f"{result['ratio']:.3f}",
        f"{result['bpb']:.3f}",
        *(f"{result['raw'] / 1e3 / run['seconds']:.4g}" for run in runs),
        *(f"{run['memory'] / 1e6:.0f}" for run in runs),
    ]
    return f"| {' | '.join(cells)} |"


def page(found: dict) -> str:
    """The whole page."""
    machine = found["machine"]
    how = (
        f"Measured on {found['date']} with `make bench`: each program alone, one thread, as a "
        f"process of its own whose start counts; medians of {found['runs']} runs. Each archive "
        "was restored and compared. Speeds are in KB/s, memory is the peak in MB; compress comes "
        "before restore."
    )
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    where = (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python "
        f"{machine['python']}. Versions: {versions}."
    )
    lines = [
        "# mbz beside its peers",
        "",
        how,
        "",
        where,
        "",
        "![Speed against ratio, of all files together](speed.png)",
    ]
    for name, results in itertools.groupby(found["results"], lambda result: result["file"]):
        listed = list(results)
        title = f"## {Path(name).name}, {listed[0]['raw']:,} bytes"
        lines += ["", title, "", HEAD, f"|---|{'---:|' * 7}", *map(line, listed)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(json.loads(Path(sys.argv[1]).read_text())))
