"""How the Triton kernels cut their work: chosen by `benchmarks/exact_cuda.py` on one H200."""

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


FEW = 1 << 11
"""Up to so many rows are quantised within the product that takes them."""

_PRODUCTS = {
    16: Tile(16, 32, 128, 4, 4),
    128: Tile(16, 64, 128, 4, 4),
    FEW: Tile(32, 64, 128, 4, 4),
}
_PRODUCT = Tile(128, 128, 64, 8, 4)

_HEADS = {128: Tile(16, 64, 128, 4, 4), FEW: Tile(32, 64, 128, 4, 4)}
_HEAD = Tile(128, 64, 64, 4, 4)

_LOOKS = {1: Look(16, 128, 4, 2), 63: Look(64, 64, 4, 2)}
_LOOK = Look(128, 64, 8, 2)


def product_tile(rows: int) -> Tile:
    """The tile of a product of so many rows."""
    return next((tile for most, tile in _PRODUCTS.items() if rows <= most), _PRODUCT)


def heads_tile(rows: int) -> Tile:
    """The tile of the product that makes heads, whose outputs are one head."""
    return next((tile for most, tile in _HEADS.items() if rows <= most), _HEAD)


def look_tile(length: int) -> Look:
    """The tile of attention of so many positions in each lane."""
    return next((look for most, look in _LOOKS.items() if length <= most), _LOOK)


def step_tile(heads: int) -> Step:
    """The tile of attention of single positions of so many key heads in all lanes."""
    return Step(128, max(1, 1024 // heads), 4, 3)
