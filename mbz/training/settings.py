"""Where settings come from: defaults < preset < one TOML file < flags.

The file has the tables of `RunConfig` and may leave out whatever has a default:

    preset = "tiny"                   # or a table [model], or both: the table changes the preset;
                                      # in it `arch` makes it a baseline (`mbz.baselines`)
    [train]
    seconds = 600
    [data]
    paths = ["books", "notes.tar"]    # relative to the file
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeAlias, get_args, get_origin

import tomli_w

from mbz import zoo
from mbz.baselines.config import NetworkConfig, default_of, network_config
from mbz.config import PRESETS
from mbz.training import checkpoint
from mbz.training.config import DataConfig, RunConfig, TrainConfig

Table: TypeAlias = Mapping[str, Any]


DEFAULT_PRESET = "tiny"
# A step of `tiny` takes about a second on two cores; with the defaults of `TrainConfig`, fifteen.
ON_CPU: Table = {"batch": 8, "sequence": 2048}
# A trained model is near a good place, which large steps would leave.
FINE_TUNING: Table = {"matrix_rate": 0.007, "other_rate": 7e-4, "decay_from": 0.0, "warmup": 10}
FINE_TUNING_DATA: Table = {"validation": 0.05}  # of few files
# Who gives one limit wants no other.
NO_LIMITS: Table = {"steps": 0, "seconds": 0.0}
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def load(path: Path) -> dict[str, Any]:
    """Reads a TOML file; its relative paths become absolute.

    Raises:
        ValueError: the file cannot be read, is no TOML, or has unknown keys or values of the wrong
            type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise ValueError(msg) from error
    except ValueError as error:
        msg = f"{path}: not a TOML file ({error})"
        raise ValueError(msg) from error
    try:
        _check(table, {f.name: f.type for f in fields(RunConfig)} | {"preset": str}, "the file")
        for name, kind in (("train", TrainConfig), ("data", DataConfig)):
            known = {field.name: field.type for field in fields(kind)}
            _check(table.get(name, {}), known, f"[{name}]")
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error
    return absolute(table, path.parent)


def absolute(table: Table, folder: Path) -> dict[str, Any]:
    """A table whose paths no longer depend on the current folder."""
    table = dict(table)
    if "paths" in (data := table.get("data", {})):
        paths = [str((folder / path).absolute()) for path in data["paths"]]
        table["data"] = {**data, "paths": paths}
    if (start := table.get("start")) is not None:
        marks = (folder / start / mark for mark in (zoo.WEIGHTS, checkpoint.FOLDER))
        if any(mark.exists() for mark in marks):  # else it is the name of a model
            table["start"] = str((folder / start).absolute())
    return table


def resolve(
    file: Table, flags: Table, *, on_cpu: bool, shape_of: Callable[[str], NetworkConfig] | None
) -> RunConfig:
    """The configuration of a run.

    Args:
        file: what `load` returned; empty for no file.
        flags: the same tables with what was asked for on the command line.
        on_cpu: training runs on a CPU, which the default sizes should suit.
        shape_of: says what shape the model called `start` has; None believes the file, for a run
            that goes on without that model.

    Raises:
        ValueError: a value is out of range, or nothing is named to train on.
    """
    start = flags.get("start", file.get("start"))
    layers = (
        ON_CPU if on_cpu else {},
        FINE_TUNING if start is not None else {},
        file.get("train", {}),
        flags.get("train", {}),
    )
    data = {} if start is None else dict(FINE_TUNING_DATA)
    data |= _lists(file.get("data", {}))
    if "data" in flags:  # weights are of the paths of the file
        data |= {"weights": ()} | _lists(flags["data"])
    if "paths" not in data:
        msg = "nothing to train on; name files or folders with --data or in the file of --config"
        raise ValueError(msg)
    return RunConfig(
        model=_model(file, flags, shape_of(start) if start and shape_of else None),
        train=TrainConfig(**_layered(*layers)),
        data=DataConfig(**data),
        name=flags.get("name", file.get("name")),
        start=start,
    )


def dump(config: RunConfig) -> str:
    """The TOML file that `load` reads back to the same run."""
    return tomli_w.dumps(config.to_dict())


def differences(before: Table, now: Table, prefix: str = "") -> list[str]:
    """Names of the values that differ between two configurations as plain data."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        one, other = before.get(key), now.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append(f"{prefix}{key}")
    return found


def _model(file: Table, flags: Table, start: NetworkConfig | None) -> NetworkConfig:
    """The shape asked for; that of the model to start from unless something contradicts it."""
    if "arch" in flags and "preset" in flags:
        msg = "arch and preset contradict each other; a preset is of MEGABYTE, and arch a baseline"
        raise ValueError(msg)
    if "preset" in flags:  # a flag beats all that the file says of the model
        file = {"preset": flags["preset"]}
    if "arch" in flags:
        file = {"model": {"arch": flags["arch"]}}
    asked = "preset" in file or "model" in file
    if start is not None and not asked:
        return start
    model = network_config(_merged(_base(file).to_dict(), file.get("model", {})))
    if start not in (None, model):
        msg = "the model to start from has another shape than asked for; leave out preset and model"
        raise ValueError(msg)
    return model


def _base(file: Table) -> NetworkConfig:
    """The shape that the table [model] of a file changes."""
    arch = file.get("model", {}).get("arch")
    if arch is not None and "preset" in file:
        msg = "arch and preset contradict each other; leave out one of them"
        raise ValueError(msg)
    if arch is not None:
        return default_of(arch)
    preset = file.get("preset", DEFAULT_PRESET)
    if preset not in PRESETS:
        msg = f"preset {preset!r} is unknown; take one of {', '.join(PRESETS)}"
        raise ValueError(msg)
    return PRESETS[preset]


def _lists(table: Table) -> dict[str, Any]:
    """A table whose lists cannot change."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def _merged(base: Table, changes: Table) -> dict[str, Any]:
    """`base` with `changes`, tables within tables too."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _layered(*tables: Table) -> dict[str, Any]:
    """All tables in one, later ones first."""
    result: dict[str, Any] = {}
    for table in tables:
        if NO_LIMITS.keys() & table.keys():
            result |= NO_LIMITS
        result |= table
    return result


def _check(table: object, known: Mapping[str, Any], where: str) -> None:
    """Raises ValueError unless `table` has only known keys, with values of their types."""
    if not isinstance(table, dict):
        msg = f"{where} must be a table"
        raise ValueError(msg)  # noqa: TRY004  (a bad file, not a bad call)
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            msg = f"unknown key {key!r} in {where}; {hint}"
            raise ValueError(msg)
        if (wanted := _wanted(known[key], value)) is not None:
            msg = f"{key} in {where} must be {wanted}"
            raise ValueError(msg)


def _wanted(kind: Any, value: object) -> str | None:  # noqa: ANN401 - types are of any kind
    """What a value of type `kind` would be, if `value` is not one."""
    if isinstance(kind, UnionType):
        kind = next(k for k in get_args(kind) if k is not NoneType)  # of several, all are tables
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        fits = isinstance(value, list) and all(_wanted(inner, v) is None for v in value)
        return None if fits else f"a list, each {WORDS[inner]}"
    if kind not in WORDS:
        return None if isinstance(value, dict) else "a table"
    fits = type(value) is kind or (kind is float and type(value) is int)
    return None if fits else WORDS[kind]
