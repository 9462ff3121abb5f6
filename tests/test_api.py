"""`import mbz`: what it offers, and its examples."""

import doctest
import io
import re
import stat
import subprocess
import sys

import numpy as np
import pytest

import mbz
import mbz.api
from mbz import atomic

DATA = b"It was the best of times, it was the worst of times. " * 60


@pytest.fixture(autouse=True)
def models(monkeypatch, tiny_model_dir):
    monkeypatch.setenv("MBZ_MODELS", str(tiny_model_dir.parent))


def test_examples():
    result = doctest.testmod(mbz.api)
    assert result.attempted >= 8
    assert not result.failed


def test_all_names_are_there():
    assert set(mbz.__all__) <= set(dir(mbz))
    for name in mbz.__all__:
        assert getattr(mbz, name).__name__ == name
    with pytest.raises(AttributeError):
        mbz.nonsense  # noqa: B018


def test_importing_is_light():
    code = (
        "import sys, mbz; mbz.MbzError; assert not {'torch', 'numba', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_round_trip(data, tiny_model_dir):
    for options in ({"level": 0}, {"level": 1, "model": "tiny-test"}, {"model": tiny_model_dir}):
        assert mbz.decompress(mbz.compress(data, **options)) == data
        assert mbz.decompress(memoryview(mbz.compress(bytearray(data), **options))) == data


def test_an_opened_model(tiny_model_dir):
    model = mbz.load_model(tiny_model_dir, device="cpu", threads=1)
    assert (model.name, model.path) == ("tiny-test", tiny_model_dir)
    assert mbz.compress(DATA, model=model, level=1) == mbz.compress(
        DATA, model="tiny-test", level=1
    )


def test_errors(tmp_path):
    blob = bytearray(mbz.compress(DATA, level=0))
    with pytest.raises(mbz.DataError, match="limit"):
        mbz.decompress(blob, max_output=len(DATA) - 1)
    blob[len(blob) // 2] ^= 1
    with pytest.raises(mbz.DataError, match="damaged"):
        mbz.decompress(blob)
    with pytest.raises(mbz.ModelError):
        mbz.compress(b"abc", model="nowhere", level=1)
    with pytest.raises(ValueError, match="level"):
        mbz.compress(b"abc", level=10)
    with pytest.raises(ValueError, match="mode"):
        mbz.open(tmp_path / "x", "r")
    with pytest.raises(FileNotFoundError):
        mbz.open(tmp_path / "nowhere.mbz")
    (tmp_path / "x").write_bytes(b"garbage")
    with pytest.raises(mbz.DataError):
        mbz.open(tmp_path / "x")


def test_scores(tiny_model_dir):
    for options in ({"level": 0}, {"model": "tiny-test"}, {"model": tiny_model_dir, "level": 1}):
        score = mbz.score(DATA, **options)
        assert score.per_byte.shape == (len(DATA),)
        assert score.bits == pytest.approx(score.per_byte.sum(dtype=np.float64))
        assert score.bits_per_byte == score.bits / len(DATA)
    ideal = mbz.score(DATA, level=0).bits / 8
    assert ideal < len(mbz.compress(DATA, level=0)) < ideal + 40
    assert mbz.score(b"", level=0).bits_per_byte == 0


@pytest.fixture
def archive(tmp_path):
    """Archives of several blocks and kinds, one after the other, and their content."""
    from mbz import codec

    parts = [DATA, b"", bytes(range(256)) * 3, DATA[:500]]
    path = tmp_path / "x.mbz"
    with path.open("wb") as dst:
        for part in parts:
            codec.compress(io.BytesIO(part), dst, experts="lean", block_size=1000)
    return path, b"".join(parts)


def test_reading_anywhere(archive):
    path, data = archive
    with mbz.open(path) as file:
        assert file.readable()
        assert file.seekable()
        assert file.read() == data
        assert file.read(1) == b""
        for start, size in ((0, 5), (990, 20), (len(data) - 3, 10), (2000, 1), (1500, 2500)):
            file.seek(start)
            assert file.read(size) == data[start : start + size]
            assert file.tell() == min(start + size, len(data))
        assert file.seek(-7, io.SEEK_END) == len(data) - 7
        assert file.read() == data[-7:]
        file.seek(10 * len(data))
        assert file.read() == b""
        with pytest.raises(ValueError, match="place"):
            file.seek(-1)
        file.seek(0)
        assert file.readlines() == io.BytesIO(data).readlines()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_reading_decodes_only_what_it_needs(archive, monkeypatch):
    from mbz import archive_file

    path, data = archive
    decoded = []

    def decode_block(block, *args):
        decoded.append(block)
        return original(block, *args)

    original = archive_file.decode_block
    monkeypatch.setattr(archive_file, "decode_block", decode_block)
    with mbz.open(path) as file:
        for start in (1100, 1200, 1900):
            file.seek(start)
            assert file.read(50) == data[start : start + 50]
    assert len(decoded) == 1


def test_writing(tmp_path):
    path = tmp_path / "x.mbz"
    with mbz.open(path, "xb", level=0) as file:
        assert file.writable()
        assert file.write(DATA) == len(DATA)
        file.write(memoryview(b"end"))
    assert mbz.decompress(path.read_bytes()) == DATA + b"end"
    assert path.read_bytes() == mbz.compress(DATA + b"end", level=0)
    with pytest.raises(FileExistsError):
        mbz.open(path, "xb")
    with pytest.raises(ValueError, match="closed"):
        file.write(b"x")
    file.close()


def test_an_error_while_writing_leaves_no_archive(tmp_path):
    path = tmp_path / "x.mbz"
    with pytest.raises(RuntimeError):
        write_and_fail(path)
    assert not path.exists()
    file = mbz.open(path, "wb", model="nowhere")
    file.write(DATA)
    with pytest.raises(mbz.ModelError):
        file.close()
    assert not path.exists()


def test_an_error_while_writing_keeps_what_was_there(tmp_path):
    path, link = tmp_path / "x.mbz", tmp_path / "link"
    path.write_bytes(b"precious")
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(RuntimeError):
            write_and_fail(name)
        assert path.read_bytes() == b"precious"
    with mbz.open(link, "wb", level=0) as file:
        file.write(DATA)
    assert link.is_symlink()
    assert mbz.decompress(path.read_bytes()) == DATA
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    device = tmp_path / "device"
    device.symlink_to("/dev/null")
    with mbz.open(device, "wb", level=0) as file:
        file.write(DATA)
    assert device.is_symlink()


@pytest.mark.parametrize("nameless", [True, False])
def test_a_file_appears_when_it_is_complete(tmp_path, monkeypatch, nameless):
    if not nameless:
        monkeypatch.delattr("os.O_TMPFILE", raising=False)
    path, like = tmp_path / "x", tmp_path / "like"
    like.write_bytes(b"")
    like.chmod(0o640)
    with atomic.appearing(path, like.stat()) as file:
        file.write(b"new")
        names = [one.name for one in tmp_path.iterdir() if one != like]
        assert len(names) <= 1
        assert all(re.fullmatch(atomic.PARTIAL, name) for name in names)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_mtime_ns == like.stat().st_mtime_ns
    assert sorted(tmp_path.iterdir()) == [like, path]


def write_and_fail(path):
    with mbz.open(path, "wb", level=0) as file:
        file.write(DATA)
        raise RuntimeError
