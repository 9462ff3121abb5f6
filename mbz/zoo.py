"""Finds model folders: by path, by name, or by the fingerprint that an archive asks for.

A model folder holds `weights.safetensors`, whose SHA-256 is the model's fingerprint, a card
`README.md` and golden counts `vectors.json`. Folders are looked for, in this order, in
`$MBZ_MODELS` (a list of folders of model folders), in the user's data folder, and among the shipped
models of the package `mbz_models`, which only this module opens. Standard library only: `mbz list`
and `mbz models` must answer without loading a network.
"""

import hashlib
import importlib.resources
import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mbz.errors import ModelError, ModelMismatch

WEIGHTS = "weights.safetensors"
RUN = "config.toml"  # of a run of `mbz train`
MAX_HEADER = 1 << 20  # bytes of safetensors header; ours take a few thousand


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """One model that is installed here.

    Attributes:
        name: The folder's name, which is also what `--model` takes.
        path: The model folder.
        fingerprint: SHA-256 of the weights file, 32 bytes.
        size: Bytes of the weights file.
        licence: As the registry says; None for a user's own models.
        default: Whether `find(None)` would give this model.
    """

    name: str
    path: Path
    fingerprint: bytes
    size: int
    licence: str | None
    default: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """What `registry.toml` says of the shipped models."""

    default: str | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    models: dict[str, dict[str, str | int]] = field(default_factory=dict)


def find(name_or_path: str | None = None) -> Path:
    """Returns the folder of a model.

    Args:
        name_or_path: A model folder, the name or alias of an installed model, or None for the
            default model.

    Raises:
        ModelError: If there is no such model.
    """
    name = name_or_path if name_or_path is not None else registry().default
    if name is None:
        raise ModelError("no default model is installed; name one with --model NAME|PATH")
    if _is_model(path := Path(name)):
        return path
    if (path / RUN).is_file():
        raise ModelError(
            f"{name} is a run without {WEIGHTS}: it has not ended, or is of a baseline, which "
            "only 'mbz score' can use"
        )
    if path.name != name:  # it has a separator, so a path was meant
        raise ModelError(f"{name}: not a model folder (it has no {WEIGHTS}); see 'mbz models list'")
    for wanted in (name, registry().aliases.get(name)):
        for folder in _folders():
            if folder.name == wanted:
                return folder
    raise ModelError(f"no model named {name!r} in {_searched()}; see 'mbz models list'")


def find_by_fingerprint(prefix: bytes, name: str | None = None) -> Path:
    """Returns the folder of the model whose fingerprint starts with `prefix`.

    Args:
        prefix: First bytes of the SHA-256 of the weights file.
        name: The name that the archive gives, if any: looked at first, and told in the error.

    Raises:
        ModelMismatch: If no such model is installed.
    """
    name = name or shipped_name(prefix)
    folders = sorted(_folders(), key=lambda folder: folder.name != name)  # stable: order is kept
    for folder in folders:
        if fingerprint(folder).startswith(prefix):
            return folder
    wanted = f"{name!r} with" if name else "with"
    raise ModelMismatch(
        f"needs the model {wanted} fingerprint {prefix.hex()}, which is not in {_searched()}; "
        "put its folder into one of these or set MBZ_MODELS"
    )


def installed() -> list[ModelInfo]:
    """Lists every model that can be named, those found first (and so preferred) first."""
    shipped = _shipped_root()
    default = _default_folder()
    models: dict[str, ModelInfo] = {}
    for folder in _folders():
        entry = registry().models.get(folder.name, {}) if folder.parent == shipped else {}
        licence = entry.get("licence")
        info = ModelInfo(
            name=folder.name,
            path=folder,
            fingerprint=fingerprint(folder),
            size=(folder / WEIGHTS).stat().st_size,
            licence=None if licence is None else str(licence),
            default=folder == default,
        )
        models.setdefault(folder.name, info)
    return list(models.values())


def shipped_name(prefix: bytes) -> str | None:
    """Returns the name of the shipped model whose fingerprint starts with `prefix`, if any."""
    for name, entry in registry().models.items():
        if str(entry["fingerprint"]).startswith(prefix.hex()):
            return name
    return None


def fingerprint(folder: Path) -> bytes:
    """Returns the SHA-256 of a model's weights file, 32 bytes.

    Raises:
        ModelError: If the weights cannot be read.
    """
    try:
        with (folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ModelError(f"{folder}: cannot read {WEIGHTS} ({error.strerror})") from error


def metadata(folder: Path) -> dict[str, object]:
    """Returns what a weights file says of itself: the JSON object under its metadata key `mbz`.

    Raises:
        ModelError: If the file has no such header.
    """
    try:
        with (folder / WEIGHTS).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER:
                raise ModelError(f"{folder}: {WEIGHTS} is not a model of mbz")
            header = json.loads(file.read(length))
        about = json.loads(header["__metadata__"]["mbz"])
    except OSError as error:
        raise ModelError(f"{folder}: cannot read {WEIGHTS} ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder}: {WEIGHTS} is not a model of mbz") from error
    if not isinstance(about, dict):
        raise ModelError(f"{folder}: {WEIGHTS} is not a model of mbz")
    return about


@cache
def registry() -> Registry:
    """Reads the registry of shipped models; empty where the package is not installed."""
    root = _shipped_root()
    if root is None:
        return Registry()
    return Registry(**tomllib.loads((root / "registry.toml").read_text(encoding="utf-8")))


def _default_folder() -> Path | None:
    try:
        return find(None)
    except ModelError:
        return None


def _shipped_root() -> Path | None:
    """Returns the folder of `mbz_models`, or None when mbz runs without its models."""
    try:
        return Path(str(importlib.resources.files("mbz_models")))
    except ModuleNotFoundError:
        return None


def _roots() -> list[Path]:
    """Folders of model folders, those to be preferred first."""
    listed = os.environ.get("MBZ_MODELS", "").split(os.pathsep)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    roots = [Path(entry) for entry in listed if entry] + [Path(data) / "mbz" / "models"]
    shipped = _shipped_root()
    return roots if shipped is None else [*roots, shipped]


def _searched() -> str:
    return ", ".join(str(root) for root in _roots())


def _folders() -> Iterator[Path]:
    """Every model folder, those to be preferred first."""
    for root in _roots():
        if root.is_dir():
            yield from sorted(filter(_is_model, root.iterdir()))


def _is_model(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file()
