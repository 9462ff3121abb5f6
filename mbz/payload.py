"""Payloads of single blocks: raw LZMA2, and code over lanes (docs/format.md, 6 and 7).

What decoding returns is not yet known to be right: the caller compares the content check.
"""

import lzma
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mbz.coder import Decoder, Encoder
from mbz.container import Coding
from mbz.errors import Corrupt, LimitExceeded
from mbz.exact import Interval, Predictor, Stepping
from mbz.steps import Steps
from mbz.together import Block, Decoding, Seat, decoded

if TYPE_CHECKING:
    from mbz.mixing import Mixer
    from mbz.mixing.memory import Memory

__all__ = [
    "costs",
    "decode",
    "decode_lzma",
    "encode",
    "encode_lzma",
    "lzma_may_beat",
    "quick_lzma",
]

_SCORE_BYTES = 1 << 12  # bytes scored at once: 4 MiB of counts
_LITTLE_BYTES = 1 << 17  # the same where counts stay on a device, which this keeps filled
_REPORT_BYTES = 1 << 10  # bytes between two reports while decoding
_MIN_DICTIONARY = 4096
_LZMA_SAMPLE = 1 << 16
# (lc, lp, pb): liblzma's default, then two that suit text; the stream itself records them.
_LZMA_SETTINGS = ((3, 0, 2), (3, 0, 0), (0, 0, 0))

Report = Callable[[int], object]
Score = Callable[[NDArray[np.uint8]], NDArray[Any]]
Scalar = TypeVar("Scalar", bound=np.generic)
Item = TypeVar("Item")


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


def lzma_may_beat(raw: bytes, quick: int, length: int) -> bool:
    """Whether `encode_lzma`, which is slow, may come below `length`.

    By what `quick_lzma` gives, and by how much shorter a part from the middle can be made.
    """
    if quick >= 2 * length:
        return False
    if len(raw) <= 2 * _LZMA_SAMPLE:
        return True
    start = (len(raw) - _LZMA_SAMPLE) // 2
    part = raw[start : start + _LZMA_SAMPLE]
    return quick * len(encode_lzma(part)) < 1.1 * length * quick_lzma(part)


def quick_lzma(raw: bytes) -> int:
    """The length of LZMA2 by its fastest setting."""
    settings = _lzma_filter(len(raw)) | {"preset": 0}
    return len(lzma.compress(raw, lzma.FORMAT_RAW, filters=[settings]))


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


def encode(raw: bytes, coding: Coding, predictor: Predictor | None, report: Report) -> bytes:
    """The code of a block (sections 7 and 8).

    Args:
        raw: content of the block, at least a byte a lane.
        coding: how to predict it; its set of experts exists.
        predictor: the model, if it takes part.
        report: called with the number of bytes done.
    """
    symbols_TL = np.ascontiguousarray(_split_lanes(raw, coding.lanes).T)
    done = 0

    def parts(score: Score | None = None) -> Iterator[tuple[NDArray[np.uint8], Any, int]]:
        nonlocal done
        for part in _ahead(_parts(symbols_TL, len(raw), predictor, score)):
            yield part
            done += part[2]
            report(done)

    if coding.experts:
        return _mixed(parts, len(raw), coding, predictor)
    assert predictor is not None
    compiled = _compiled_range_code()
    if compiled is None:
        encoder = Encoder()
        for part_SL, counts_SLV, num in parts():
            encoder.encode(part_SL.reshape(-1)[:num], counts_SLV.reshape(-1, 256)[:num])
        return encoder.finish()
    fast = compiled.Encoder()
    intervals = partial(_by_step, partial(compiled.intervals_of, predictor))
    for _, intervals_SL2, num in parts(intervals):
        fast.encode(intervals_SL2.reshape(-1, 2)[:num])
    code: bytes = fast.finish()
    return code


def _mixed(
    parts: Callable[[Score | None], Iterator[tuple[NDArray[np.uint8], Any, int]]],
    size: int,
    coding: Coding,
    predictor: Predictor | None,
) -> bytes:
    """The code of a block with experts, from the parts that `encode` takes it in."""
    from mbz.mixing import BitEncoder  # noqa: PLC0415 - numba is heavy

    encoder = BitEncoder()
    if isinstance(predictor, Seat) and predictor.codes_there:
        score = partial(predictor.mixed, _open_memory(coding, size))
        for part_SL, chances_S8L, _ in parts(score):
            encoder.encode(part_SL, chances_S8L.astype(np.int32))
        return encoder.finish()
    mixer = open_mixer(coding, size)
    for part_SL, counts_SLV, _ in parts(None):
        encoder.encode(part_SL, mixer.score(part_SL, _integers(counts_SLV)))
    return encoder.finish()


def costs(raw: bytes, coding: Coding, predictor: Predictor | None) -> NDArray[np.float32]:
    """Bits that each byte takes in the code of a block, (n,); arguments as for `encode`."""
    symbols_TL = np.ascontiguousarray(_split_lanes(raw, coding.lanes).T)
    mixer = open_mixer(coding, len(raw)) if coding.experts else None
    found = []
    for part_SL, counts_SLV, _ in _ahead(_parts(symbols_TL, len(raw), predictor)):
        if mixer is None:
            assert counts_SLV is not None
            chosen = np.take_along_axis(counts_SLV, part_SL[..., None].astype(np.intp), 2)[..., 0]
            found.append(24 - np.log2(chosen + np.float32(1)))
        else:
            ones_S8L = mixer.score(part_SL, _integers(counts_SLV)) / np.float32(1 << 16)
            bits_S8L = np.unpackbits(part_SL[:, None], axis=1)
            chances_S8L = np.where(bits_S8L, ones_S8L, 1 - ones_S8L)
            found.append(-np.log2(chances_S8L).sum(1))
    return _join_lanes(np.concatenate(found).T, len(raw))


def _compiled_range_code() -> ModuleType | None:
    """The faster twin of `mbz.coder`, where numba is."""
    try:
        return import_module("mbz.range_code")
    except ImportError:
        return None


def _parts(
    symbols_TL: NDArray[np.uint8],
    size: int,
    predictor: Predictor | None,
    score: Score | None = None,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any] | None, int]]:
    """Some steps of all lanes at a time: bytes (S, L), the model's counts, how many bytes exist.

    Or, instead of counts, what `score` gives of bytes (S, L).
    """
    lanes = symbols_TL.shape[1]
    if predictor is not None:
        _reset(predictor, lanes)
    little = score is not None and isinstance(predictor, Interval)
    steps_at_once = max(1, (_LITTLE_BYTES if little else _SCORE_BYTES) // lanes)
    done = 0
    for start in range(0, len(symbols_TL), steps_at_once):
        part_SL = symbols_TL[start : start + steps_at_once]
        counts_SLV = None
        if score is not None:
            counts_SLV = score(part_SL)
        elif predictor is not None:
            counts_SLV = _by_step(predictor.score, part_SL)
        num = min(part_SL.size, size - done)  # leaves the last step's missing bytes out
        yield part_SL, counts_SLV, num
        done += num


def _by_step(
    score: Callable[[NDArray[np.uint8]], NDArray[Scalar]], part_SL: NDArray[np.uint8]
) -> NDArray[Scalar]:
    """What a network gives of bytes (L, S), with the axes of lanes and steps exchanged."""
    return np.ascontiguousarray(score(np.ascontiguousarray(part_SL.T)).swapaxes(0, 1))


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in another thread while the one before is used.

    So the network goes on while the mixing coder works; neither holds the interpreter's lock.
    """
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item


def decode(
    payload: bytes, raw_length: int, coding: Coding, predictor: Predictor | None, report: Report
) -> bytes:
    """Undoes `encode`; raises a DataError or gives wrong bytes if anything is damaged."""
    if predictor is not None and (isinstance(predictor, Seat) or not coding.experts):
        raw = _decoded_at_once(payload, raw_length, coding, predictor, report)
        if raw is not None:
            return raw
    lanes = coding.lanes
    symbols_TL = np.zeros((-(-raw_length // lanes), lanes), np.uint8)
    steps = max(1, _SCORE_BYTES // lanes)
    if predictor is not None:
        _reset(predictor, lanes)
        steps = 1
    reported = 0
    with ExitStack() as threads:
        network = None
        if coding.experts and isinstance(predictor, Stepping):
            network = threads.enter_context(predictor.stepping())
            steps = max(1, _REPORT_BYTES // lanes)
        following = _decoder(payload, raw_length, coding, network)
        for start in range(0, len(symbols_TL), steps):
            counts_LV = None
            if predictor is not None and network is None:
                if start:
                    predictor.push(symbols_TL[start - 1])
                counts_LV = predictor.counts()
            symbols_TL[start : start + steps] = following(steps, counts_LV)
            done = min((start + steps) * lanes, raw_length)
            if done - reported >= _REPORT_BYTES:
                reported = done
                report(reported)
    return _join_lanes(symbols_TL.T, raw_length).tobytes()


def _decoded_at_once(
    payload: bytes, raw_length: int, coding: Coding, predictor: Predictor, report: Report
) -> bytes | None:
    """`decode` without Python between two bytes; None where there is no compiled code for it."""
    seat = predictor if isinstance(predictor, Seat) else None
    if seat is not None and seat.codes_there:
        _reset(seat, coding.lanes)
        if not coding.experts:
            return seat.restored(raw_length, payload, report)
        from mbz.mixing import BitDecoder  # noqa: PLC0415 - numba is heavy

        return seat.restored(_open_memory(coding, raw_length), BitDecoder(payload), report)
    step, opened = _compiled(payload, raw_length, coding)
    if opened is None:
        return None
    block = Block(opened, raw_length, report)
    _reset(predictor, coding.lanes)
    if seat is not None:
        symbols_TL = seat.decode(step, block)
    else:
        places = [(block, slice(0, coding.lanes))]
        (symbols_TL,) = decoded(predictor, coding.lanes, step, places)
    return _join_lanes(symbols_TL.T, raw_length).tobytes()


def _reset(predictor: Predictor, lanes: int) -> None:
    """Starts the lanes of a block, unless they would take more memory than a block may."""
    if lanes > predictor.most_lanes:
        raise LimitExceeded(
            f"A block has {lanes} lanes, which need more memory than the limit allows; "
            f"its model may have {predictor.most_lanes}."
        )
    predictor.reset(lanes)


def _compiled(
    payload: bytes, raw_length: int, coding: Coding
) -> tuple[int, Callable[[NDArray[np.uint8], NDArray[np.uint32]], Decoding] | None]:
    """The function and the opener of a block with a network, as `decoded` takes them, if any."""
    if coding.experts:
        from mbz.mixing import BitDecoder, jobs  # noqa: PLC0415 - numba is heavy

        memory = open_mixer(coding, raw_length).memory
        return jobs.step_address(), partial(jobs.Decoding, memory, BitDecoder(payload))
    range_code = _compiled_range_code()
    if range_code is None:
        return 0, None
    return range_code.step_address(), partial(range_code.Decoding, payload, raw_length)


def _decoder(
    payload: bytes, raw_length: int, coding: Coding, network: Steps | None
) -> Callable[[int, NDArray[np.float32] | None], NDArray[np.uint8]]:
    """A function that gives the bytes of the next steps, (S, L).

    With a predictor it steps the network itself, or takes the counts of one step, (L, V).
    """
    if not coding.experts:
        decoder = Decoder(payload)
        left = raw_length

        def coded(_steps: int, counts_LV: NDArray[np.float32] | None) -> NDArray[np.uint8]:
            nonlocal left
            assert counts_LV is not None
            symbols_1L = np.zeros((1, coding.lanes), np.uint8)
            num = min(coding.lanes, left)
            symbols_1L[0, :num] = decoder.decode(counts_LV[:num])
            left -= num
            return symbols_1L

        return coded
    from mbz.mixing import BitDecoder  # noqa: PLC0415 - numba is heavy

    mixer = open_mixer(coding, raw_length)
    bit_decoder = BitDecoder(payload)

    def mixed(steps: int, counts_LV: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        counts_1LV = None if counts_LV is None else _integers(counts_LV[None])
        return mixer.decode(bit_decoder, steps, counts_1LV, network)

    return mixed


def open_mixer(coding: Coding, size: int) -> "Mixer":
    """The mixing coder of a block of `size` bytes.

    Raises:
        Corrupt: there is no such set of experts.
    """
    from mbz.mixing import Mixer  # noqa: PLC0415 - numba is heavy

    return Mixer(size, coding.lanes, **_settings(coding))


def _open_memory(coding: Coding, size: int) -> "Memory":
    """The memory of that mixing coder, for one on a device, which takes it as it is at first."""
    from mbz.mixing import begun_to_copy  # noqa: PLC0415 - numba is heavy

    return begun_to_copy(size, coding.lanes, **_settings(coding))


def _settings(coding: Coding) -> dict[str, Any]:
    from mbz.mixing import SETS  # noqa: PLC0415 - numba is heavy

    if coding.experts > len(SETS):
        raise Corrupt("The archive is damaged: a block needs a set of experts that does not exist.")
    return {
        "use": SETS[coding.experts - 1],
        "network": coding.network,
        "stride": coding.stride,
        "unit": coding.unit,
        "phase": coding.phase,
    }


def _integers(counts: NDArray[np.float32] | None) -> NDArray[np.uint32] | None:
    return None if counts is None else counts.astype(np.uint32)


def _split_lanes(raw: bytes, lanes: int) -> NDArray[np.uint8]:
    """Lanes of consecutive bytes, (L, T); those one byte shorter end in a zero."""
    data = np.frombuffer(raw, np.uint8)
    shorter, num_longer = divmod(data.size, lanes)
    cut = num_longer * (shorter + 1)
    symbols_LT = np.zeros((lanes, -(-data.size // lanes)), np.uint8)
    symbols_LT[:num_longer] = data[:cut].reshape(num_longer, symbols_LT.shape[1])
    symbols_LT[num_longer:, :shorter] = data[cut:].reshape(-1, shorter)
    return symbols_LT


def _join_lanes(of_LT: NDArray[Scalar], raw_length: int) -> NDArray[Scalar]:
    """Undoes `_split_lanes`, of bytes or of what belongs to them, (n,)."""
    shorter, num_longer = divmod(raw_length, of_LT.shape[0])
    return np.concatenate([of_LT[:num_longer].ravel(), of_LT[num_longer:, :shorter].ravel()])
