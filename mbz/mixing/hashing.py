"""The hash of what is known."""

from mbz.mixing.compiled import function

MASK = 0xFFFFFFFF
STEP = 0x2C1B3C6D  # odd, and below 2**31, so that a product with 32 bits fits in int64
MORE = 0x3C6EF372
MIX = 0x61C88647


@function
def joined(h, value):
    """Hash of a hash and one more value, both below 2**32."""
    h = ((h ^ value) * STEP + MORE) & MASK
    return h ^ (h >> 15)
