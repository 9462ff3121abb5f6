"""How the Triton kernels cut their work: chosen by `benchmarks/exact_cuda.py` on H100 and H200."""

from typing import NamedTuple


class Tile(NamedTuple):
    """Of a product: rows, outputs and terms at a time, warps, stages of its pipeline."""

    rows: int
    outputs: int
    terms: int
    warps: int
    stages: int


class Look(NamedTuple):
    """Of attention: rows (query heads of positions) and keys at a time, warps, stages."""

    rows: int
    keys: int
    warps: int
    stages: int


class Step(NamedTuple):
    """Of attention of single positions: keys at a time, most programs for a head, warps, stages."""

    keys: int
    chunks: int
    warps: int
    stages: int


_PRODUCTS = {
    128: Tile(16, 32, 128, 4, 4),
    1 << 10: Tile(64, 32, 128, 4, 3),
    1 << 12: Tile(128, 64, 128, 4, 3),
}
_WIDENING = Tile(128, 128, 128, 8, 3)
_NARROWING = Tile(128, 64, 128, 4, 3)

_HEADS = {1 << 10: Tile(16, 64, 128, 4, 4), 1 << 14: Tile(64, 64, 128, 4, 3)}
_HEAD = Tile(32, 64, 128, 4, 3)


def product_tile(rows: int, outputs: int, terms: int) -> Tile:
    """The tile of a product of so many rows, outputs and terms."""
    many = _WIDENING if outputs > terms else _NARROWING
    return next((tile for most, tile in _PRODUCTS.items() if rows <= most), many)


def heads_tile(rows: int) -> Tile:
    """The tile of the product that makes heads, whose outputs are one head."""
    return next((tile for most, tile in _HEADS.items() if rows <= most), _HEAD)


def look_tile(length: int, window: int) -> Look:
    """The tile of attention of so many positions in each lane."""
    if length == 1:
        return Look(16, 64, 2, 1)
    return Look(64, 32, 4, 2) if window < 64 else Look(64, 64, 4, 3)


def step_tile(heads: int) -> Step:
    """The tile of attention of single positions of so many key heads in all lanes."""
    return Step(128, max(1, 1024 // heads), 2, 3)
