"""Checkpoints of a run, one folder each: complete and on disk, or not there at all.

`RUN/checkpoints/step-N/` holds tensors in safetensors files and all else in state.json. A folder is
written under a hidden name and renamed, and hidden again before it is removed, so that whatever
bears the name step-N is whole, wherever the process was killed.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor

from mbz.atomic import sync
from mbz.baselines.config import NetworkConfig, network_config
from mbz.errors import MbzError

FOLDER = "checkpoints"
STATE = "state.json"
KEPT = 2
"""Newest checkpoints that stay, besides the best."""


def save(
    run: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    """Writes the checkpoint of a step, unless it is there, and removes those no longer needed.

    Args:
        run: the run folder.
        step: steps made so far.
        tensors: on the CPU, one file for each group that is not empty.
        state: anything JSON can hold; under "best", {"step", ...} or null.
    """
    folder = run / FOLDER
    target = _path(run, step)
    if not target.exists():
        folder.mkdir(exist_ok=True)
        partial = folder / f".{target.name}"
        shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
        partial.mkdir()
        try:
            (partial / STATE).write_text(json.dumps(dict(state), indent=1), encoding="utf-8")
            for name, group in tensors.items():
                if group:
                    blob = save_tensors({key: value.contiguous() for key, value in group.items()})
                    (partial / f"{name}.safetensors").write_bytes(blob)
            for path in (*partial.iterdir(), partial):
                sync(path)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync(folder)
    best = state["best"]
    keep = {*steps(run)[-KEPT:], step, *([] if best is None else [best["step"]])}
    for old in set(steps(run)) - keep:
        _remove(_path(run, old))


def steps(run: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    names = (re.fullmatch(r"step-(\d+)", path.name) for path in (run / FOLDER).glob("step-*"))
    return sorted(int(name[1]) for name in names if name)


def newest(run: Path) -> Path | None:
    """The checkpoint to go on from, None if there is none."""
    made = steps(run)
    return _path(run, made[-1]) if made else None


def best(run: Path) -> Path | None:
    """The checkpoint whose weights did best on the bytes held out, else the newest, if any."""
    last = newest(run)
    if last is None:
        return None
    mark = read_state(last)["best"]
    path = last if mark is None else _path(run, mark["step"])
    return path if path.exists() else last


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What `save` was given as `state`.

    Raises:
        MbzError: the checkpoint is damaged.
    """
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(checkpoint, error) from error
    if not isinstance(state, dict) or not {"step", "best", "config"} <= state.keys():
        raise _damaged(checkpoint, f"{STATE} is incomplete")
    return state


def read(checkpoint: Path, group: str) -> dict[str, Tensor]:
    """The tensors of one group, on the CPU; none if it was empty.

    Raises:
        MbzError: the checkpoint is damaged.
    """
    path = checkpoint / f"{group}.safetensors"
    if not path.exists():
        return {}
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(checkpoint, error) from error


def read_config(checkpoint: Path) -> NetworkConfig:
    """The shape of the model."""
    return network_config(read_state(checkpoint)["config"]["model"])


def read_weights(checkpoint: Path) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """The shape of the model and its float weights, the averaged ones if there are any."""
    tensors = read(checkpoint, "average") or read(checkpoint, "model")
    return read_config(checkpoint), tensors


def _path(run: Path, step: int) -> Path:
    return run / FOLDER / f"step-{step}"


def _remove(path: Path) -> None:
    hidden = path.with_name(f".{path.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _damaged(checkpoint: Path, why: object) -> MbzError:
    return MbzError(f"{checkpoint} is damaged ({why}); delete it to go on from the one before")
