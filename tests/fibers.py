"""CUDA sources compiled by g++, to be run and judged without a GPU (`fibers.h`)."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

COMPILER = shutil.which("g++")
_OPTIONS = ["-O2", "-std=c++17", "-shared", "-fPIC", "-fwrapv", "-U_FORTIFY_SOURCE"]
# A device refuses words that lie askew, so it must not go unnoticed here.
_OPTIONS += ["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"]


def compiled(source: str, threads: int) -> ctypes.CDLL:
    """A library of a source, whose kernels `launch` runs by so many threads a block."""
    code = Path(__file__).with_name("fibers.h").read_text("utf-8") + source
    with TemporaryDirectory() as folder:
        Path(folder, "code.cpp").write_text(code, "utf-8")
        command = [str(COMPILER), *_OPTIONS, f"-DTHREADS={threads}", "-o", "code.so", "code.cpp"]
        subprocess.run(command, cwd=folder, check=True)
        return ctypes.CDLL(str(Path(folder, "code.so")))
