"""Payloads of single blocks: raw LZMA2, and a model's code over lanes (docs/format.md, 6 and 7).

What decoding returns is not yet known to be right: the caller compares the content check.
"""

import lzma
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mbz.coder import Decoder, Encoder
from mbz.errors import Corrupt
from mbz.exact import Predictor

__all__ = ["decode_lzma", "decode_model", "default_lanes", "encode_lzma", "encode_model"]

LANE_BYTES: Final = 8192
DEFAULT_MAX_LANES: Final = 128

_SCORE_BYTES = 1 << 14  # bytes scored at once: 16 MiB of counts
_REPORT_BYTES = 1 << 10  # bytes between two reports while decoding
_MIN_DICTIONARY = 4096
# (lc, lp, pb): liblzma's default, then two that suit text; the stream itself records them.
_LZMA_SETTINGS = ((3, 0, 2), (3, 0, 0), (0, 0, 0))

Report = Callable[[int], object]


def default_lanes(raw_length: int) -> int:
    """Lanes of a block of `raw_length` >= 1 bytes where the caller does not choose."""
    return min(DEFAULT_MAX_LANES, -(-raw_length // LANE_BYTES))


def encode_lzma(raw: bytes) -> bytes:
    """The shortest LZMA2 payload under the settings tried (section 6)."""
    return min(
        (
            lzma.compress(
                raw,
                lzma.FORMAT_RAW,
                filters=[
                    _lzma_filter(len(raw))
                    | {"preset": 9 | lzma.PRESET_EXTREME, "lc": lc, "lp": lp, "pb": pb}
                ],
            )
            for lc, lp, pb in _LZMA_SETTINGS
        ),
        key=len,
    )


def decode_lzma(payload: bytes, raw_length: int) -> bytes:
    """Undoes `encode_lzma`; raises Corrupt if `payload` is not LZMA2 of `raw_length` bytes."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_lzma_filter(raw_length)])
    try:
        # One byte more than expected lets the decoder reach its end marker.
        raw = decoder.decompress(payload, raw_length + 1)
    except lzma.LZMAError as error:
        raise Corrupt("The archive is damaged: an LZMA block cannot be decoded.") from error
    if len(raw) != raw_length or not decoder.eof or decoder.unused_data:
        raise Corrupt("The archive is damaged: an LZMA block has the wrong length.")
    return raw


def _lzma_filter(raw_length: int) -> dict[str, int]:
    return {"id": lzma.FILTER_LZMA2, "dict_size": max(_MIN_DICTIONARY, raw_length)}


def encode_model(raw: bytes, lanes: int, predictor: Predictor, report: Report) -> bytes:
    """The code of a block under the model (section 7); `report` gets the bytes done in it."""
    symbols_LT = _split_lanes(raw, lanes)
    num_steps = symbols_LT.shape[1]
    steps_at_once = max(1, _SCORE_BYTES // lanes)
    encoder = Encoder()
    predictor.reset(lanes)
    done = 0
    for start in range(0, num_steps, steps_at_once):
        part_LS = np.ascontiguousarray(symbols_LT[:, start : start + steps_at_once])
        counts_SLV = np.ascontiguousarray(predictor.score(part_LS).swapaxes(0, 1))
        num = min(part_LS.size, len(raw) - done)  # leaves the last step's missing bytes out
        encoder.encode(part_LS.T.reshape(-1)[:num], counts_SLV.reshape(-1, 256)[:num])
        done += num
        report(done)
    return encoder.finish()


def decode_model(
    payload: bytes, raw_length: int, lanes: int, predictor: Predictor, report: Report
) -> bytes:
    """Undoes `encode_model`; raises Corrupt or gives wrong bytes if anything is damaged."""
    num_steps = -(-raw_length // lanes)
    symbols_TL = np.zeros((num_steps, lanes), np.uint8)
    decoder = Decoder(payload)
    predictor.reset(lanes)
    reported = 0
    for step in range(num_steps):
        if step:
            predictor.push(symbols_TL[step - 1])
        done = step * lanes
        num = min(lanes, raw_length - done)
        symbols_TL[step, :num] = decoder.decode(predictor.counts()[:num])
        if done + num - reported >= _REPORT_BYTES:
            reported = done + num
            report(reported)
    return _join_lanes(symbols_TL.T, raw_length)


def _split_lanes(raw: bytes, lanes: int) -> NDArray[np.uint8]:
    """Lanes of consecutive bytes, (L, T); those one byte shorter end in a zero."""
    data = np.frombuffer(raw, np.uint8)
    shorter, num_longer = divmod(data.size, lanes)
    cut = num_longer * (shorter + 1)
    symbols_LT = np.zeros((lanes, -(-data.size // lanes)), np.uint8)
    symbols_LT[:num_longer] = data[:cut].reshape(num_longer, symbols_LT.shape[1])
    symbols_LT[num_longer:, :shorter] = data[cut:].reshape(-1, shorter)
    return symbols_LT


def _join_lanes(symbols_LT: NDArray[np.uint8], raw_length: int) -> bytes:
    """Undoes `_split_lanes`."""
    shorter, num_longer = divmod(raw_length, symbols_LT.shape[0])
    return symbols_LT[:num_longer].tobytes() + symbols_LT[num_longer:, :shorter].tobytes()
