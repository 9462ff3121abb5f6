"""One network for the blocks of several threads.

Going through all its weights for a few lanes takes hardly longer than for many. So lanes of several
blocks, or of several small files, can go through together: each thread works on its block with a
`Seat`, a predictor of the lanes of this block, and one thread serves the `Table`, which does what
the seats ask for as soon as all of them have. All streams start together; whoever is done leaves.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Condition, Event
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from mbz.errors import MbzError
from mbz.exact import Predictor, Stepping

__all__ = ["Block", "Coders", "Decoding", "Mixing", "Seat", "Table", "decoded"]

_STEPS = 64  # decoded between two reports


class Decoding(Protocol):
    """A block that compiled code decodes, step by step.

    Attributes:
        address: what to call its function with.
        symbols_TL: the bytes, as far as decoded.
    """

    address: int
    symbols_TL: NDArray[np.uint8]  # noqa: N815 - says its shape


class Coders(Protocol):
    """What codes several blocks beside one network, on its device.

    With experts `mbz.mixing.cuda`, else `mbz.range_cuda`.

    Attributes:
        memory: bytes of the device that blocks may take together.
    """

    memory: int

    def begin(self, places: Sequence[tuple[Any, slice]], decoders: Sequence[Any]) -> None:
        """Takes blocks, and which lanes are theirs; their codes, to decode.

        Blocks are memories of mixing coders that have seen nothing, or without experts lengths.
        """

    def decode(self, reports: Sequence[Callable[[int], object]]) -> list[bytes]:
        """The contents of all blocks; reports how many bytes of each are done."""


class Mixing(Coders, Protocol):
    """Those with experts."""

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Chances (S, 8, B) of the bits of the next bytes."""


class Seat:
    """The `Predictor` of the lanes of one block, for one thread; a context that leaves at its end.

    It serves once: after `reset` either for `score`, or for `counts` and `push`, or for `decode`.
    """

    def __init__(self, table: "Table") -> None:
        """Takes a seat at a table that is to be served."""
        self._table = table
        self.most_lanes = table.predictor.most_lanes
        self.lanes = slice(0, 0)
        self.memory: Any = None  # of its mixing coder, where that is with the network
        self.answered = Event()
        self.answer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Has the others wait no longer for this one."""
        with self._table.changed:
            self._table.here.discard(self)
            self._table.changed.notify()

    def reset(self, lanes: int) -> None:
        """Starts `lanes` empty streams, beside those of the others."""
        self._ask("reset", lanes)

    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, (B, 256)."""
        counts: NDArray[np.float32] = self._ask("counts", None)
        return counts

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane."""
        self._table.symbols[self.lanes] = symbols_B

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Counts before each of S given bytes, (B, S, 256)."""
        return self._scored("score", symbols_BS)

    def intervals(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Where the share of each of S given bytes starts and its size, (B, S, 2)."""
        return self._scored("intervals", symbols_BS)

    def _scored(self, what: str, symbols_BS: NDArray[np.uint8], steps: int = 1) -> NDArray[Any]:
        """What is found of all bytes; `steps`: the axis of it that goes by steps."""
        found: list[NDArray[Any]] = []
        done = 0
        while done < symbols_BS.shape[1]:  # others may have fewer
            found.append(self._ask(what, symbols_BS[:, done:]))
            done += found[-1].shape[steps]
        return found[0] if len(found) == 1 else np.concatenate(found, steps)

    @property
    def codes_there(self) -> bool:
        """Whether what all seats code is coded where the network is."""
        return self._table.coders is not None

    def mixed(self, memory: Any, symbols_SL: NDArray[np.uint8]) -> NDArray[np.uint16]:  # noqa: ANN401
        """Chances (S, 8, L) of the bits of S given bytes by the mixing coder of this memory."""
        self.memory = memory
        return self._scored("mixed", symbols_SL.T, steps=0)

    def restored(self, block: Any, decoder: Any, report: Callable[[int], object]) -> bytes:  # noqa: ANN401
        """The content of a block, with its code, as `Coders` take them."""
        content: bytes = self._ask("restored", (block, decoder, report))
        self.leave()
        return content

    def decode(self, step: int, block: "Block") -> NDArray[np.uint8]:
        """The bytes (T, L) of a block, as `decoded` gives them."""
        symbols: NDArray[np.uint8] = self._ask("decode", (step, block))
        self.leave()
        return symbols

    def _ask(self, what: str, given: object) -> Any:  # noqa: ANN401 - as various as what is asked
        table = self._table
        with table.changed:
            if self not in table.here:
                raise MbzError("An archive changed while it was being read.")
            self.answered.clear()
            table.asked[self] = what, given
            table.changed.notify()
        self.answered.wait()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Table:
    """A network, and the seats of those who share it.

    Attributes:
        seats: of those who take part; each must leave in the end.
        coders: code where the network is, for all seats; or None.
    """

    def __init__(
        self, predictor: Predictor, seats: int, threads: int = 1, coders: "Coders | None" = None
    ) -> None:
        """Takes the network, how many take part, and most threads that mix."""
        self.predictor, self.threads, self.coders = predictor, threads, coders
        self.seats = [Seat(self) for _ in range(seats)]
        self.here = set(self.seats)
        self.asked: dict[Seat, tuple[str, Any]] = {}
        self.changed = Condition()
        self.symbols = np.zeros(0, np.uint8)
        self._pushed = self._mixes = False
        self._interrupt: BaseException | None = None

    def serve(self) -> None:
        """Does what the seats ask for until all have left.

        What fails fails for all of them. What interrupts is raised here too, once all know.
        """
        while True:
            try:
                with self.changed:
                    self.changed.wait_for(self._ready)
                    if not self.asked:
                        break
                    asked = dict(self.asked)
                self._answer(asked, self._interrupt or self._done(asked))
            except BaseException as error:  # noqa: BLE001 - Ctrl-C, wherever it comes
                self._interrupt = error
        if self._interrupt is not None:
            raise self._interrupt

    def _ready(self) -> bool:
        return (
            len(self.asked) >= (len(self.here) if self._interrupt is None else 1) or not self.here
        )

    def _answer(self, asked: dict[Seat, tuple[str, Any]], answers: object) -> None:
        with self.changed:
            for number, seat in enumerate(asked):
                seat.answer = answers[number] if isinstance(answers, list) else answers
                seat.answered.set()  # a moment later it asks for the next
                del self.asked[seat]

    def _done(self, asked: dict[Seat, tuple[str, Any]]) -> object:
        """Does what all ask for; returns their answers in a list, or why there are none."""
        what = {name for name, _ in asked.values()}
        if len(what) > 1:
            return MbzError("An archive changed while it was being read.")
        try:
            return getattr(self, f"_{what.pop()}")(
                list(asked), [given for _, given in asked.values()]
            )
        except Exception as error:  # noqa: BLE001 - each of them raises it
            return error

    def _reset(self, seats: Sequence[Seat], lanes: Sequence[int]) -> list[None]:
        edges = np.cumsum([0, *lanes]).tolist()
        for number, seat in enumerate(seats):
            seat.lanes = slice(edges[number], edges[number + 1])
        self.predictor.reset(edges[-1])
        self.symbols = np.zeros(edges[-1], np.uint8)
        self._pushed = self._mixes = False
        return [None] * len(seats)

    def _counts(self, seats: Sequence[Seat], _given: object) -> list[NDArray[np.float32]]:
        if self._pushed:
            self.predictor.push(self.symbols)
        self._pushed = True
        counts = self.predictor.counts()
        return [counts[seat.lanes] for seat in seats]

    def _score(
        self, seats: Sequence[Seat], given: Sequence[NDArray[np.uint8]]
    ) -> list[NDArray[np.float32]]:
        counts = self.predictor.score(self._symbols(seats, given))
        return [counts[seat.lanes] for seat in seats]

    def _intervals(
        self, seats: Sequence[Seat], given: Sequence[NDArray[np.uint8]]
    ) -> list[NDArray[np.uint32]]:
        from mbz.range_code import intervals_of  # noqa: PLC0415 - numba is heavy

        intervals = intervals_of(self.predictor, self._symbols(seats, given))
        return [intervals[seat.lanes] for seat in seats]

    def _mixed(
        self, seats: Sequence[Seat], given: Sequence[NDArray[np.uint8]]
    ) -> list[NDArray[np.uint16]]:
        mixing = cast("Mixing", self.coders)
        if not self._mixes:
            mixing.begin([(seat.memory, seat.lanes) for seat in seats], ())
            self._mixes = True
        chances = mixing.score(self._symbols(seats, given))
        return [chances[:, :, seat.lanes] for seat in seats]

    def _restored(
        self, seats: Sequence[Seat], given: Sequence[tuple[Any, Any, Callable[[int], object]]]
    ) -> list[bytes]:
        assert self.coders is not None
        places = [(block, seat.lanes) for seat, (block, _, _) in zip(seats, given, strict=True)]
        self.coders.begin(places, [decoder for _, decoder, _ in given])
        return self.coders.decode([report for _, _, report in given])

    def _symbols(
        self, seats: Sequence[Seat], given: Sequence[NDArray[np.uint8]]
    ) -> NDArray[np.uint8]:
        """The bytes of all lanes, as many as all have; zeros for those who left."""
        steps = min(symbols.shape[1] for symbols in given)
        symbols = np.zeros((self.symbols.size, steps), np.uint8)
        for seat, own in zip(seats, given, strict=True):
            symbols[seat.lanes] = own[:, :steps]
        return symbols

    def _decode(
        self, seats: Sequence[Seat], given: Sequence[tuple[int, "Block"]]
    ) -> list[NDArray[np.uint8]]:
        places = [(block, seat.lanes) for seat, (_, block) in zip(seats, given, strict=True)]
        return decoded(self.predictor, self.symbols.size, given[0][0], places, self.threads)


class Block(NamedTuple):
    """A block to be decoded.

    Attributes:
        opened: opens it by where its bytes go, (L,), and where its counts come from, (L, 256).
        length: bytes of it.
        report: called with the number of bytes done.
    """

    opened: Callable[[NDArray[np.uint8], NDArray[np.uint32]], Decoding]
    length: int
    report: Callable[[int], object]


def decoded(
    predictor: Predictor,
    lanes: int,
    step: int,
    places: Sequence[tuple[Block, slice]],
    threads: int = 1,
) -> list[NDArray[np.uint8]]:
    """The bytes (T, L) of blocks.

    Args:
        predictor: gives the counts, after `reset`.
        lanes: lanes that it has.
        step: address of the function that decodes the next byte of each lane of an opened block.
        places: the blocks, and which of the lanes are theirs.
        threads: most threads that decode, besides those of the predictor.
    """
    from mbz.exact import crew  # noqa: PLC0415 - numba is heavy

    network = None
    symbols, counts = np.zeros(lanes, np.uint8), np.zeros((lanes, 256), np.uint32)
    with ExitStack() as working:
        if isinstance(predictor, Stepping):
            network = working.enter_context(predictor.stepping())
            symbols, counts = network.symbols, network.counts
        opened = [block.opened(symbols[own], counts[own]) for block, own in places]
        jobs = [one.address for one in opened]
        decode = working.enter_context(crew.at_work(step, jobs, threads))
        longest = max(len(one.symbols_TL) for one in opened)
        for start in range(0, longest, _STEPS):
            end = min(start + _STEPS, longest)
            if network is not None:
                crew.rounds(*network.call.tolist(), *decode, end - start)
            for t in range(start, end if network is None else start):
                if t:
                    predictor.push(symbols)
                counts[:] = predictor.counts()
                crew.step(decode[1])
            for (block, _), one in zip(places, opened, strict=True):
                block.report(min(end * one.symbols_TL.shape[1], block.length))
    return [one.symbols_TL for one in opened]
