"""Models as the codec wants them: opened on a device, and named in an archive.

All heavy imports of the commands are here and in the commands' bodies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mbz import zoo
from mbz.errors import MbzError, ModelMismatch

if TYPE_CHECKING:
    from pathlib import Path

    from mbz.container import ModelId
    from mbz.exact import Predictor
    from mbz.loading import Model

    from .options import DeviceName


@dataclass(kw_only=True, slots=True)
class Models:
    """The models of one command: each is opened once, when it is first needed.

    Attributes:
        folder: The only model to use; None looks for each archive's own.
        device: Where the network runs.
        threads: CPU threads; None or 0 means all.
    """

    folder: Path | None
    device: DeviceName
    threads: int | None
    _opened: dict[Path, tuple[Predictor, ModelId]] = field(default_factory=dict)

    def load(self, folder: Path) -> Model:
        """Opens the model of a folder, which passes its self-test."""
        from mbz.loading import load_model

        try:
            return load_model(folder, device=self.device, threads=self.threads or None)
        except ValueError as error:
            raise MbzError(f"--device {self.device} cannot be used ({error})") from error

    def open(self, folder: Path) -> tuple[Predictor, ModelId]:
        """Returns the predictor of a model folder and what an archive calls the model."""
        if folder not in self._opened:
            model = self.load(folder)
            self._opened[folder] = model.predictor, model.id
        return self._opened[folder]

    def find(self, fingerprint: bytes, name: str | None) -> Predictor:
        """Returns the predictor that an archive needs, as `mbz.codec.decompress` asks for it.

        Raises:
            ModelMismatch: If that model is not here, or not the one that `--model` names.
        """
        folder = self.folder
        if folder is None:
            folder = zoo.find_by_fingerprint(fingerprint, name)
        elif not zoo.fingerprint(folder).startswith(fingerprint):
            wanted = name or zoo.shipped_name(fingerprint) or "another"
            raise ModelMismatch(
                f"needs the model {wanted} with fingerprint {fingerprint.hex()}, "
                f"which {folder} is not; leave out --model to look for it"
            )
        return self.open(folder)[0]
