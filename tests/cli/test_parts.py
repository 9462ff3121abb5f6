"""`mbz decompress` of parts: ranges, limits, and what is left of damaged archives."""

import subprocess

import pytest

from mbz import codec


@pytest.fixture
def blocks(mbz, sample, content):
    """The sample in blocks of 100 bytes, and where their payloads begin."""
    assert mbz("compress", "-m", "tiny-test", "--block-size", "100", sample).exit_code == 0
    path = sample.with_name("sample.txt.mbz")
    with path.open("rb") as file:
        [info] = codec.describe(file)
    assert len(content) == 400
    return path, [one.offset for one in info.blocks]


def test_range(mbz, blocks, content):
    path, _ = blocks
    for text, part in (("150:250", content[150:250]), ("350:", content[350:]), (":5", content[:5])):
        assert mbz("decompress", "-c", "--range", text, path).stdout_bytes == part
        piped = mbz("decompress", "--range", text, data=path.read_bytes())
        assert piped.stdout_bytes == part
    assert mbz("decompress", "-c", "--range", "390:1K", path).stdout_bytes == content[390:]
    assert mbz("decompress", "-c", "--range", "401:", path).exit_code == 1
    for wrong in ("5", "9:5", "a:b", "-1:2", "1:2:3"):
        assert mbz("decompress", "-c", f"--range={wrong}", path).exit_code == 1


@pytest.mark.parametrize("part", [["--range", "0:10"], ["--salvage"]])
def test_an_archive_restored_in_part_is_not_removed(mbz, blocks, tmp_path, part):
    path, _ = blocks
    result = mbz("decompress", "--rm", *part, "-o", tmp_path / "restored", path)
    assert result.exit_code == 1
    assert "--rm would remove" in result.stderr
    assert path.exists()
    assert not (tmp_path / "restored").exists()


def test_max_output(mbz, blocks, content):
    path, _ = blocks
    assert mbz("decompress", "-c", "--max-output", "400", path).stdout_bytes == content
    for options in ((), ("--salvage",), ("--range", "0:400")):
        result = mbz("decompress", "-c", "--max-output", "399", *options, path)
        assert result.exit_code == 2
        assert "longer than the limit of 399 bytes" in result.stderr
    piped = mbz("decompress", "--max-output", "399", data=path.read_bytes())
    assert piped.exit_code == 2
    assert mbz("test", "--max-output", "400", path).exit_code == 0
    assert mbz("test", "--max-output", "399", path).exit_code == 2


def test_salvage(mbz, blocks, content):
    path, offsets = blocks
    data = bytearray(path.read_bytes())
    data[offsets[1] + 3] ^= 1
    path.write_bytes(data)
    target = path.with_name("out")
    assert mbz("decompress", "-o", target, path).exit_code == 2
    assert not target.exists()
    result = mbz("decompress", "--salvage", "-o", target, path)
    assert result.exit_code == 2
    assert target.read_bytes() == content[:100] + bytes(100) + content[200:]
    assert f"mbz: {path}: bytes 100 to 200 are missing" in result.stderr
    assert result.stderr.count("\n") == 2


def test_salvage_of_what_is_whole_and_of_nothing(mbz, blocks, content):
    path, _ = blocks
    assert mbz("decompress", "--salvage", "-c", path).stdout_bytes == content
    target = path.with_name("out")
    path.write_bytes(b"garbage" * 100)
    result = mbz("decompress", "--salvage", "-o", target, path)
    assert result.exit_code == 2
    assert not target.exists()
    assert result.stderr.count("\n") == 1


def test_what_salvage_does_not_go_with(mbz, blocks, command):
    path, _ = blocks
    assert mbz("decompress", "--salvage", "--range", "0:5", "-c", path).exit_code == 1
    done = subprocess.run(
        [*command, "decompress", "--salvage"],
        input=path.read_bytes(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"needs a file" in done.stderr
