"""Run folders: resumed runs repeat the same bits, and what does not fit is refused."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from mbz import weights, zoo
from mbz.errors import MbzError
from mbz.quantize import float_state
from mbz.training import checkpoint, loop, record, settings
from mbz.training.config import DataConfig
from mbz.training.run import CONFIG, run
from mbz.training.start import trained
from mbz.training.trainer import Trainer


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


def stop_after(steps: int):
    """Answers whether to stop: after so many questions, each of which is one step."""
    answers = iter([False] * (steps - 1) + [True])
    return lambda: next(answers)


def steps_of(folder):
    """All that the log says, but the times."""
    lines = record.read(folder / record.LOG)
    return [{key: line[key] for key in line if key != "seconds"} for line in lines]


def tensors_of(folder):
    newest = checkpoint.newest(folder)
    groups = ("model", "average", "optimisers")
    return {(g, k): v for g in groups for k, v in checkpoint.read(newest, g).items()}


@pytest.mark.usefixtures("curves")
def test_a_run_folder_holds_all_there_is(config, folder):
    seen = []
    outcome = run(config, folder, device="cpu", on_progress=seen.append)
    assert outcome.finished
    assert outcome.step == 8
    assert {path.name for path in folder.iterdir()} == {
        "config.toml",
        "log.jsonl",
        "curve.png",
        "checkpoints",
        "weights.safetensors",
    }
    assert [now.step for now in seen] == list(range(1, 9))
    assert seen[-1].fraction == 1
    lines = record.read(folder / record.LOG)
    assert lines[-1]["validation"] == outcome.best["bits"]
    assert zoo.metadata(folder)["name"] == "run"
    model = weights.read(folder)
    exported = float_state(model.config, model.tensors)
    _, floats = trained(str(folder))
    assert exported.keys() == floats.keys()
    step = (floats["head.weight"].abs().amax(1) / 127).max()
    assert (exported["head.weight"] - floats["head.weight"]).abs().max() <= step


@pytest.mark.parametrize("changes", [{}, {"average": 0.9, "accumulate": 2, "recompute": True}])
def test_a_resumed_run_repeats_the_same_bits(changed, tmp_path, changes, monkeypatch):
    monkeypatch.setattr(loop, "SPACING", 1)
    config = changed(steps=12, validations=2, **changes)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    for path in (straight, broken):
        path.mkdir()
    config = replace(config, name="same")
    run(config, straight, device="cpu")
    assert not run(config, broken, device="cpu", should_stop=stop_after(5)).finished
    assert not run(config, broken, device="cpu", resume=True, should_stop=stop_after(2)).finished
    assert not (broken / "weights.safetensors").exists()
    assert run(config, broken, device="cpu", resume=True).finished
    assert steps_of(broken) == steps_of(straight)
    assert (broken / weights.FILE_NAME).read_bytes() == (straight / weights.FILE_NAME).read_bytes()
    one, other = tensors_of(straight), tensors_of(broken)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_killed_run_goes_on_from_its_last_checkpoint(changed, folder, tmp_path, monkeypatch):
    config = replace(changed(save_every=1e-9), name="same")
    gradient = Trainer.gradient
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "gradient", lambda self, n: gradient(self, n) if n < 5 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(config, folder, device="cpu")
    assert checkpoint.steps(folder) == [4, 5]
    run(config, folder, device="cpu", resume=True)
    (tmp_path / "straight").mkdir()
    run(config, tmp_path / "straight", device="cpu")
    assert steps_of(folder) == steps_of(tmp_path / "straight")


def test_time_goes_on_where_it_was(changed, folder):
    limited = changed(steps=0, seconds=1e6)
    run(limited, folder, device="cpu", should_stop=stop_after(1))
    last = checkpoint.newest(folder)
    state = checkpoint.read_state(last)
    (last / checkpoint.STATE).write_text(json.dumps(state | {"seconds": 999_999.9999}))
    assert run(limited, folder, device="cpu", resume=True).finished
    assert record.read(folder / record.LOG)[-1]["seconds"] > 999_999.9999


def test_limits_may_be_extended_and_nothing_else_changed(changed, config, folder):
    run(changed(steps=2), folder, device="cpu")
    before = (folder / weights.FILE_NAME).read_bytes()
    for other, names in (
        (changed(seed=1), "train.seed"),
        (changed(batch=2, clip=2.0), "train.batch, train.clip"),
        (replace(config, data=replace(config.data, validation=0.1)), "data.validation"),
        (replace(config, model=replace(config.model, byte_width=16)), "model.byte_width"),
    ):
        with pytest.raises(MbzError, match=f"was started with another {names}$"):
            run(other, folder, device="cpu", resume=True)
    assert run(changed(steps=3), folder, device="cpu", resume=True).step == 3
    assert settings.load(folder / CONFIG)["train"]["steps"] == 3
    assert (folder / weights.FILE_NAME).read_bytes() != before
    assert not list(folder.glob(".*"))


def test_changed_data_is_refused(config, folder, text):
    run(config, folder, device="cpu", should_stop=stop_after(2))
    (text / "0").write_bytes(b"something else" * 9)
    with pytest.raises(MbzError, match="the data is no longer the same"):
        run(config, folder, device="cpu", resume=True)


def test_there_must_be_a_checkpoint_to_resume(config, folder):
    with pytest.raises(MbzError, match="has no checkpoint to resume from"):
        run(config, folder, device="cpu", resume=True)


def test_the_end_of_a_run_may_be_repeated(config, folder):
    run(config, folder, device="cpu")
    before = (folder / weights.FILE_NAME).read_bytes()
    (folder / weights.FILE_NAME).unlink()  # as if it had been killed before
    assert run(config, folder, device="cpu", resume=True).finished
    assert (folder / weights.FILE_NAME).read_bytes() == before


def test_the_best_weights_are_exported(changed, folder, monkeypatch):
    monkeypatch.setattr(loop, "SPACING", 1)
    measured = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr("mbz.training.validation.evaluate", lambda *_: next(measured))
    outcome = run(changed(steps=9, validations=3), folder, device="cpu")
    assert outcome.best == {"step": 6, "bits": 1.0}
    assert checkpoint.steps(folder) == [6, 9]
    best = checkpoint.read(folder / "checkpoints" / "step-6", "model")
    assert torch.equal(trained(str(folder))[1]["head.weight"], best["head.weight"])


def test_training_starts_from_another_model(config, folder, tiny_model_dir):
    start = replace(config, start=str(tiny_model_dir), train=replace(config.train, steps=1))
    run(start, folder, device="cpu")
    assert record.read(folder / record.LOG)[0]["loss"] != pytest.approx(8, abs=0.01)


def test_what_it_started_from_is_not_needed_to_go_on(config, folder, tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    run(config, first, device="cpu")
    tuned = replace(config, start=str(first))
    run(tuned, folder, device="cpu", should_stop=stop_after(2))
    losses = [[line["loss"] for line in steps_of(at) if "loss" in line] for at in (first, folder)]
    assert losses[1][0] < losses[0][-1]  # the same data, known by now
    shutil.rmtree(first)
    assert run(tuned, folder, device="cpu", resume=True).finished


def test_memory_that_is_too_small_is_said_in_a_sentence(config, folder, monkeypatch):
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ):

        def fail(_self, _step, error=error):
            raise error

        monkeypatch.setattr(Trainer, "gradient", fail)
        with pytest.raises(MbzError, match="not enough memory for 4 sequences of 64 bytes; try"):
            run(config, folder, device="cpu")


def test_the_data_of_a_run_must_be_there(config, folder):
    nowhere = replace(config, data=DataConfig(paths=("/nosuch",)))
    with pytest.raises(ValueError, match="/nosuch: no such file or folder"):
        run(nowhere, folder, device="cpu")
