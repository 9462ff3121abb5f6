"""Models as the codec wants them: opened on a device, and named in an archive.

All heavy imports of the commands are here and in the commands' bodies.
"""

from __future__ import annotations

import stat
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mbz import zoo
from mbz.errors import MbzError, ModelMismatch
from mbz.exact import Shareable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mbz.container import ModelId
    from mbz.exact import Predictor
    from mbz.loading import Model

    from .options import DeviceName

SMALL_CONTENT: Final = 1 << 18
"""Bytes that two cores are done with before CUDA has started, about (docs/log.md)."""
SMALL_ARCHIVES: Final = SMALL_CONTENT // 4


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
    _shared: Models | None = None
    _seat: tuple[bytes, Predictor] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cores(self) -> int:
        """Returns how many files to work on at once: one where a device has work for all."""
        from mbz.exact import has_driver
        from mbz.exact.cores import usable_cores

        if self.device == "cuda" or (self.device == "auto" and has_driver()):
            return 1
        return self.threads or usable_cores()

    def settle(self, names: Sequence[str], small: int) -> None:
        """Lets "auto" be the CPU where the files have less than `small` bytes together."""
        if self.device != "auto":
            return
        try:
            found = [Path(name).stat() for name in names]
        except OSError:  # standard input, or what the command will complain of
            return
        if (
            all(stat.S_ISREG(one.st_mode) for one in found)
            and sum(one.st_size for one in found) < small
        ):
            self.device = "cpu"

    def apart(self) -> Models:
        """Returns the same models for one thread beside others, with predictors of its own."""
        return Models(folder=self.folder, device=self.device, threads=1, _shared=self)

    def seated(self, fingerprint: bytes, seat: Predictor) -> Models:
        """Returns the same models, but what others share of one of them for that one."""
        return replace(self, _seat=(fingerprint, seat))

    def load(self, folder: Path) -> Model:
        """Opens the model of a folder, which passes its self-test."""
        from mbz.loading import load_model

        try:
            return load_model(folder, device=self.device, threads=self.threads or None)
        except ValueError as error:
            raise MbzError(f"--device {self.device} cannot be used ({error})") from error

    def open(self, folder: Path) -> tuple[Predictor, ModelId]:
        """Returns the predictor of a model folder and what an archive calls the model."""
        if folder not in self._opened and self._shared is not None:
            with self._shared._lock:  # noqa: SLF001
                predictor, model_id = self._shared.open(folder)
            if isinstance(predictor, Shareable):
                self._opened[folder] = predictor.apart(), model_id
        if folder not in self._opened:
            model = self.load(folder)
            self._opened[folder] = model.predictor, model.id
        return self._opened[folder]

    def find(self, fingerprint: bytes, name: str | None) -> Predictor:
        """Returns the predictor that an archive needs, as `mbz.codec.decompress` asks for it.

        Raises:
            ModelMismatch: If that model is not here, or not the one that `--model` names.
        """
        if self._seat is not None and self._seat[0] == fingerprint:
            return self._seat[1]
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
