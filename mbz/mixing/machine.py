"""Where in an x86-64 instruction a lane is, as far as its bytes tell (docs/mixing.md, 4).

Each byte is taken for what the bytes before make of it: prefix, opcode, ModRM, SIB, displacement or
immediate number. In what is no machine code this says little; in code it is soon right again after
a gap, as instructions of most kinds end alike.
"""

import numpy as np
from numpy.typing import NDArray

from mbz.mixing.compiled import function, part

# Fields of a lane's state.
(PART, OPCODE, MODRM, LEFT, SIZE, AFTER, WIDE, TARGET, LAST, LAST2, LAST3) = range(11)
WIDTH = 11

# Parts: what the next byte is.
(START, SECOND, THIRD, MOD, SIB, NUMBER, VEX) = range(7)

# What an opcode brings along: bit 0 ModRM; then how long an immediate number is.
_MODRM, _BYTE, _WORD, _THREE, _LONG, _FULL = 1, 2, 4, 8, 16, 32
_PREFIXES = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0xF0, 0xF2, 0xF3)


def _traits() -> NDArray[np.int64]:
    """Traits of the opcodes of one byte, and of two after 0F, (512,)."""
    traits = np.zeros(512, np.int64)
    for op in range(0x40):
        traits[op] = (_MODRM, _MODRM, _MODRM, _MODRM, _BYTE, _LONG, 0, 0)[op & 7]
    for ops, trait in (
        ((0x63, *range(0x84, 0x90), *range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xFE, 0xFF), _MODRM),
        ((0x69, 0x81, 0xC7), _MODRM | _LONG),
        ((0x6B, 0x80, 0x82, 0x83, 0xC0, 0xC1, 0xC6), _MODRM | _BYTE),
        ((0xF6, 0xF7), _MODRM),  # an immediate number for some, see `follow`
        ((0x6A, *range(0x70, 0x80), 0xA8, *range(0xB0, 0xB8), 0xCD, 0xD4, 0xD5), _BYTE),
        ((*range(0xE0, 0xE8), 0xEB), _BYTE),
        ((0x68, 0xA9, *range(0xB8, 0xC0), 0xE8, 0xE9), _LONG),
        ((0xC2, 0xCA), _WORD),
        ((0xC8,), _THREE),
        (range(0xA0, 0xA4), _FULL),
    ):
        traits[list(ops)] = trait
    traits[256:] = _MODRM
    bare = (5, 6, 8, 9, 11, 14, *range(0x30, 0x38), 0x77, 0xA0, 0xA1, 0xA2, 0xA8, 0xA9, 0xAA)
    traits[[256 + op for op in (*bare, *range(0xC8, 0xD0))]] = 0
    traits[[256 + op for op in range(0x80, 0x90)]] = _LONG
    numbered = (0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6)
    traits[[256 + op for op in numbered]] = _MODRM | _BYTE
    return traits


_TRAITS = _traits()
_IS_PREFIX = np.isin(np.arange(256), _PREFIXES)


@function
def follow(s, byte, position, targets):
    """Renews a lane's state (WIDTH,) after a byte of the block at `position`.

    targets: (256 + 65536,) addresses that were called, by their last byte, and last two.
    """
    part = s[PART]
    if part == START:
        _start(s, byte)
    elif part == SECOND:
        s[OPCODE] = 256 | byte
        if byte in (0x38, 0x3A):
            s[PART] = THIRD
        else:
            _opcode(s)
    elif part == THIRD:
        wider = s[OPCODE] == 0x13A
        s[OPCODE] = 512 | byte
        s[AFTER] = 1 if wider else 0
        s[PART] = MOD
    elif part == VEX:
        s[LEFT] -= 1
        if s[LEFT] == 0:
            s[PART] = SECOND
    elif part == MOD:
        _mod(s, byte)
    elif part == SIB:
        if byte & 7 == 5 and s[MODRM] >> 6 == 0:
            s[SIZE] = 4
        _number(s)
    else:
        at = s[SIZE] - s[LEFT]
        s[TARGET] |= byte << (8 * at) if at < 4 else 0
        s[LEFT] -= 1
        if s[LEFT] == 0:
            if s[SIZE] == 4:
                address = (s[TARGET] + position + 1) & 0xFFFFFFFF
                targets[address & 255] = address
                targets[256 + (address & 0xFFFF)] = address
            s[SIZE] = 0
            _number(s)


@part
def _start(s, byte):
    if _IS_PREFIX[byte]:
        s[WIDE] = 2 if byte == 0x66 else s[WIDE]
    elif byte >> 4 == 4:
        s[WIDE] = 8 if byte & 8 else s[WIDE]
    elif byte == 0x0F:
        s[PART] = SECOND
    elif byte in (0xC4, 0xC5):
        s[PART], s[LEFT] = VEX, 0xC6 - byte
    else:
        s[OPCODE] = byte
        _opcode(s)


@part
def _opcode(s):
    trait = _TRAITS[s[OPCODE]]
    after = 0
    if trait & _BYTE:
        after = 1
    elif trait & _WORD:
        after = 2
    elif trait & _THREE:
        after = 3
    elif trait & _FULL:
        after = 8
    elif trait & _LONG:
        after = 2 if s[WIDE] == 2 else 4
        if s[OPCODE] >> 3 == 0xB8 >> 3 and s[WIDE] == 8:
            after = 8
    s[AFTER] = after
    if trait & _MODRM:
        s[PART] = MOD
    else:
        s[MODRM] = 0
        _number(s)


@part
def _mod(s, byte):
    s[MODRM] = byte
    if s[OPCODE] >> 1 == 0xF6 >> 1 and byte >> 3 & 7 < 2:
        s[AFTER] = 1 if s[OPCODE] == 0xF6 else 4
    mod, base = byte >> 6, byte & 7
    s[SIZE] = 0
    if mod == 1:
        s[SIZE] = 1
    elif mod == 2 or (mod == 0 and base == 5):
        s[SIZE] = 4
    if mod < 3 and base == 4:
        s[PART] = SIB
    else:
        _number(s)


@part
def _number(s):
    """Goes on with the displacement, if its size is set, then the immediate number, or the next."""
    if s[SIZE] == 0:
        s[SIZE], s[AFTER] = s[AFTER], 0
    s[LEFT] = s[SIZE]
    s[TARGET] = 0
    if s[SIZE]:
        s[PART] = NUMBER
    else:
        s[PART] = START
        s[LAST3], s[LAST2], s[LAST] = s[LAST2], s[LAST], s[OPCODE] << 8 | s[MODRM]
        s[OPCODE], s[MODRM], s[WIDE] = 0, 0, 0


@function
def expected(s, position, targets):
    """The byte at `position` by the last call of an address with the bytes so far, + 256; or 0."""
    if s[PART] != NUMBER or s[SIZE] != 4 or s[LEFT] == 4:
        return 0
    at = 4 - s[LEFT]
    end = position + s[LEFT]
    known = (s[TARGET] + end) & ((1 << (8 * at)) - 1)
    address = targets[known] if at == 1 else targets[256 + (known & 0xFFFF)]
    if address & ((1 << (8 * at)) - 1) != known:  # or there is none
        return 0
    return 256 | ((address - end) >> (8 * at) & 255)
