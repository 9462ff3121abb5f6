"""Who may import whom: the dependency direction of the packages and of heavy libraries."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "mbz").rglob("*.py"))
PROGRAMS = {ROOT / "mbz" / "mixing" / "train_start.py"}  # nothing imports them; they open models
COMMANDS = sorted((ROOT / "cli").rglob("*.py"))

# Only these may import the library, and the backends of the exact network besides.
HEAVY = {
    "torch": {
        "baselines",
        "model",
        "layers",
        "triton_layers",
        "triton_attention",
        "training",
        "quantize",
        "scoring",
    },
    "constriction": {"coder"},
    "numba": set(),
}
BACKENDS = {
    "torch": [
        "mbz/exact/torch_*.py",
        "mbz/exact/triton_*.py",
        "mbz/mixing/cuda/*.py",
        "mbz/cuda_code.py",
        "mbz/range_cuda.py",
    ],
    "numba": [
        "mbz/compiled.py",
        "mbz/exact/compiled.py",
        "mbz/exact/powers.py",
        "mbz/exact/units.py",
        "mbz/exact/vector_code.py",
        "mbz/exact/vectors.py",
        "mbz/mixing/beside.py",
        "mbz/mixing/compiled.py",
        "mbz/mixing/jobs.py",
        "mbz/mixing/vector_code.py",
        "mbz/mixing/vectors.py",
        "mbz/pointers.py",
        "mbz/range_code.py",
        "mbz/records.py",
    ],
    "constriction": [],
}
# Modules of mbz that each module of mbz may import ("exact" and "training" are folders). Those not
# named here may import what they like of mbz; no module may import one that imports it.
ALLOWED = {
    "errors": set(),
    "config": {"errors"},
    "versions": set(),
    "compiled": set(),
    "reader": {"errors"},
    "plain_xxhash": set(),
    "atomic": set(),
    "fields": {"errors", "plain_xxhash", "reader"},
    "container": {"errors", "fields", "reader", "versions"},
    "reference_decoder": {"config", "container", "errors", "exact", "mixing", "reader", "weights"},
    "coder": {"errors", "exact"},
    "range_code": {"compiled", "exact", "pointers", "records"},
    "progress": set(),
    "together": {"errors", "exact", "range_code"},
    "cuda_code": set(),
    "range_cuda": {"cuda_code", "exact"},
    "parallel": {"exact", "mixing", "progress", "range_cuda", "together"},
    "payload": {"errors", "container", "coder", "exact", "mixing", "steps", "together"},
    "decoding": {  # is given its models
        "errors",
        "container",
        "reader",
        "parallel",
        "payload",
        "exact",
    },
    "salvage": {"errors", "container", "decoding", "exact", "parallel", "reader"},
    "codec": {
        "errors",
        "container",
        "decoding",
        "reader",
        "parallel",
        "payload",
        "exact",
        "mixing",
        "together",
    },
    "weights": {"errors", "config", "versions"},
    "pointers": set(),
    "records": set(),
    "steps": set(),
    "exact": {"compiled", "errors", "config", "weights", "exact", "pointers", "records", "steps"},
    "mixing": {
        "compiled",
        "cuda_code",
        "errors",
        "exact",
        "mixing",
        "pointers",
        "records",
        "steps",
    },
    "archive_file": {"atomic", "container", "decoding"},
    "golden": {"coder", "errors", "exact", "loading"},
    "loading": {"config", "container", "exact", "weights", "zoo"},
    "levels": set(),
    "media": {"config", "errors", "media"},
    "sample": {"exact"},
    "zoo": {"errors", "weights"},
    "layers": {"exact", "triton_layers", "triton_attention"},
    "triton_layers": {"exact"},
    "triton_attention": set(),
    "model": {"config", "exact", "layers"},
    "quantize": {"errors", "config", "layers", "model", "weights", "exact"},
}


def imports(path: Path) -> Iterator[str]:
    """Full names of all that a file imports, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def part(path: Path) -> str:
    """The module of mbz that a file is, or "exact" or "training" for all of that folder."""
    return path.relative_to(ROOT / "mbz").with_suffix("").parts[0]


def used_parts(path: Path) -> set[str]:
    """The modules of mbz that a file imports."""
    used = {name.split(".")[1] for name in imports(path) if name.startswith("mbz.")}
    return used & {part(file) for file in LIBRARY}


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_library(path):
    assert not {"mbz_cli", "cli", "typer", "rich", ""} & roots(path)  # "" is a relative import
    if path.stem != "zoo":
        assert "mbz_models" not in path.read_text()
    for library, parts in HEAVY.items():
        is_backend = any(path.match(pattern) for pattern in BACKENDS[library])
        assert part(path) in parts or is_backend or library not in roots(path)
    if path not in PROGRAMS:
        assert used_parts(path) <= ALLOWED.get(part(path), used_parts(path))


def test_the_standard_library_is_enough_for_errors_and_zoo():
    for name in ("errors", "zoo"):
        assert roots(ROOT / "mbz" / f"{name}.py") - {"mbz"} <= sys.stdlib_module_names
    for name in ("container", "fields"):
        assert roots(ROOT / "mbz" / f"{name}.py") - {"mbz", "xxhash"} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_command_line(path):
    assert not {"mbz_cli", "cli", "mbz_models", "torch", "numpy", "constriction"} & roots(path)
    if path.stem not in {"files", "naming", "scores", "ui"}:  # helpers may grow, commands stay thin
        assert len(path.read_text().splitlines()) < 140


def test_nothing_imports_a_program():
    programs = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PROGRAMS}
    for path in LIBRARY:
        assert not programs & set(imports(path)), path


def test_no_cycles():
    """No module of mbz imports, through others, itself."""
    uses = {}
    for path in LIBRARY:
        uses.setdefault(part(path), set()).update(used_parts(path) - {part(path)})
    done = set()
    while ready := {name for name in uses.keys() - done if uses[name] <= done}:
        done |= ready
    assert done == uses.keys(), f"cycle among {sorted(uses.keys() - done)}"


def test_importing_the_package_imports_nothing():
    code = "import sys, mbz; assert not [m for m in sys.modules if m.startswith('mbz.')]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_decoding_needs_no_torch():
    code = "import sys; import mbz.codec, mbz.zoo, mbz.exact; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
