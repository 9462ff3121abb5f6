"""Small archives that go through one network together, as if each had come alone."""

import json
from pathlib import Path

import pytest
from mbz_cli import files, several

from mbz import together
from mbz.exact import Predictor


@pytest.fixture
def folder(mbz, tmp_path: Path, content: bytes) -> Path:
    """Twelve archives, of different lengths."""
    folder = tmp_path / "folder"
    folder.mkdir()
    names = [folder / f"{number:02}" for number in range(12)]
    for number, name in enumerate(names):
        name.write_bytes(content[number : 400 - 17 * (number % 3)])
    assert mbz("compress", "-m", "tiny-test", "--rm", *names).exit_code == 0
    return folder


@pytest.fixture
def tables(monkeypatch) -> list[int]:
    """Seats of each table that is made."""
    made = []

    class Noted(together.Table):
        def __init__(self, predictor: Predictor, seats: int, threads: int = 1) -> None:
            made.append(seats)
            super().__init__(predictor, seats, threads)

    monkeypatch.setattr(several, "SEATS", 16)
    monkeypatch.setattr(several, "Table", Noted)
    return made


def restored(folder: Path, content: bytes) -> list[int]:
    """Numbers of the files that are there; each must be right."""
    found = []
    for path in sorted(folder.glob("??")):
        number = int(path.name)
        assert path.read_bytes() == content[number : 400 - 17 * (number % 3)]
        found.append(number)
    return found


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_all_come_back(mbz, folder, tables, content, threads, monkeypatch):
    monkeypatch.setattr(several, "SEATS", 5)
    result = mbz("decompress", "-T", threads, "--json", *sorted(folder.iterdir()))
    assert result.exit_code == 0, result.stderr
    assert restored(folder, content) == list(range(12))
    assert sorted(tables) == {1: [4] * 3, 2: [3] * 4, 5: [2, 2, 2, 3, 3]}[threads]
    told = json.loads(result.stdout)
    assert [one["file"] for one in told] == sorted(one["file"] for one in told)
    assert [one["content"] for one in told] == [400 - 17 * (n % 3) - n for n in range(12)]


def test_others_come_back_beside_damaged_ones(mbz, folder, tables, content):
    names = sorted(folder.iterdir())
    for number, at in ((2, 0), (5, -9), (7, -1)):
        damaged = bytearray(names[number].read_bytes())
        damaged[at] ^= 1
        names[number].write_bytes(damaged)
    names[9].unlink()
    result = mbz("decompress", "-T", "1", *names)
    assert result.exit_code == 2
    assert restored(folder, content) == [0, 1, 3, 4, 6, 8, 10, 11]
    assert len(tables) == 1
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == [
        str(names[number]) for number in (2, 5, 7, 9)
    ]


def test_others_come_back_beside_one_that_cannot_be_written(mbz, folder, content):
    (folder / "03").mkdir()
    (folder / "04").write_bytes(b"in the way")
    names = sorted(folder.glob("*.mbz"))
    result = mbz("decompress", "-T", "1", *names)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    (folder / "03").rmdir()
    (folder / "04").unlink()
    assert restored(folder, content) == [0, 1, 2, *range(5, 12)]


def test_the_model_may_be_missing(mbz, folder, tables, tmp_path, environment):
    environment["MBZ_MODELS"] = str(tmp_path / "none")
    names = sorted(folder.iterdir())
    result = mbz("decompress", "-T", "2", *names)
    assert result.exit_code == 2
    assert tables == []
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == [*map(str, names)]


def test_memory_may_end(mbz, folder, monkeypatch):
    def failing(*_args):
        raise MemoryError

    monkeypatch.setattr(together.Table, "_decode", failing)
    result = mbz("decompress", "-T", "1", *sorted(folder.iterdir()))
    assert result.exit_code == 1
    assert result.stderr.count("not enough memory") == 12


def test_an_interrupt_ends_all(mbz, folder, monkeypatch):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(together.Table, "_decode", interrupted)
    result = mbz("decompress", "-T", "2", *sorted(folder.iterdir()))
    assert result.exit_code != 0
    assert sorted(path.suffix for path in folder.iterdir()) == [".mbz"] * 12


def test_an_archive_may_change_meanwhile(mbz, folder, content, monkeypatch):
    names = sorted(folder.iterdir())
    opened = files.opened

    def changing(name, **options):
        if name == str(names[1]):
            names[1].write_bytes(names[3].read_bytes() + names[3].read_bytes())
        return opened(name, **options)

    monkeypatch.setattr(files, "opened", changing)
    result = mbz("decompress", "-T", "1", *names)
    assert result.exit_code == 1
    assert f"{names[1]}: An archive changed" in result.stderr
    assert restored(folder, content) == [0, *range(2, 12)]
