"""What is known before a byte: instructions of machine code, and the same field a line above."""

import numpy as np

from mbz.mixing import features as f
from mbz.mixing import machine

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
    targets = np.zeros(256 + 65536, np.int64)
    for position in range(len(text)):
        f.observe(row, past, 0, position, after1, after2, targets, 4, 1, True)
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
