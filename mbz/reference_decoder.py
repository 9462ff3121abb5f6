"""Restores archives slowly with numpy alone: no torch, numba, constriction, safetensors or xxhash.

    python -m mbz.reference_decoder ARCHIVE [MODEL_DIR] > CONTENT

For machines that nothing else runs on, and to show that archives do not depend on any of these.
Predictions are those of `exact/reference.py`. Blocks with adaptive experts need `mbz.mixing`, which
runs without being compiled where NUMBA_DISABLE_JIT=1 says so.
"""

import hashlib
import io
import json
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mbz import container, weights
from mbz.config import ModelConfig
from mbz.container import Block, Coding, Frame, Kind
from mbz.errors import BadMagic, Corrupt, LimitExceeded, ModelError, ModelMismatch
from mbz.exact.reference import ReferencePredictor
from mbz.exact.selftest import digest
from mbz.reader import Reader

__all__ = ["RangeDecoder", "decompress", "read_model"]

Model: TypeAlias = tuple[bytes, ReferencePredictor]
_DTYPES: Final = {"F32": "<f4", "I8": "i1"}


class RangeDecoder:
    """The range code of docs/format.md, section 8, in Python's integers."""

    def __init__(self, code: bytes) -> None:
        self._code = code
        self._at = 8
        self._range = (1 << 64) - 1
        self._above = int.from_bytes(code[:8].ljust(8, b"\0"), "big")  # how far above low

    def decode(self, counts_V: NDArray[np.float32]) -> int:
        """The next byte, from its 256 counts.

        Raises:
            Corrupt: no byte has this code.
        """
        sums = np.cumsum(counts_V.astype(np.int64) + 1)
        scale = self._range >> 24
        place = self._above // scale
        if place >= int(sums[-1]):
            raise Corrupt("The archive is damaged: a block holds a code that no content has.")
        value = int(np.searchsorted(sums, place, "right"))
        below = int(sums[value - 1]) if value else 0
        self._above -= scale * below
        self._range = scale * (int(sums[value]) - below)
        if self._range < 1 << 32:
            self._range <<= 32
            word = self._code[self._at : self._at + 4].ljust(4, b"\0")
            self._above = self._above << 32 | int.from_bytes(word, "big")
            self._at += 4
        return value


def read_model(folder: Path) -> Model:
    """The fingerprint of a model and its predictor.

    Raises:
        ModelError: it is damaged, or of another version.
    """
    blob = (folder / weights.FILE_NAME).read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    try:
        header: dict[str, Any] = json.loads(blob[8:start])
        meta = json.loads(header.pop("__metadata__")["mbz"])
        config = ModelConfig.from_dict(meta["config"])
        tensors = {}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            data = np.frombuffer(blob[start + first : start + last], _DTYPES[entry["dtype"]])
            tensors[name] = data.astype(data.dtype.newbyteorder("=")).reshape(entry["shape"])
        weights.check(config, tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder} holds no usable model ({error})") from error
    predictor = ReferencePredictor(config, tensors)
    if digest(predictor) != meta["golden"]:
        raise ModelError(f"the model in {folder} fails its self-test; its weights are damaged")
    return hashlib.sha256(blob).digest(), predictor


def decompress(archives: bytes, model: Model | None = None) -> bytes:
    """The content of archives; `model` is what `read_model` gave, if they need one.

    Raises:
        DataError: as docs/format.md, section 9, says.
        ModelError: the model cannot be used.
    """
    reader = Reader(io.BytesIO(archives))
    contents: list[bytes] = []
    while not (contents and reader.at_end()):
        try:
            header = container.read_header(reader)
        except BadMagic as error:
            if not contents:
                raise
            raise Corrupt("Bytes that are no archive follow the archive.") from error
        if isinstance(header, Frame):
            reader.skip(header.length)
            continue
        predictor = None
        if header.model is not None:
            if model is None or not model[0].startswith(header.model.fingerprint):
                raise ModelMismatch(
                    f"needs the model {header.model.name or ''} with fingerprint "
                    f"{header.model.fingerprint.hex()}; name its folder"
                )
            predictor = model[1]
        if header.only_block is not None:
            contents.append(_decoded(reader, header.only_block, predictor))
        else:
            contents.append(_decoded_blocks(reader, predictor))
        if header.size not in (None, len(contents[-1])):
            raise Corrupt("The archive is damaged: its blocks do not add up to its size.")
    return b"".join(contents)


def _decoded_blocks(reader: Reader, predictor: ReferencePredictor | None) -> bytes:
    content = b""
    while isinstance(mark := container.read_block(reader), Block):
        content += _decoded(reader, mark, predictor)
    if mark.raw_length != len(content) or mark.check != container.content_check(content):
        raise Corrupt("The archive is damaged: its end mark does not fit its content.")
    return content


def _decoded(reader: Reader, block: Block, predictor: ReferencePredictor | None) -> bytes:
    payload = reader.exactly(block.coded_length)
    if block.kind is Kind.STORED:
        content = payload
    elif block.kind is Kind.LZMA:
        content = _decoded_lzma(payload, block.raw_length)
    else:
        content = _decoded_lanes(payload, block, predictor)
    if container.content_check(content)[: len(block.check)] != block.check:
        raise Corrupt("The archive is damaged: the check of a block is wrong.")
    return content


def _decoded_lzma(payload: bytes, size: int) -> bytes:
    chain = [{"id": lzma.FILTER_LZMA2, "dict_size": max(4096, size)}]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)
    try:
        content = decoder.decompress(payload, size + 1)
    except lzma.LZMAError as error:
        raise Corrupt("The archive is damaged: an LZMA block cannot be decoded.") from error
    if not decoder.eof or decoder.unused_data:
        raise Corrupt("The archive is damaged: an LZMA block has the wrong length.")
    return content


def _decoded_lanes(payload: bytes, block: Block, predictor: ReferencePredictor | None) -> bytes:
    coding = block.coding
    assert coding is not None
    if coding.network and predictor is None:
        raise Corrupt("The archive is damaged: a block needs a model, but none is named.")
    shorter, longer = divmod(block.raw_length, coding.lanes)
    lengths = [shorter + 1] * longer + [shorter] * (coding.lanes - longer)
    network = predictor if coding.network else None
    steps = _steps(payload, block.raw_length, coding, network, lengths)
    symbols_LT = np.stack(list(steps), 1)
    return b"".join(row[:size].tobytes() for row, size in zip(symbols_LT, lengths, strict=True))


def _steps(
    payload: bytes,
    size: int,
    coding: Coding,
    network: ReferencePredictor | None,
    lengths: list[int],
) -> Iterator[NDArray[np.uint8]]:
    """The bytes of all lanes, step by step, (L,); 0 where a lane has none."""
    decoder = mixer = None
    if coding.experts:
        from mbz import mixing  # noqa: PLC0415 - needs numba, or does without

        if coding.experts > len(mixing.SETS):
            raise Corrupt("The archive is damaged: a block needs a set of experts that is none.")
        mixer = mixing.Mixer(
            size,
            coding.lanes,
            use=mixing.SETS[coding.experts - 1],
            network=coding.network,
            stride=coding.stride,
            unit=coding.unit,
            phase=coding.phase,
        )
        bits = mixing.BitDecoder(payload)
    else:
        decoder = RangeDecoder(payload)
    if network is not None:
        if coding.lanes > network.most_lanes:
            raise LimitExceeded("A block has more lanes than the memory for its model allows.")
        network.reset(coding.lanes)
    for t in range(lengths[0]):
        counts_LV = None if network is None else network.counts()
        symbols_L = np.zeros(coding.lanes, np.uint8)
        if mixer is not None:
            counts = None if counts_LV is None else counts_LV[None].astype(np.uint32)
            symbols_L = mixer.decode(bits, 1, counts)[0]
        else:
            assert decoder is not None
            assert counts_LV is not None
            for lane in range(sum(t < length for length in lengths)):
                symbols_L[lane] = decoder.decode(counts_LV[lane])
        yield symbols_L
        if network is not None:
            network.push(symbols_L)


if __name__ == "__main__":
    given = [Path(arg) for arg in sys.argv[1:]]
    if not 1 <= len(given) <= 2:
        raise SystemExit("use: python -m mbz.reference_decoder ARCHIVE [MODEL_DIR] > CONTENT")
    models = map(read_model, given[1:])
    sys.stdout.buffer.write(decompress(given[0].read_bytes(), *models))
