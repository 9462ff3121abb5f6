"""The built wheel: all packages and data are in it, and it works in a clean environment."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "mbz", "cli", "models", "docs")
TEXT = ROOT / "tests" / "samples" / "text.txt"


def test_the_wheel_is_complete_and_restores_what_it_compresses(tmp_path):
    tree, home = tmp_path / "tree", tmp_path / "venv"  # a copy: building writes into its tree
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
    shutil.rmtree(tree)

    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    paths = {"base": str(home), "platbase": str(home)}
    python = Path(sysconfig.get_path("scripts", "venv", vars=paths), "python")
    target = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    subprocess.run([*pip, "--python", python, "install", *no_deps, wheel], check=True)
    for installed, source in (("mbz", "mbz"), ("mbz_cli", "cli"), ("mbz_models", "models")):
        assert files(target / installed) == files(ROOT / source)
    assert (target / "mbz" / "py.typed").exists()
    assert (home / "share/man/man1/mbz.1").exists()

    # What it depends on comes from this environment, without the checkout that is installed here.
    (target / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    mbz = [python.with_name("mbz")]
    where = subprocess.check_output([python, "-c", "import mbz; print(mbz.__file__)"], cwd=tmp_path)
    assert Path(os.fsdecode(where)).is_relative_to(target)
    for words in (
        ["compress", "-0", "-q", "-o", "packed", TEXT],
        ["decompress", "-q", "-o", "back", "packed"],
        ["models", "show", "tiny"],
    ):
        subprocess.run([*mbz, *words], cwd=tmp_path, check=True)
    assert (tmp_path / "back").read_bytes() == TEXT.read_bytes()
    assert (tmp_path / "packed").stat().st_size < 0.7 * TEXT.stat().st_size


def files(folder: Path) -> list[str]:
    """Every file of a package, without what Python writes into it."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if "__pycache__" not in path.parts)
