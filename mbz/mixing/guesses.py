"""What guesses the next pixel or sample from those before, one guess a row, and its memory.

A block of `pixels` or `sound` holds numbers of `width` bytes, little-endian ones, of `channels`
channels in turn; rows of pixels are `row` numbers long. A guess adds weighted differences of two
earlier numbers to the one last in this channel. Weights are fixed, or fitted to the recent past.
"""

from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mbz.mixing.colours import Colours, open_colours
from mbz.mixing.distances import FRACTION
from mbz.mixing.tables import share_below

CLASSES = 32  # of how far guesses are off
BINS = 128  # of how far a guess is from where a bit's two sides meet
WIDEST = 32  # terms of a guess, at most
_FIRST = 8  # numbers that the first chances count for
VIEWS = 4  # of the mean guess, by more of what is around
VIEW_SIZE = 128
RING = 16  # columns that windows have yet to leave, and the one they come to
ECHO = 256  # samples that the filter of sound sees

# Options and plans of `Numbers`.
WIDTH, CHANNELS, ROW, PHASE, REACH, PLAIN = range(6)
SIZE, FADE, EVERY, BY_COLUMN, AROUND, RADIUS, DOWN, COLUMNS, RIDGE = range(9)

_WIDEST_ROW = 1 << 15  # of all lanes, that what is around is kept for: some 100 MB

_Terms: TypeAlias = list[tuple[int, int]]
_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]


class Guess(NamedTuple):
    """A weighted sum of differences, by how many numbers back the two of each are."""

    terms: _Terms
    weights: tuple[int, ...] = ()
    """Fixed ones; if there are none they are fitted."""
    fade: int = 0
    """The past, of this row if there is a radius, fades by 1 / 2**fade a number."""
    every: int = 1
    """Numbers of a channel between two fits."""
    by_column: bool = False
    """Fitted on its own for odd and even columns: chroma is often of every other."""
    radius: int = 0
    """Fitted to the columns around, so many on both sides, of the rows above."""
    down: int = 0
    """These fade by 1 / 2**down a row."""
    ridge: int = 0
    """What is added to the square of each difference, against chance likeness."""


def _picture(row: int, channels: int) -> list[Guess]:
    left, up = channels, row

    def of(places: str, *, others: str) -> _Terms:
        """Pixels given as x,y from here: this channel less its left one, and the other channels."""
        terms = [(back, left) for back in _backs(places)]
        for other in range(1, min(channels, 4)):
            terms += [(other + back, other + left) for back in _backs(others)]
        return terms

    def _backs(places: str) -> list[int]:
        pairs = [place.split(",") for place in places.split()]
        return [int(y) * up - int(x) * left for x, y in pairs]

    near = "0,1 -1,1 1,1 -2,0 0,2 2,1"
    far = near + " -2,1 1,2 -1,2 -3,0 -2,2 2,2 3,1"
    guesses = [
        Guess(of(far, others="0,0 0,1 1,1 -1,1 -2,0 0,2"), fade=4, radius=12, down=3, ridge=32),
        Guess(of(near, others="0,0 0,1 1,1"), fade=3, radius=6, down=2, ridge=16),
        Guess(
            of(near + " -2,1 1,2 -1,2", others="0,0 0,1 1,1 -1,1"),
            fade=4,
            radius=15,
            down=4,
            ridge=32,
        ),
        Guess(of(near, others="0,0"), fade=2, radius=4, down=2, ridge=32),
        Guess(of(near + " -3,0", others="0,0 0,1 -2,0 -3,0"), fade=10, by_column=True),
        Guess([(up, up + left)], (1,)),
        Guess([(up, left)], (1,)),
    ]
    if channels > 1:
        guesses += [
            Guess([(1, 1 + left)], (1,)),
            Guess([(up, left), (1, 1 + up)], (1, 1)),
            Guess([(up, up + left), (1, 1 + left), (1 + up, 1 + up + left)], (1, 1, -1)),
        ]
    return [guess._replace(terms=guess.terms[:WIDEST]) for guess in guesses]


def _sound(channels: int) -> list[Guess]:
    def of(own: int, others: int) -> _Terms:
        terms = [((k + 1) * channels, (k + 2) * channels) for k in range(own)]
        for other in range(1, min(channels, 2 + (others < 8))):
            terms += [(other + k * channels, other + (k + 1) * channels) for k in range(others)]
        return terms

    wide = channels > 1
    return [
        Guess(of(16, 4 * wide), fade=8),
        Guess(of(32 - 8 * wide, 8 * wide), fade=10, every=2),
        Guess(of(8, 2 * wide), fade=7),
        Guess(of(20, 8 * wide), fade=9, every=2),
        Guess([], (0,)),
        Guess([(channels, 2 * channels)], (1,)),
    ]


class Numbers(NamedTuple):
    """See `open_numbers`. L lanes, G guesses, C channels, T terms, W = WIDEST + 1."""

    options: _I64  # WIDTH, CHANNELS, ROW (0 for sound), PHASE, farthest number that terms REACH,
    # and which guess is the PLAIN one
    terms: _I64  # (G, T, 2) numbers back
    plans: _I64  # (G, 9): number of terms, FADE (0: fixed weights), EVERY, BY_COLUMN, number AROUND
    # among those with a radius, RADIUS, DOWN, where their COLUMNS begin, RIDGE
    sums: _I64  # (G, 2C, W, W), the channels of odd columns last
    weights: _I64  # (G, 2C, W)
    lower: _I64  # (W, W) scratch of the solver
    scaled: _I64  # (W, W)
    values: _I64  # (L, G, W) differences
    columns: _I32  # (L, numbers of a row times products) packed products: see neighbours.py
    windows: _I64  # (L, A, C, P) sums over the columns around
    so_far: _I64  # (L, A, C, P) faded sums over this row
    ring: _I64  # (L, A, C, RING, W + 1) differences of the last columns; column + 1
    echo: _I64  # (C, ECHO) weights of the filter that sees what the second guess leaves, 1 / 2**20
    echo_state: _I64  # (L, 2): what it guesses, power of what it sees
    levels: _I64  # (numbers,) of the block
    exact: NDArray[np.uint8]  # (numbers,) whether the plain guess was right
    misses: _I32  # (numbers,) how far the mean guess was off, in 1 / 2**FRACTION
    guesses: _I64  # (L, G + 3) in 1 / 2**FRACTION: the mean, the rows, the filter
    wrong: _I64  # (L, G + 3) how far off lately, times 16
    missed: _I32  # (L, 2**N, G + 3) how far off guesses of pixels were, two rows back; or none
    doubts: _I64  # (L, G + 3) how far off each may be here
    bins: NDArray[np.uint8]  # (4096,) of a distance
    chances: _I32  # (G + 3, width * 8 * CLASSES * BINS) adaptive
    keys: _I64  # (L, G + 3) in use
    view_chances: _I32  # (VIEWS, width * 8 * VIEW_SIZE * BINS) adaptive
    view_keys: _I64  # (L, VIEWS) in use
    joint_values: _I64  # (L, W) what the guesses add
    joint_sums: _I64  # (C, W, W)
    joint_weights: _I64  # (C, W)
    state: _I64  # (L, 11 + VIEWS): see samples.py
    colours: Colours


def open_numbers(use: str, size: int, lanes: int, *, stride: int, unit: int, phase: int) -> Numbers:
    """The memory before the first number of a block; empty but for pixels and sound.

    Args:
        use: set of experts.
        size: bytes of the block.
        lanes: number of lanes.
        stride: bytes of a row of pixels, or of one sample of all channels.
        unit: bytes of a pixel, or of a sample.
        phase: bytes before the first number or row that begins in the block.
    """
    guesses: list[Guess] = []
    width, channels, row = 1, unit, stride
    windowed = use == "pixels" and row * lanes <= _WIDEST_ROW
    if use == "pixels":
        guesses = _picture(row, channels)
        if not windowed:
            guesses = [
                guess._replace(radius=0, fade=guess.fade and 9, ridge=0) for guess in guesses
            ]
    elif use == "sound":
        width, channels, row = unit, stride // unit, 0
        guesses = _sound(channels)
    num, w = len(guesses), WIDEST + 1
    all_guesses = num + 3 if num else 0
    few = channels if num else 0
    terms = np.zeros((num, WIDEST, 2), np.int64)
    plans = np.zeros((num, 9), np.int64)
    weights = np.zeros((num, 2 * few, w), np.int64)
    around = products = 0
    for g, guess in enumerate(guesses):
        plans[g, :4] = len(guess.terms), guess.fade, guess.every, guess.by_column
        plans[g, 4:] = around, guess.radius, guess.down, products, guess.ridge
        if guess.radius:
            around += 1
            products += row * (len(guess.terms) + 1) * (len(guess.terms) + 2) // 2
        terms[g, : len(guess.terms)] = np.array(guess.terms).reshape(-1, 2)
        weights[g, :, : len(guess.weights)] = np.array(guess.weights, np.int64) << 22
    # Right to the bit where chroma is coarse (JPEG), where samples stay, where a row repeats.
    fitted = sum(guess.fade > 0 for guess in guesses)
    plain = fitted + 1 + (use == "pixels") + (use == "pixels" and channels > 1)
    reach = max(int(terms.max(initial=0)), channels)
    # Narrow rows reach beyond the end.
    numbers = (size + phase) // width + 4 * channels if num else 0
    back = 0
    if windowed:
        back = 1 << min(2 * row + 4 * channels, numbers // lanes + 1).bit_length()
    first = np.zeros(0, np.int32)
    if num:
        first = _first_chances(width, signed=use == "sound" and width > 1)
    return Numbers(
        options=np.array([width, channels, row, phase, reach, plain], np.int64),
        terms=terms,
        plans=plans,
        sums=np.zeros((num, 2 * few, w, w), np.int64),
        weights=weights,
        lower=np.zeros((w, w), np.int64),
        scaled=np.zeros((w, w), np.int64),
        values=np.zeros((lanes, num, w), np.int64),
        columns=np.zeros((lanes, products), np.int32),
        windows=np.zeros((lanes, around, few, w * (w + 1) // 2), np.int64),
        so_far=np.zeros((lanes, around, few, w * (w + 1) // 2), np.int64),
        ring=np.zeros((lanes, around, few, RING, w + 1), np.int64),
        echo=np.zeros((few, ECHO), np.int64),
        echo_state=np.zeros((lanes, 2), np.int64),
        levels=np.zeros(numbers, np.int64),
        exact=np.zeros(numbers, np.uint8),
        misses=np.zeros(numbers, np.int32),
        guesses=np.zeros((lanes, all_guesses), np.int64),
        wrong=np.full((lanes, all_guesses), 256, np.int64),
        missed=np.zeros((lanes, back, all_guesses), np.int32),
        doubts=np.zeros((lanes, all_guesses), np.int64),
        bins=_bins(),
        chances=np.tile(first, (all_guesses, 1)),
        keys=np.zeros((lanes, all_guesses), np.int64),
        view_chances=_view_chances(first, width) if num else np.zeros((0, 0), np.int32),
        view_keys=np.zeros((lanes, VIEWS if num else 0), np.int64),
        joint_values=np.zeros((lanes, w), np.int64),
        joint_sums=np.zeros((few, w, w), np.int64),
        joint_weights=np.zeros((few, w), np.int64),
        state=np.zeros((lanes, 11 + VIEWS), np.int64),
        colours=open_colours(numbers if row and channels in {3, 4} else 0, lanes),
    )


@cache
def _bins() -> NDArray[np.uint8]:
    """Bin, below 64, of distances in 1 / 2**FRACTION: four an octave, above 4095 the last is 44."""
    bins = np.zeros(4096, np.uint8)
    for d in range(4096):
        down = max(d.bit_length() - 3, 0)
        bins[d] = (d >> down) + 4 * down
    return bins


@cache
def _first_chances(width: int, *, signed: bool) -> _I32:
    """Adaptive chances of a one by byte, bit, class and bin: a logistic curve around the guess."""
    shape = np.ogrid[:width, :8, :CLASSES, :BINS]
    place, bit, scale, where = (axis.astype(np.int64) for axis in shape)
    # All in 1 / 2**(FRACTION + 1): half of the bit's span, mean miss of the class, the distance.
    half = 1 << (8 - bit + 8 * place + FRACTION)
    spread = (_middle(2 * scale) + _middle(2 * scale + 1)) // 2
    distance = _middle(where & 63) * np.where(where & 64, -1, 1)
    far = half + 6 * spread
    distance = np.clip(distance, -far, far)
    one, zero = np.ones_like(distance * half * spread), np.ones_like(distance * half * spread)
    for turn in range(-2, 3):  # the higher bytes are still to come
        if turn == 0 or width > 1:
            middle = (turn << (8 * place + FRACTION + 9)) - distance
            there = (turn == 0) | (place < width - 1)
            one += (share_below(middle + half, spread) - share_below(middle, spread)) * there
            zero += (share_below(middle, spread) - share_below(middle - half, spread)) * there
    chance = np.clip((one << 16) // (one + zero), 32, 65504)
    if signed:
        chance[-1, 0] = 65536 - chance[-1, 0]
    adaptive: _I32 = (chance << 14 | _FIRST).astype(np.int32).ravel()
    return adaptive


def _view_chances(first: _I32, width: int) -> _I32:
    usual = first.reshape(width, 8, CLASSES, BINS)[:, :, CLASSES // 4, None]
    return np.tile(usual, (VIEWS, 1, 1, VIEW_SIZE, 1)).reshape(VIEWS, -1)


def _middle(bins: _I64) -> _I64:
    """Middle of bins of distances, in 1 / 2**(FRACTION + 1)."""
    down = np.maximum(bins // 4 - 1, 0)
    middle: _I64 = (2 * (bins - 4 * down) + 1) << down
    return middle
