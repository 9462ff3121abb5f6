"""Checkpoints: whole or absent, the newest and the best kept."""

import pytest
import torch

from mbz.errors import MbzError
from mbz.training import checkpoint

TENSORS = {"model": {"w": torch.arange(6.0).view(2, 3).T}, "average": {}}


def save(run, step, best=None):
    mark = None if best is None else {"step": best, "bits": 1.0}
    checkpoint.save(run, step, TENSORS, {"step": step, "best": mark, "config": {}})


def test_what_is_saved_is_read(tmp_path):
    save(tmp_path, 3)
    newest = checkpoint.newest(tmp_path)
    assert checkpoint.read_state(newest) == {"step": 3, "best": None, "config": {}}
    assert torch.equal(checkpoint.read(newest, "model")["w"], TENSORS["model"]["w"])
    assert checkpoint.read(newest, "average") == {}
    assert not list(tmp_path.rglob("*.pt")) + list(tmp_path.rglob("*.pkl"))


def test_the_last_two_and_the_best_are_kept(tmp_path):
    assert checkpoint.newest(tmp_path) is checkpoint.best(tmp_path) is None
    for step in (5, 10, 20, 100):
        save(tmp_path, step, best=10 if step >= 10 else None)
    assert checkpoint.steps(tmp_path) == [10, 20, 100]
    assert checkpoint.newest(tmp_path).name == "step-100"
    assert checkpoint.best(tmp_path).name == "step-10"
    save(tmp_path, 200, best=200)
    assert checkpoint.steps(tmp_path) == [100, 200]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-100",
        "step-200",
    ]


@pytest.mark.parametrize("failing", ["rename", "write_text"])
def test_a_failure_leaves_the_checkpoints_before(tmp_path, monkeypatch, failing):
    save(tmp_path, 1)

    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"pathlib.Path.{failing}", fail)
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path, 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-1"]


def test_what_a_killed_process_left_is_no_checkpoint(tmp_path):
    save(tmp_path, 1)
    for name in (".step-2", ".step-0"):  # half written, half removed
        (tmp_path / "checkpoints" / name).mkdir()
        (tmp_path / "checkpoints" / name / "model.safetensors").write_bytes(b"half")
    assert checkpoint.newest(tmp_path).name == "step-1"
    save(tmp_path, 2)
    assert checkpoint.read(checkpoint.newest(tmp_path), "model")["w"].shape == (3, 2)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_damage_is_named(tmp_path, name):
    save(tmp_path, 4)
    newest = checkpoint.newest(tmp_path)
    path = newest / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(MbzError, match=r"step-4 is damaged .*; delete it"):
        checkpoint.read_state(newest), checkpoint.read(newest, "model")
