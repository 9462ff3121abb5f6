"""Damaged and wrongly modelled archives: exit code 2, one sentence, and no output file."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from mbz import weights

MUTATIONS = 300


def mutate(archive: bytes, chance: random.Random) -> bytes:
    """Damages an archive in one of the ways in which files are damaged."""
    data = bytearray(archive)
    place = chance.randrange(len(data))
    length = chance.randint(1, 16)
    match chance.randrange(6):
        case 0:
            del data[place:]
        case 1:
            data[place] ^= 1 << chance.randrange(8)
        case 2:
            data[place] = chance.randrange(256)
        case 3:
            del data[place : place + length]
        case 4:
            data[place:place] = chance.randbytes(length)
        case 5:
            data[place : place + length] = bytes(len(data[place : place + length]))
    return bytes(data)


@pytest.mark.parametrize("blocks", [(), ("--block-size", "200")], ids=["compact", "blocks"])
@pytest.mark.parametrize("mixing", ["--no-mix", "-6"])
def test_mutations_are_found(mbz, sample, content, blocks, mixing):
    options = ("-m", "tiny-test", "--lanes", "8", mixing, *blocks)
    assert mbz("compress", *options, sample).exit_code == 0
    path = sample.with_name("sample.txt.mbz")
    assert b'"kind": "coded"' in mbz("list", "--json", path).stdout_bytes
    archive = path.read_bytes()
    chance = random.Random(f"{len(blocks)} {mixing}")
    target = sample.with_name("out")
    for number in range(MUTATIONS // 4):
        path.write_bytes(mutate(archive, chance))
        result = mbz("decompress", "-o", target, path)
        if result.exit_code == 0:  # the mutation changed nothing, or an unused bit
            assert target.read_bytes() == content, number
            target.unlink()
        else:
            assert result.exit_code == 2, (number, result.stderr)
            assert result.stderr.startswith(f"mbz: {path}: "), number
            assert result.stderr.count("\n") == 1, (number, result.stderr)
        files = sorted(file.name for file in sample.parent.iterdir())
        assert files == ["sample.txt", "sample.txt.mbz"], number


def test_what_is_no_archive(mbz, tmp_path):
    path = tmp_path / "x.mbz"
    for data in (b"", b"plain text", bytes(100)):
        path.write_bytes(data)
        for command in ("decompress", "test", "list"):
            assert mbz(command, path).exit_code == 2


def test_a_missing_model_is_named(mbz, archive, sample, tiny_model_dir, monkeypatch, environment):
    sample.unlink()
    monkeypatch.setitem(environment, "MBZ_MODELS", str(archive.parent))
    result = mbz("decompress", archive)
    assert result.exit_code == 2
    fingerprint = weights.read(tiny_model_dir).fingerprint[:8].hex()
    assert f"needs the model 'tiny-test' with fingerprint {fingerprint}" in result.stderr
    assert str(archive.parent) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not sample.exists()
    # The model may lie anywhere if it is named.
    assert mbz("decompress", "-m", tiny_model_dir, archive).exit_code == 0


def test_another_model_is_refused(mbz, archive, sample, tiny_model_dir, tmp_path):
    model = weights.read(tiny_model_dir)
    tensors = {name: np.array(tensor) for name, tensor in model.tensors.items()}
    tensors["local.start"] += np.float32(1)
    other = tmp_path / "models" / "other"
    weights.write(other, name="other", config=model.config, tensors=tensors, golden=model.golden)
    sample.unlink()
    result = mbz("decompress", "-m", other, archive)
    assert result.exit_code == 2
    assert "needs the model tiny-test" in result.stderr
    assert not sample.exists()


def test_a_damaged_model_is_refused(mbz, sample, tiny_model_dir, tmp_path):
    copy = Path(shutil.copytree(tiny_model_dir, tmp_path / "copy"))
    file = copy / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    result = mbz("compress", "-m", copy, sample)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert not sample.with_name("sample.txt.mbz").exists()
