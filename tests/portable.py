"""Restores the golden archives by the reference decoder, on any machine (`make portability`).

    python tests/portable.py [NAME]...      # of tests/vectors/*/{good,mixed}; all without names

Where numba or safetensors are missing, the mixing coder runs uncompiled on stand-ins for what it
takes of them.
"""

import json
import platform
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def stand_in(name: str, **parts: object) -> None:
    """Gives a module that is missing those of its parts that are needed."""
    try:
        __import__(name)
    except ImportError:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(parts)


def njit(**_options: object) -> Callable[[Any], Any]:
    return lambda function: function


@contextmanager
def safe_open(path: Path, **_options: object) -> Iterator[object]:
    blob = Path(path).read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:start])
    kinds = {"F32": "<f4", "I8": "i1", "U8": "u1", "I16": "<i2", "I32": "<i4"}

    def tensor(name: str) -> object:
        entry = header[name]
        first, last = (start + offset for offset in entry["data_offsets"])
        data = np.frombuffer(blob[first:last], kinds[entry["dtype"]])
        return data.astype(data.dtype.newbyteorder("=")).reshape(entry["shape"])

    file = types.SimpleNamespace()
    file.metadata = lambda: header["__metadata__"]
    file.keys = lambda: [name for name in header if name != "__metadata__"]
    file.get_tensor = tensor
    yield file


stand_in("numba", njit=njit)
stand_in("safetensors", safe_open=safe_open)

from mbz.reference_decoder import decompress, read_model  # noqa: E402 - needs the stand-ins


def main(names: list[str]) -> None:
    """Restores and compares; says which machine did."""
    vectors = ROOT / "tests" / "vectors"
    models = [read_model(path.parent) for path in vectors.glob("v*/models/*/weights.safetensors")]
    done = 0
    start = time.perf_counter()
    for path in sorted(vectors.glob("v*/good/*.mbz")) + sorted(vectors.glob("v*/mixed/*.mbz")):
        if names and path.stem not in names:
            continue
        archive = path.read_bytes()
        model = next((model for model in models if model[0][:8] in archive), None)
        if decompress(archive, model) != path.with_suffix(".raw").read_bytes():
            raise SystemExit(f"{path}: restored to other bytes")
        done += 1
    print(
        f"{done} archives restored on {platform.machine()} ({sys.byteorder}-endian, "
        f"Python {platform.python_version()}, numpy {np.__version__}) "
        f"in {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
