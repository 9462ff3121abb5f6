"""A second, slow decoder, written from docs/format.md alone: no line of mbz.container or mbz.codec.

Predictors are given to it; section numbers are in the comments. Anything wrong is `Bad`.
"""

import lzma
from collections.abc import Callable, Iterator

MAX_BLOCK, MAX_LANES, MAX_FRAME = 32 << 20, 4096, 2**32 - 1
STORED, LZMA, CODED, END = range(4)


class Bad(Exception):
    """The archive is not as the document says."""


def xxh64(data: bytes) -> int:  # noqa: C901
    """XXH64 with seed 0, from its own specification."""
    mask, p1, p2, p3, p4, p5 = (
        (1 << 64) - 1,
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )

    def rotate(x: int, n: int) -> int:
        return (x << n | x >> 64 - n) & mask

    def mixed(acc: int, lane: int) -> int:
        return rotate((acc + lane * p2) & mask, 31) * p1 & mask

    at, size = 0, len(data)
    if size >= 32:
        accs = [p1 + p2 & mask, p2, 0, -p1 & mask]
        while size - at >= 32:
            for i in range(4):
                accs[i] = mixed(accs[i], int.from_bytes(data[at : at + 8], "little"))
                at += 8
        h = sum(rotate(acc, n) for acc, n in zip(accs, (1, 7, 12, 18), strict=True)) & mask
        for acc in accs:
            h = ((h ^ mixed(0, acc)) * p1 + p4) & mask
    else:
        h = p5
    h = h + size & mask
    while size - at >= 8:
        h ^= mixed(0, int.from_bytes(data[at : at + 8], "little"))
        h = (rotate(h, 27) * p1 + p4) & mask
        at += 8
    if size - at >= 4:
        h ^= int.from_bytes(data[at : at + 4], "little") * p1 & mask
        h = (rotate(h, 23) * p2 + p3) & mask
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * p5 & mask, 11) * p1 & mask
    for shift, prime in ((33, p2), (29, p3), (32, 1)):
        h = (h ^ h >> shift) * prime & mask
    return h


def need(condition: object) -> None:
    if not condition:
        raise Bad


class Fields:
    """A place in the file, and the start of the header there (1)."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at, self.start = data, at, at

    def take(self, size: int) -> bytes:
        need(self.at + size <= len(self.data))
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        groups = []
        while not groups or groups[-1] & 128:
            groups.append(self.byte())
            need(len(groups) <= 9)
        need(len(groups) == 1 or groups[-1] != 0)
        return sum((group & 127) << 7 * i for i, group in enumerate(groups))

    def check16(self) -> None:
        found = xxh64(self.data[self.start : self.at]) & 0xFFFF
        need(int.from_bytes(self.take(2), "little") == found)


def decode(data: bytes, open_model: Callable[[bytes], object], versions: tuple[int, int]) -> bytes:
    """The content of a file (2). `open_model` gives an `mbz.exact.Predictor` for a fingerprint."""
    content, at, archives = b"", 0, 0
    while at < len(data) or archives == 0:
        fields = Fields(data, at)
        magic = fields.take(3)
        if magic == b"\xb5ms":
            fields.byte()
            length = fields.varint()
            fields.check16()
            need(length <= MAX_FRAME)
            fields.take(length)
        else:
            need(magic == b"\xb5mb")
            content += archive(fields, open_model, versions)
            archives += 1
        at = fields.at
    return content


def archive(
    fields: Fields, open_model: Callable[[bytes], object], versions: tuple[int, int]
) -> bytes:
    """One archive behind its magic (3)."""
    numbers, flags = fields.byte(), fields.byte()
    form = flags & 3
    need(numbers == versions[0] << 4 | (0 if form < CODED else versions[1]))
    need(flags & 0b1010_0000 == 0)
    fingerprint, size = None, None
    if flags & 4:
        need(form >= CODED)
        fingerprint = fields.take(8)
    if flags & 8:
        need(flags & 4)
        name = fields.take(fields.byte())
        need(name)
        try:
            need(all(ord(c) > 0x1F and not 0x7F <= ord(c) <= 0x9F for c in name.decode()))
        except UnicodeDecodeError as error:
            raise Bad from error
    if flags & 16:
        size = fields.varint()
    if form == END:
        fields.check16()
        predictor = None if fingerprint is None else open_model(fingerprint)
        return blocks(fields, size, predictor)
    need(size is not None)
    need(size <= MAX_BLOCK)
    coding, coded = rest(fields, form, size)
    check = fields.take(4)
    fields.check16()
    need((fingerprint is not None) == bool(coding and coding["network"]))
    predictor = None if fingerprint is None else open_model(fingerprint)
    content = block(form, fields.take(coded), size, coding, predictor)
    need(int.from_bytes(check, "little") == xxh64(content) & 0xFFFFFFFF)
    return content


def rest(fields: Fields, kind: int, raw: int) -> tuple[dict[str, int] | None, int]:
    """Coding and coded length (4)."""
    coding = None
    if kind == CODED:
        bits = fields.byte()
        need(bits & 0b1100_0000 == 0)
        coding = {"experts": bits & 7, "network": bits >> 3 & 1, "stride": 4, "unit": 1}
        coding |= {"phase": 0, "lanes": 1}
        need(coding["experts"] or coding["network"])
        if bits & 16:
            for name in ("stride", "unit", "phase"):
                coding[name] = fields.varint()
            need(1 <= coding["stride"] <= MAX_BLOCK)
            need(1 <= coding["unit"] <= coding["stride"])
            need(coding["phase"] < coding["stride"])
            need(coding["experts"] != 4 or coding["unit"] <= 8)
            need(coding["experts"] != 5 or coding["unit"] <= 3)
            need(coding["experts"] != 5 or coding["stride"] < 17 * coding["unit"])
        if bits & 32:
            coding["lanes"] = fields.varint()
        need(raw <= 8 << 20 or coding["experts"] not in {4, 5})
        need(1 <= coding["lanes"] <= min(MAX_LANES, raw))
    if kind == STORED:
        return coding, raw
    coded = fields.varint()
    need(coded < raw)
    return coding, coded


def blocks(fields: Fields, size: int | None, predictor: object) -> bytes:
    """The block form behind its header (4 and 5)."""
    content = b""
    while True:
        fields.start = fields.at
        kind = fields.byte()
        need(kind & 0b0111_1100 == 0)
        kind &= 3
        raw = fields.varint()
        if kind == END:
            check = fields.take(8)
            fields.check16()
            need(raw == len(content))
            need(size in (None, raw))
            need(int.from_bytes(check, "little") == xxh64(content))
            return content
        need(1 <= raw <= MAX_BLOCK)
        coding, coded = rest(fields, kind, raw)
        check = fields.take(8)
        fields.check16()
        need(predictor is not None or not (coding and coding["network"]))
        found = block(kind, fields.take(coded), raw, coding, predictor)
        need(int.from_bytes(check, "little") == xxh64(found))
        content += found


def block(
    kind: int, payload: bytes, raw: int, coding: dict[str, int] | None, predictor: object
) -> bytes:
    """The content of a payload (4, 6, 7)."""
    if kind == STORED:
        return payload
    if kind == LZMA:
        chain = [{"id": lzma.FILTER_LZMA2, "dict_size": max(4096, raw)}]
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)
        try:
            content = decoder.decompress(payload)
        except lzma.LZMAError as error:
            raise Bad from error
        need(decoder.eof and not decoder.unused_data and len(content) == raw)
        return content
    lanes = coding["lanes"]
    lengths = [raw // lanes + (lane < raw % lanes) for lane in range(lanes)]
    streams = [bytearray() for _ in range(lanes)]
    network = predictor if coding["network"] else None
    if network is not None:
        need(lanes <= network.most_lanes)
        network.reset(lanes)
    if coding["experts"]:
        steps = with_experts(payload, raw, coding, network, lengths)
    else:
        steps = without_experts(payload, network, lengths)
    for values in steps:
        for stream, value in zip(streams, values, strict=False):
            stream.append(value)
    return b"".join(streams)


def without_experts(payload: bytes, network: object, lengths: list[int]) -> Iterator[list[int]]:
    """The bytes of each step (7 and 8), with the number itself and its interval as fractions."""
    import numpy as np

    low, width, digits = 0, 2**64 - 1, 64
    for t in range(lengths[0]):
        counts = network.counts()
        values = []
        for lane in range(sum(t < length for length in lengths)):
            shown = payload[: digits // 8].ljust(digits // 8, b"\0")
            scale = width >> 24
            place = (int.from_bytes(shown, "big") - low) // scale
            cumulated = 0
            for v in range(256):
                frequency = int(counts[lane, v]) + 1
                if place < cumulated + frequency:
                    break
                cumulated += frequency
            else:
                raise Bad
            values.append(v)
            low, width = low + scale * cumulated, scale * frequency
            if width < 2**32:
                low, width, digits = low << 32, width << 32, digits + 32
        yield values
        network.push(np.array(values + [0] * (len(lengths) - len(values)), np.uint8))


def with_experts(
    payload: bytes, raw: int, coding: dict[str, int], network: object, lengths: list[int]
) -> Iterator[list[int]]:
    """The same over bits: chances of docs/mixing.md, its range code (its section 8) done here."""
    import numpy as np

    from mbz.mixing import SETS, Mixer

    need(coding["experts"] <= len(SETS))
    mixer = Mixer(
        raw,
        coding["lanes"],
        use=SETS[coding["experts"] - 1],
        network=network is not None,
        stride=coding["stride"],
        unit=coding["unit"],
        phase=coding["phase"],
    )
    above, width, at = int.from_bytes(payload[:6].ljust(6, b"\0"), "big"), 2**48, 6
    for t in range(lengths[0]):
        active = sum(t < length for length in lengths)
        counts = None if network is None else network.counts().astype(np.uint32)
        values = [0] * active
        chances = mixer.begin(counts)
        for place in range(8):
            bits = []
            for lane in range(active):
                ones = (width >> 16) * int(chances[lane])
                bit = above < ones
                above, width = (above, ones) if bit else (above - ones, width - ones)
                while width < 2**40:
                    above = above << 8 | (payload[at] if at < len(payload) else 0)
                    width, at = width << 8, at + 1
                bits.append(int(bit))
                values[lane] = values[lane] << 1 | bit
            pushed = np.array(bits, np.int64)
            if place < 7:
                chances = mixer.push(pushed)
            else:
                mixer.finish(pushed)
        yield values
        if network is not None:
            network.push(np.array(values + [0] * (len(lengths) - active), np.uint8))
