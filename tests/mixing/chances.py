"""Digests of the mixer's chances for adversarial blocks, printed; run with and without numba."""

import hashlib

import numpy as np

from mbz.mixing import Mixer

CASES = (
    # name, lanes, network, and the other arguments of Mixer
    ("random", 1, False, {"use": "middle"}),
    ("zeros", 2, False, {"use": "middle", "stride": 1}),
    ("alternating", 3, False, {"use": "lean", "stride": 2}),
    ("de_bruijn", 1, True, {"use": "lean"}),
    ("repeats", 5, True, {"use": "pixels", "stride": 7, "unit": 3}),
    ("text", 1, False, {"use": "middle"}),
    ("picture", 2, True, {"use": "pixels", "stride": 10, "unit": 3, "phase": 4}),
    ("colours", 1, False, {"use": "pixels", "stride": 48, "unit": 3, "phase": 5}),
    ("contrast", 1, False, {"use": "pixels", "stride": 51, "unit": 3}),
    ("machine", 2, True, {"use": "rich"}),
    ("sound", 1, False, {"use": "sound", "stride": 4, "unit": 2, "phase": 1}),
    ("loud", 2, False, {"use": "sound", "stride": 3, "unit": 3}),
)


def de_bruijn(order):
    """Bits in which each pattern of `order` bits comes once, the greedy way: a one where it may."""
    seen, bits = set(), [0] * order
    while len(bits) < (1 << order) + order - 1:
        past = tuple(bits[len(bits) - order + 1 :])
        bits.append(0 if (*past, 1) in seen else 1)
        seen.add((*past, bits[-1]))
    return bits[order - 1 :]


def colours(rng, height, width):
    """Pixels as decoded from JPEG, with chroma of every other column."""
    light = rng.integers(60, 190, (height, width))
    red, blue = np.repeat(rng.integers(-20, 20, (2, height, width // 2)), 2, axis=2)
    made = [light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red, light + 1.772 * blue]
    return np.stack(made, 2).round().astype(np.uint8)


def block(name):
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 256, 40, dtype=np.uint8)
    made = {
        "random": noise,
        "zeros": np.zeros(40, np.uint8),
        "alternating": np.tile(np.array([0x55, 0xAA], np.uint8), 50)[:67],
        "de_bruijn": np.packbits(de_bruijn(9)),
        "repeats": np.tile(noise[:31], 6)[:123],  # long matches over lane borders
        "picture": (np.arange(120) * 3 % 251 + noise[np.arange(120) % 40] % 9).astype(np.uint8),
        "sound": np.cumsum(rng.integers(-900, 900, (40, 2)), 0)
        .astype("<i2")
        .view(np.uint8)
        .ravel(),
        "colours": np.frombuffer(b"12345" + colours(rng, 5, 16).tobytes(), np.uint8),
        # The greatest differences there are, in rows that windows move along.
        "contrast": np.where(np.arange(51 * 4) * 7 % 12 < 6, 0, 255).astype(np.uint8),
        "loud": rng.integers(0, 2, 120, dtype=np.uint8) * 255,
        # je, a line, mov rax, call twice: the second is of the same address
        "machine": np.frombuffer(
            bytes.fromhex("0f8400010000")
            + b"1,a b,50\n2,a c,5"
            + bytes.fromhex("488b0510000000e8f0120000c583e801e8e7120000c5f877"),
            np.uint8,
        ),
        "text": np.frombuffer(b"{'a': [10, 11]}\n<b>An x</b>\n{'a': [10, 12]}\n<b>As", np.uint8),
    }
    return made[name]


def lanes_of(data, lanes):
    """Steps of lanes (T, L), as in the archive."""
    out = np.zeros((-(-data.size // lanes), lanes), np.uint8)
    for lane, piece in enumerate(np.array_split(data, lanes)):
        out[: piece.size, lane] = piece
    return out


def counts_like(symbols):
    """Counts of a network that is often right, (T, L, 256), each row summing to 2**24 - 256."""
    rng = np.random.default_rng(8)
    counts = rng.integers(0, 2000, (*symbols.shape, 256), dtype=np.uint32)
    right = (symbols + (rng.random(symbols.shape) < 0.2)).astype(np.uint8)
    steps, lanes = np.indices(symbols.shape)
    counts[steps, lanes, right] = 0
    counts[steps, lanes, right] = 2**24 - 256 - counts.sum(-1)
    return counts


def mixer_of(name, lanes, network, options):
    return Mixer(block(name).size, lanes, network=network, **options)


def scored(name, lanes, network, options):
    symbols = lanes_of(block(name), lanes)
    counts = counts_like(symbols) if network else None
    return mixer_of(name, lanes, network, options).score(symbols, counts)


def digests():
    return [hashlib.sha256(scored(*case).tobytes()).hexdigest()[:16] for case in CASES]


if __name__ == "__main__":
    print(*digests())  # noqa: T201
