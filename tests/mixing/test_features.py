"""What is known before a byte: machine code, the same field a line above, numbers of lines."""

import numpy as np

from mbz.mixing import features as f
from mbz.mixing import lines, machine

INSTRUCTIONS = (
    "c3",  # ret
    "488b0510000000",  # mov rax, [rip + 16]
    "0f8400010000",  # je, far
    "66b80102",  # mov ax, 513
    "48b80102030405060708",  # mov rax, of eight bytes
    "83e801",  # sub eax, 1
    "f7c700000001",  # test edi, of four bytes
    "f7d8",  # neg eax
    "8d442408",  # lea eax, [rsp + 8]
    "0f38003d00000000",  # pshufb, of three bytes, [rip]
    "c5f877",  # vzeroupper
    "8b0485a0000000",  # mov eax, [rax * 4 + 160]
)


def test_instructions_end_where_they_do():
    state = np.zeros(machine.WIDTH, np.int64)
    targets = np.zeros(256 + 65536, np.int64)
    for code in INSTRUCTIONS:
        for n, byte in enumerate(bytes.fromhex(code)):
            begun = state[[machine.PART, machine.WIDE]].any()
            assert begun == (n > 0), code
            machine.follow(state, byte, n, targets)
    assert state[machine.PART] == machine.START
    assert state[machine.LAST] == 0x8B << 8 | 0x04
    assert state[machine.LAST2] == (256 | 0x77) << 8


def test_a_second_call_of_an_address_is_foreseen():
    state = np.zeros(machine.WIDTH, np.int64)
    targets = np.zeros(256 + 65536, np.int64)
    target, foreseen = 0x12345, []
    for start in (0x100, 0x2340):
        code = bytes([0xE8]) + (target - start - 5).to_bytes(4, "little")
        for n, byte in enumerate(code):
            foreseen.append((machine.expected(state, start + n, targets), byte))
            machine.follow(state, byte, start + n, targets)
    assert [guess for guess, _ in foreseen[:7]] == [0] * 7
    assert all(guess == 256 | byte for guess, byte in foreseen[7:])


def features_after(text):
    row = np.zeros(f.WIDTH, np.int64)
    past = np.frombuffer(text, np.uint8)
    after1, after2 = np.zeros(256, np.int64), np.zeros(65536, np.int64)
    targets, numerals = np.zeros(256 + 65536, np.int64), np.zeros(lines.TABLE, np.int64)
    for position in range(len(text)):
        f.observe(row, past, 0, position, after1, after2, targets, numerals, 4, 1, True)
    return row


def test_the_same_field_is_found_in_the_line_above():
    above = b"1,long name,500,x\n"
    row = features_after(above + b"2,name,5")
    assert row[[f.CELL_LIKE, f.CELL_LIKE_NEXT]].tolist() == [ord("0"), ord("0")]
    assert row[f.CELL_RELATION] & 7 == 0  # as above, so far
    row = features_after(above + b"2,name,6")
    assert row[f.CELL_RELATION] & 7 == 1  # one more
    row = features_after(above + b"2,a name,5000")
    assert row[f.CELL_LIKE] == ord(",")  # not beyond its end
    assert features_after(above + above)[f.CELL_LIKE] == ord("1")


def test_lines_whose_numbers_alone_differ_are_alike():
    one, other = (features_after(b"a\n" + line) for line in (b"in 12 of 9: x", b"in 7 of 1234: x"))
    assert one[[f.TEMPLATE, f.PHRASE]].tolist() == other[[f.TEMPLATE, f.PHRASE]].tolist()
    assert one[f.TEMPLATE] != features_after(b"a\nin 12 of : x")[f.TEMPLATE]
    assert features_after(b"a 1\n")[f.TEMPLATE1] == features_after(b"a 22\n")[f.TEMPLATE1]


def test_numbers_are_expected_as_last_time_or_as_far_from_it():
    above = b"the 7 pid 1993\nother 5\nthe 7 pid 1996\n"
    nothing, end = 0, 11

    def expected(text, *features):
        return features_after(above + text)[list(features)].tolist()

    by_line, by_rank, by_words = f.LINE_SAME, f.SAME, f.WORDS_SAME
    assert expected(b"the 7 pid 199", by_line, f.LINE_NEXT) == [1 + 6, 1 + 9]
    assert expected(b"the 7 pid 1999", by_line, f.LINE_NEXT) == [end + 16 * 3, end]
    assert expected(b"the 7 pid 1997", by_line, f.LINE_NEXT) == [end + 16 * 1, end + 16 * 4]
    assert expected(b"the 7 pid ", by_rank, by_words) == [1 + 1, 1 + 1]
    assert expected(b"so the 7 pid ", by_line, by_rank, by_words) == [nothing, 1 + 1, 1 + 1]
    assert expected(b"an other ", by_line, by_rank, by_words) == [nothing, 1 + 7, nothing]
    long = b"9" * (lines.MOST_DIGITS + 3)
    assert expected(long + b"\n" + long[:2], by_rank) == [nothing]
