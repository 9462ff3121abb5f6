"""What is known of a lane before its next byte, as integers below 2**32 (docs/mixing.md, 4).

A lane's row holds these features; `observe` renews it after each byte. Experts hash some of them.
Features after `PUBLIC` are the observer's own notes.
"""

import numpy as np
from numpy.typing import NDArray

from mbz.mixing import lines, machine
from mbz.mixing.compiled import function, part

# Bytes back: the last, the one before ...; ORDERn: hash of the last n; EXPECTED: what the longest
# match predicts, plus 256 times its length's class, 0 without a match.
(
    NOTHING, C1, C2, C3, C4, C5, C6, C7, C8,
    ORDER2, ORDER3, ORDER4, ORDER5, ORDER6, ORDER7, ORDER8,
    EXPECTED,
    # Words: the letters since the last other byte, case folded; the words before; what divided
    # them; the last bytes reduced to kinds of character.
    WORD, WORD1, WORD2, WORD3, GAP, KINDS, SHAPE,
    # Lines and fields: bytes above, column, number of the field, its beginning, that of the line.
    COLUMN, ABOVE, ABOVE_NEXT, ABOVE_BEFORE, FIELD, FIELD_START, FIELD_ABOVE, LINE_START, INDENT,
    # Brackets and tags that are open, and what was last closed or named.
    NEST, TAG, KEY,
    # What followed the last byte, or the last two, the times before.
    AFTER1, AFTER2,
    # Bytes of the rows before, at the same place and next to it; their plain predictions of the
    # byte: what is left of it (a unit before), corrected by how the row above goes on, and means.
    ROW1, ROW2, ROW_NEXT, ROW_BEFORE, RESIDUE,
    HIGHS, NUMBER,
    LEFT, PLANE, MEAN, SLOPE, CHANNEL, ERROR,
    # Of pixels and samples: the byte by the mean guess, other guesses, how far off they may be,
    # which byte of its number this is.
    GUESS, GUESS_FINE, GUESS1, GUESS2, GUESS_NEAR, PLACE,
    # The same field of the line before: its byte here, the next, how this field differs so far;
    # hashes of the whole field so far and the field before. Likewise of cells of a table.
    FIELD_TEXT, FIELD_LAST, LIKE, LIKE_NEXT, RELATION,
    CELL, CELL_TEXT, CELL_LAST, CELL_LIKE, CELL_LIKE_NEXT, CELL_RELATION,
    # How this line begins, and those before.
    HEAD, HEAD1, HEAD2,
    # Machine code: what the byte is part of, opcode and ModRM, the instruction so far, those
    # before, the byte of an address that was called before.
    PART, CODE, INSTRUCTION, CODE1, CODE2, CODE3, ADDRESS,
    # Numbers apart: the line so far, that before, the last words; how the number goes on, by its
    # rank in the line, by the line, and by the words: as last time, or as far from it; how the
    # numbers before differ from those of their rank; its own rank.
    TEMPLATE, TEMPLATE1, PHRASE,
    SAME, NEXT, LINE_SAME, LINE_NEXT, WORDS_SAME, WORDS_NEXT, RELATIONS, RANK,
    PUBLIC,
) = range(90)  # fmt: skip
(LINE, LINE_BEFORE, DEPTH, DIGITS, FIELD_AT, LAST_KIND) = range(PUBLIC, PUBLIC + 6)
HEAD_DONE = PUBLIC + 6
CELL_AT = PUBLIC + 7
STACK = PUBLIC + 8
STACK_SIZE = 16
# Where the fields and cells of this line began, and those of the line before; 0 where they did not.
MOST_FIELDS = 32
FIELDS = STACK + STACK_SIZE
CELLS = FIELDS + 2 * MOST_FIELDS
MACHINE = CELLS + 2 * MOST_FIELDS
NUMBERS = MACHINE + machine.WIDTH
WIDTH = NUMBERS + lines.WIDTH

MASK = 0xFFFFFFFF
STEP = 0x2C1B3C6D  # odd, and below 2**31, so that a product with 32 bits fits in int64
MORE = 0x3C6EF372
MIX = 0x61C88647

# Kinds of character.
(OTHER, LETTER, CAPITAL, DIGIT, SPACE, NEWLINE, HIGH, MARK) = range(8)


def _kind_table() -> NDArray[np.int64]:
    """Kind of each byte, (256,) int64."""
    kinds = np.full(256, MARK, np.int64)
    kinds[:32] = OTHER
    kinds[ord("a") : ord("z") + 1] = LETTER
    kinds[ord("A") : ord("Z") + 1] = CAPITAL
    kinds[ord("0") : ord("9") + 1] = DIGIT
    kinds[[9, 32]] = SPACE
    kinds[[10, 13]] = NEWLINE
    kinds[128:] = HIGH
    return kinds


_KINDS = _kind_table()


@part
def joined(h, value):
    """Hash of a hash and one more value, both below 2**32."""
    h = ((h ^ value) * STEP + MORE) & MASK
    return h ^ (h >> 15)


@function
def observe(
    row, past, lane_start, position, after1, after2, targets, numerals, stride, unit, fully
):
    """Renews a lane's row after the byte at `position`; all positions count in the block.

    past: the block's bytes, known in this lane from `lane_start` to `position`. after1 (256,) and
    after2 (65536,): what followed, targets: see `machine.follow`, numerals: see `lines.follow`,
    shared by all lanes. stride, unit: bytes of a row and of a sample or pixel. fully: else fields
    above, machine code and numbers are left out.
    """
    byte = np.int64(past[position])
    before = row[C1]
    after1[before] = (after1[before] << 8 | byte) & 0xFFFFFF
    pair = row[C2] << 8 | before
    after2[pair] = (after2[pair] << 8 | byte) & 0xFFFF
    for k in range(C8, C1, -1):
        row[k] = row[k - 1]
    row[C1] = byte
    h = byte + 1
    for k in range(1, 8):
        h = joined(h, row[C1 + k])
        row[ORDER2 + k - 1] = h
    row[AFTER1] = after1[byte]
    row[AFTER2] = after2[before << 8 | byte]
    row[HIGHS] = (row[HIGHS] << 3 | byte >> 5) & 0x3FFFFFFF

    kind = _KINDS[byte]
    _observe_words(row, byte, kind)
    _observe_lines(row, past, lane_start, position, byte, kind)
    _observe_nesting(row, byte, kind)
    if fully:
        _observe_fields(row, past, position, byte)
        _observe_machine(row, position, byte, targets)
        _observe_numbers(row, byte, numerals)
    _observe_rows(row, past, lane_start, position, stride, unit)


@part
def _observe_words(row, byte, kind):
    if kind in (LETTER, CAPITAL, HIGH):
        if row[LAST_KIND] != LETTER:
            row[WORD] = 0
        folded = byte | 32 if kind == CAPITAL else byte
        row[WORD] = joined(row[WORD], folded + 1)
    else:
        if row[LAST_KIND] == LETTER:
            row[WORD3], row[WORD2], row[WORD1] = row[WORD2], row[WORD1], row[WORD]
            row[WORD], row[GAP] = 0, 0
        row[GAP] = joined(row[GAP], byte)
    row[LAST_KIND] = LETTER if kind in (LETTER, CAPITAL, HIGH) else kind
    row[KINDS] = (row[KINDS] << 3 | kind) & 0x3FFFFFFF
    # Numbers and words shrink to their kind; marks stay as they are.
    if kind == DIGIT:
        row[DIGITS] = min(row[DIGITS] + 1, 15)
        row[NUMBER] = joined(row[NUMBER], byte)
    else:
        row[DIGITS] = 0
        row[NUMBER] = byte
    token = kind if kind in (LETTER, CAPITAL, HIGH, DIGIT) else byte
    if token != (row[SHAPE] & 255):
        row[SHAPE] = (row[SHAPE] << 8 | token) & MASK


@part
def _observe_lines(row, past, lane_start, position, byte, kind):
    if byte == 10:
        row[LINE_BEFORE], row[LINE] = row[LINE], position + 1
        row[COLUMN], row[FIELD], row[FIELD_START], row[FIELD_AT] = 0, 0, 0, 0
        row[LINE_START], row[INDENT] = 0, 0
    else:
        row[COLUMN] += 1
        if byte in (44, 9, 59, 124, 32, 58, 61, 34, 62, 60):
            row[FIELD] += 1
            row[FIELD_START] = byte
            row[FIELD_AT] = 0
        else:
            row[FIELD_AT] += 1
            if row[FIELD_AT] <= 4:
                row[FIELD_START] = joined(row[FIELD_START], byte)
        if row[COLUMN] <= 4:
            row[LINE_START] = joined(row[LINE_START], byte)
        if kind == SPACE and row[INDENT] == row[COLUMN] - 1:
            row[INDENT] = row[COLUMN]
    row[ABOVE], row[ABOVE_NEXT], row[ABOVE_BEFORE] = 0, 0, 0
    above = row[LINE_BEFORE] + row[COLUMN]
    if row[LINE] > row[LINE_BEFORE] and above < row[LINE]:
        row[ABOVE] = np.int64(past[above])
        if above + 1 < row[LINE]:
            row[ABOVE_NEXT] = np.int64(past[above + 1])
        if above > lane_start:
            row[ABOVE_BEFORE] = np.int64(past[above - 1])


@part
def _observe_fields(row, past, position, byte):
    ends = byte in (44, 9, 59, 124, 32, 58, 61, 34, 62, 60)
    _align(row, past, position, byte, ends, FIELDS, FIELD, FIELD_AT, FIELD_TEXT)
    ends = byte in (44, 9, 59, 124)
    if byte == 10:
        row[CELL], row[CELL_AT] = 0, 0
    elif ends:
        row[CELL] += 1
        row[CELL_AT] = 0
    else:
        row[CELL_AT] += 1
    _align(row, past, position, byte, ends, CELLS, CELL, CELL_AT, CELL_TEXT)
    if byte == 10:
        row[HEAD2], row[HEAD1], row[HEAD], row[HEAD_DONE] = row[HEAD1], row[HEAD], 0, 0
    elif row[HEAD_DONE] == 0 and (byte != 32 or row[HEAD]):
        row[HEAD] = joined(row[HEAD], byte)
        row[HEAD_DONE] = 1 if byte in (32, 58, 61, 62, 44) else 0


@part
def _align(row, past, position, byte, ends, starts, number, offset, text):
    """Features from `text` on, of the field (or cell) of this number in the line before."""
    like = text + 2
    if byte == 10:
        for k in range(MOST_FIELDS):
            row[starts + MOST_FIELDS + k] = row[starts + k]
            row[starts + k] = 0
    elif not ends:
        row[text] = joined(row[text], byte + 1)
        if row[like + 2] & 7 == 0 and byte != row[like]:
            change = byte - row[like]
            relation = 1 if change == 1 else 2 if change == -1 else 3 if change > 0 else 4
            row[like + 2] |= relation
    if byte == 10 or ends:
        row[text + 1], row[text] = row[text], byte
        row[like + 2] = row[like + 2] << 3 & 0x1FF
        if row[number] < MOST_FIELDS:
            row[starts + row[number]] = position + 1
    row[like], row[like + 1] = 0, 0
    k = row[number]
    if k < MOST_FIELDS and row[starts + MOST_FIELDS + k]:
        at = row[starts + MOST_FIELDS + k] + row[offset]
        last = row[LINE] - 1
        if k + 1 < MOST_FIELDS and row[starts + MOST_FIELDS + k + 1]:
            last = row[starts + MOST_FIELDS + k + 1] - 1
        row[like] = np.int64(past[min(at, last)])
        row[like + 1] = np.int64(past[min(at + 1, last)])


@part
def _observe_machine(row, position, byte, targets):
    s = row[MACHINE:]
    machine.follow(s, byte, position, targets)
    row[PART] = s[machine.PART] << 3 | min(s[machine.LEFT], 7)
    row[CODE] = s[machine.OPCODE] << 8 | s[machine.MODRM]
    row[CODE1], row[CODE2], row[CODE3] = s[machine.LAST], s[machine.LAST2], s[machine.LAST3]
    begins = s[machine.PART] == machine.START and s[machine.WIDE] == 0
    row[INSTRUCTION] = 0 if begins else joined(row[INSTRUCTION], byte + 1)
    row[ADDRESS] = machine.expected(s, position + 1, targets)


@part
def _observe_numbers(row, byte, numerals):
    s = row[NUMBERS:]
    before = s[lines.LINE]
    lines.follow(s, byte, numerals)
    if byte == 10:
        row[TEMPLATE1] = before
    row[TEMPLATE] = joined(s[lines.LINE], s[lines.DIGITS])
    row[PHRASE] = joined(s[lines.PHRASE], s[lines.DIGITS])
    row[RELATIONS], row[RANK] = s[lines.RELATIONS], s[lines.RANK]
    by_rank = lines.LAST + 3 * min(s[lines.RANK], lines.MOST_NUMBERS - 1)
    for on in range(2):
        row[SAME + on] = lines.expected(s, s, by_rank, on)
        row[LINE_SAME + on] = lines.expected(s, numerals, s[lines.BY_LINE], on)
        row[WORDS_SAME + on] = lines.expected(s, numerals, s[lines.BY_PHRASE], on)


@part
def _observe_nesting(row, byte, kind):
    depth = row[DEPTH]
    closes = 0
    if byte in (40, 91, 123, 60):  # ( [ { <
        row[STACK + depth % STACK_SIZE] = joined(row[KEY], byte) if byte != 60 else byte
        row[DEPTH] = min(depth + 1, 1 << 20)
    elif byte in (41, 93, 125, 62):  # ) ] } >
        closes = 1
    if closes and depth > 0:
        row[DEPTH] = depth - 1
    depth = row[DEPTH]
    row[NEST] = depth & 255
    for k in range(1, 3):
        if depth >= k:
            row[NEST] = joined(row[NEST], row[STACK + (depth - k) % STACK_SIZE])
    # The last name before one of these marks: an XML tag, a JSON key, a variable.
    if byte == 60:
        row[TAG] = 1
    elif row[TAG] & 1:
        if kind in (SPACE, NEWLINE) or byte == 62:
            row[TAG] &= MASK - 1
        else:
            row[TAG] = joined(row[TAG], byte) | 1
    if byte in (58, 61):
        row[KEY] = row[WORD1] if row[LAST_KIND] != LETTER else row[WORD]


@part
def _observe_rows(row, past, lane_start, position, stride, unit):
    here = position + 1
    row[RESIDUE] = (here - lane_start) % stride
    row[CHANNEL] = (here - lane_start) % unit
    row[ROW1] = _byte(past, here - stride, lane_start)
    row[ROW2] = _byte(past, here - 2 * stride, lane_start)
    row[ROW_NEXT] = _byte(past, here - stride + unit, lane_start) if unit < stride else 0
    corner = _byte(past, here - stride - unit, lane_start)
    row[ROW_BEFORE] = corner
    row[LEFT] = _byte(past, here - unit, lane_start)
    second = _byte(past, here - 2 * unit, lane_start)
    row[MEAN] = (row[LEFT] + row[ROW1]) >> 1
    row[SLOPE] = min(max(2 * row[LEFT] - second, 0), 255)
    # By how much the last byte, another channel of this pixel, missed what it was taken for.
    row[ERROR] = (row[C1] - row[PLANE]) & 255
    row[PLANE] = min(max(row[LEFT] + row[ROW1] - corner, 0), 255)


@part
def _byte(past, position, lane_start):
    """A byte of this lane, or 0 before its beginning."""
    return np.int64(past[position]) if position >= lane_start else 0
