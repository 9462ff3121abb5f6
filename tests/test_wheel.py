"""The built wheel: all packages and data are in it, and it runs away from the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "mbz", "cli", "models", "docs")


def test_the_wheel_is_complete(tmp_path):
    tree, target = tmp_path / "tree", tmp_path / "target"  # a copy: building writes into its tree
    tree.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    no_deps = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *no_deps, "--no-build-isolation", "-w", tmp_path, tree], check=True
    )
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", *no_deps, "--target", target, wheel], check=True)

    for installed, source in (("mbz", "mbz"), ("mbz_cli", "cli"), ("mbz_models", "models")):
        assert files(target / installed) == files(ROOT / source)
    assert (target / "mbz" / "py.typed").exists()
    assert (target / "share/man/man1/mbz.1").exists()
    result = subprocess.run(
        [sys.executable, "-m", "mbz_cli", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        check=True,
    )
    assert result.stdout.startswith(b"mbz ")


def files(folder: Path) -> list[str]:
    """Every file of a package, without what Python writes into it."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if "__pycache__" not in path.parts)
