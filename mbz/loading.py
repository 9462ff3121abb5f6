"""Opens models for those who hold data in their hands: by name, by path or by fingerprint."""

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mbz import weights, zoo
from mbz.config import ModelConfig
from mbz.container import FINGERPRINT_BYTES, ModelId
from mbz.exact import Predictor, open_predictor

__all__ = ["Model", "find_model", "load_model", "opened"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """An opened model, for one thread at a time.

    Attributes:
        name: as it calls itself.
        path: its folder.
        fingerprint: SHA-256 of its weights file, 32 bytes.
        config: its network.
        predictor: gives its counts.
    """

    name: str
    path: Path
    fingerprint: bytes
    config: ModelConfig
    predictor: Predictor

    @property
    def id(self) -> ModelId:
        """What an archive calls it: a shipped model is found by its fingerprint alone."""
        prefix = self.fingerprint[:FINGERPRINT_BYTES]
        shipped = zoo.shipped_name(self.fingerprint) is not None
        return ModelId(fingerprint=prefix, name=None if shipped else self.name)


def load_model(
    name_or_path: str | Path | None = None, *, device: str = "auto", threads: int | None = None
) -> Model:
    """Opens a model and tests it.

    Args:
        name_or_path: a model folder, or the name of an installed model; None for the default one.
        device: "cuda", "cpu", or "auto" for CUDA where there is one.
        threads: CPU threads; None for all.

    Raises:
        ModelError: there is no such model, or it is damaged.
        ValueError: no such device here.
    """
    path = zoo.find(None if name_or_path is None else str(name_or_path))
    found = weights.read(path)
    return Model(
        name=found.name,
        path=path,
        fingerprint=found.fingerprint,
        config=found.config,
        predictor=open_predictor(found, device, threads),
    )


def opened(model: "Model | str | Path | None") -> Model:
    """The model itself, or one opened before or now; each thread has its own."""
    if isinstance(model, Model):
        return model
    path = zoo.find(None if model is None else str(model))
    return _opened(path, zoo.fingerprint(path), threading.get_ident())


@lru_cache(maxsize=2)
def _opened(path: Path, _fingerprint: bytes, _thread: int) -> Model:
    return load_model(path)


def find_model(fingerprint: bytes, name: str | None) -> Predictor:
    """The predictor that an archive needs, as `mbz.codec.decompress` asks for it.

    Raises:
        ModelMismatch: no such model is installed.
        ModelError: it is damaged.
    """
    return opened(zoo.find_by_fingerprint(fingerprint, name)).predictor
