"""Writes the generated samples beside this file: data.json, table.csv, picture.bmp, noise.bin."""

import json
import math
import random
import struct
from pathlib import Path

HERE = Path(__file__).parent
CITIES = ["Aarhus", "Bergen", "Cork", "Delft", "Erfurt", "Faro", "Ghent", "Haifa"]
WIDTH, HEIGHT = 48, 32


def records(chance: random.Random) -> bytes:
    """Nested objects with numbers, names and flags."""
    entries = [
        {
            "id": 1000 + number,
            "city": chance.choice(CITIES),
            "readings": [round(chance.gauss(12, 6), 1) for _ in range(4)],
            "sensor": {"serial": f"{chance.getrandbits(32):08x}", "active": chance.random() < 0.8},
            "comment": None,
        }
        for number in range(24)
    ]
    return json.dumps({"version": 2, "entries": entries}, indent=2).encode() + b"\n"


def table(chance: random.Random) -> bytes:
    """A day of measurements in columns, with the line ends of spreadsheets."""
    lines = ["time;station;temperature;wind;pressure"]
    for minute in range(0, 24 * 60, 15):
        warmth = 14 - 6 * math.cos(minute / 1440 * math.tau) + chance.gauss(0, 0.3)
        wind, pressure = chance.choice("NESW"), 1013 + chance.randint(-2, 2)
        city = CITIES[minute // 15 % len(CITIES)]
        lines.append(f"{minute // 60:02}:{minute % 60:02};{city};{warmth:.2f};{wind};{pressure}")
    return "\r\n".join([*lines, ""]).encode()


def picture() -> bytes:
    """A bitmap of 24 bits a pixel with smooth colours."""
    pixels = bytes(
        int(127.5 + 127.5 * math.sin(x / (3 + channel) + y / 7))
        for y in range(HEIGHT)
        for x in range(WIDTH)
        for channel in range(3)
    )
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54) + info + pixels


def main() -> None:
    """Writes all files; they are equal in every run."""
    chance = random.Random(20260101)
    (HERE / "data.json").write_bytes(records(chance))
    (HERE / "table.csv").write_bytes(table(chance))
    (HERE / "picture.bmp").write_bytes(picture())
    (HERE / "noise.bin").write_bytes(chance.randbytes(2048))


if __name__ == "__main__":
    main()
