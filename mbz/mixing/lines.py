"""Lines whose numbers alone differ: their template, and which number comes (docs/mixing.md, 4).

The template of a line is its bytes so far, all digits of a number taken for one. A number, of at
most 15 decimal digits, is expected to be the one of the same rank in the line before, or the one
that came last after this template, or as far from those as they were from the one before them.
"""

import numpy as np

from mbz.mixing.compiled import part

MOST_DIGITS = 15
MOST_NUMBERS = 32  # of a line
FEW = 20
SLOT_BITS = 12  # of the table by template

# Fields of a lane's state: hashes of the line so far, of the last word and what follows it, also
# with the word before; whether the last byte is of a word; the number in progress, its digits and
# rank, its entries in the tables by line and by phrase; how the last three numbers differ from
# those of their rank.
(LINE, WORD, PHRASE, IN_WORD, VALUE, DIGITS, RANK, BY_LINE, BY_PHRASE, RELATIONS) = range(10)
# By rank: the number that came last, its digits, and its distance from the one before.
LAST = 10
WIDTH = LAST + 3 * MOST_NUMBERS
TABLE = 6 << SLOT_BITS

POWERS = 10 ** np.arange(MOST_DIGITS + 2)


@part
def follow(s, byte, numerals):
    """Renews a lane's state (WIDTH,) after a byte.

    numerals: (TABLE,) the numbers that came last after templates, shared by all lanes.
    """
    if 48 <= byte <= 57:
        if s[DIGITS] == 0:
            s[VALUE] = 0
        if s[DIGITS] < MOST_DIGITS:
            s[VALUE] = s[VALUE] * 10 + byte - 48
        s[DIGITS] += 1
        return
    if s[DIGITS]:
        if s[DIGITS] <= MOST_DIGITS:
            _note(s, numerals, s[BY_LINE])
            _note(s, numerals, s[BY_PHRASE])
            if s[RANK] < MOST_NUMBERS:
                at = LAST + 3 * s[RANK]
                s[RELATIONS] = (s[RELATIONS] << 3 | _relation(s[VALUE] - s[at])) & 0x1FF
                _note(s, s, at)
        _join(s, 48)
        s[RANK] += 1
        s[DIGITS] = 0
    letter = byte >= 128 or 97 <= byte | 32 <= 122
    if letter and not s[IN_WORD]:
        s[PHRASE], s[WORD] = s[WORD], 0
    s[IN_WORD] = 1 if letter else 0
    _join(s, byte)
    if byte == 10:
        for k in (LINE, WORD, PHRASE, RANK, RELATIONS):
            s[k] = 0
    s[BY_LINE] = 3 * (s[LINE] >> (32 - SLOT_BITS))
    s[BY_PHRASE] = 3 * ((1 << SLOT_BITS) + (s[PHRASE] >> (32 - SLOT_BITS)))


@part
def _join(s, byte):
    for k in (LINE, WORD, PHRASE):
        s[k] = (s[k] * 0x2C1B3C6D + byte + 1) & 0xFFFFFFFF  # below 2**63 before


@part
def _relation(change):
    """Class of a difference, 0 .. 6."""
    if change > 1:
        return 3 if change < FEW else 4
    if change < -1:
        return 5 if change > -FEW else 6
    return change + 1


@part
def _note(s, table, at):
    """Keeps the number in progress in three entries of a table."""
    change = s[VALUE] - table[at]
    if change:
        table[at + 2] = change
    table[at], table[at + 1] = s[VALUE], s[DIGITS]


@part
def expected(s, table, at, on):
    """What comes next if the number is the one of three entries of a table, or goes on from it.

    Returns 0 where nothing is known; else 1 + digit, or 11 for the end of the number, plus 16 times
    how the digits so far differ: 0 not, else one more, one less, more, less.
    """
    value, digits = table[at], table[at + 1]
    if digits == 0 or s[DIGITS] > digits:
        return 0
    if on:
        value = abs(value + table[at + 2])
        if value >= POWERS[digits]:
            digits += 1
    left = digits - s[DIGITS]
    so_far = value // POWERS[left]
    differs = 0
    if s[DIGITS]:
        change = s[VALUE] - so_far
        if change:
            differs = 1 if change == 1 else 2 if change == -1 else 3 if change > 0 else 4
    if left == 0:
        return 11 + 16 * differs
    return 1 + value // POWERS[left - 1] % 10 + 16 * differs
