"""The mbz library: byte-level compression and density estimation with exact Megabyte models.

What it offers stands in `__all__`; each is imported when it is first used, so that importing this
package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbz.api import Score, compress, decompress, open, score  # noqa: A004
    from mbz.errors import DataError, MbzError, ModelError, ModelMismatch
    from mbz.loading import Model, load_model
    from mbz.model import Megabyte

__all__ = [
    "DataError",
    "MbzError",
    "Megabyte",
    "Model",
    "ModelError",
    "ModelMismatch",
    "Score",
    "compress",
    "decompress",
    "load_model",
    "open",
    "score",
]

_PLACES = {
    "mbz.api": ("Score", "compress", "decompress", "open", "score"),
    "mbz.errors": ("DataError", "MbzError", "ModelError", "ModelMismatch"),
    "mbz.loading": ("Model", "load_model"),
    "mbz.model": ("Megabyte",),
}


def __getattr__(name: str) -> object:
    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(place), name)
    raise AttributeError(f"module 'mbz' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
