"""The bits of each byte of one document as a .npy file, (bytes,) float32."""

from typing import BinaryIO

import numpy as np

from mbz.scoring import Piece


class Writer:
    """Writes as bits come; the length goes into the header at the end."""

    def __init__(self, file: BinaryIO) -> None:
        """Takes a file that seeks."""
        self._file, self._size = file, 0
        self._header()

    def add(self, piece: Piece) -> None:
        """Writes the next bits."""
        self._file.write(piece.bits.astype("<f4").tobytes())
        self._size += piece.bits.size

    def drop(self, document: int) -> None:  # noqa: ARG002 - there is only one
        """Writes an empty array in the end."""
        self._size = 0

    def finish(self) -> None:
        """Ends the file."""
        self._header()
        self._file.truncate(self._file.tell() + 4 * self._size)

    def _header(self) -> None:
        self._file.seek(0)  # numpy leaves room for any length
        shape = {"descr": "<f4", "fortran_order": False, "shape": (self._size,)}
        np.lib.format.write_array_header_1_0(self._file, shape)
