"""`mbz train`: a folder that the other commands can use, or one sentence and no folder."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from mbz_cli import files, train
from mbz_cli.app import app
from mbz_cli.stopping import stopping
from mbz_cli.ui import Ui
from programs import on_terminal
from typer.testing import CliRunner

from mbz import zoo
from mbz.config import PRESETS

# One step, lest what should be refused would train for ten minutes.
FEW = ["--batch", "1", "--sequence", "64", "--steps", "1", "--device", "cpu"]


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text"
    path.write_bytes(b"some text to learn\n" * 100)
    return path


@pytest.fixture
def small(tmp_path, tiny_config) -> list[str]:
    """Flags for the smallest model and few bytes a step."""
    import tomli_w

    path = tmp_path / "small.toml"
    settings = {"batch": 1, "sequence": 64, "warmup": 1}
    path.write_text(tomli_w.dumps({"model": tiny_config.to_dict(), "train": settings}))
    return ["--config", str(path), "--device", "cpu"]


def refusal(mbz, *words) -> str:
    result = mbz("train", *words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(r"mbz: [^\n]*\n", result.stderr)
    return result.stderr


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_trained_model_compresses_and_restores(command, small, tmp_path):
    random = np.random.default_rng(0)
    data, original, out, packed, restored = (
        tmp_path / name for name in ("data", "original", "model", "packed.mbz", "restored")
    )
    data.write_bytes(random.choice([97, 98], 20_000).astype(np.uint8))
    original.write_bytes(random.choice([97, 98], 400).astype(np.uint8))
    words = ["train", "--data", data, "--out", out, "--steps", "100", "--batch", "4", *small]
    result = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    assert result.stderr == ""  # no progress where there is no terminal
    fingerprint = zoo.fingerprint(out)[:8].hex()
    assert result.stdout == f"{out}: fingerprint {fingerprint}, validation none held out\n"
    last = log_of(out)[-1]
    assert last["step"] == 100
    assert last["loss"] < 1.1
    assert zoo.metadata(out)["name"] == "model"

    subprocess.run([*command, "compress", "-m", out, "-o", packed, original], check=True)
    listed = subprocess.run(
        [*command, "list", "--json", packed], stdout=subprocess.PIPE, check=True
    )
    [archive] = json.loads(listed.stdout)
    assert [block["kind"] for block in archive["blocks"]] == ["coded"]  # and not LZMA
    subprocess.run([*command, "decompress", "-m", out, "-o", restored, packed], check=True)
    assert restored.read_bytes() == original.read_bytes()


def test_validation_and_name(mbz, text, small, tmp_path, monkeypatch):
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    for i in range(600):  # one file in 200 is held out
        (held_out / str(i)).write_bytes(b"%d" % i * 100)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    words = ["--data", text, held_out, "--out", ".", "--name", "other", "--steps", "1", *small]
    result = mbz("train", *words)
    assert re.search(r"^\.: fingerprint [0-9a-f]{16}, validation [78]\.\d{3} bpb\n$", result.stdout)
    assert zoo.metadata(empty)["name"] == "other"


def test_quiet(mbz, text, small, tmp_path):
    words = ["-q", "--data", text, "--out", tmp_path / "m", "--time", "1e-6", *small]
    result = mbz("train", *words)
    assert (result.exit_code, result.output) == (0, "")
    assert zoo.metadata(tmp_path / "m")["name"] == "m"


def test_a_dry_run_writes_nothing(mbz, text, small, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    words = ["--data", text, "--out", tmp_path / "m", "--steps", "100", "--dry-run", *small]
    said = dict(line.split(maxsplit=1) for line in mbz("train", *words).stdout.splitlines())
    assert sorted(tmp_path.rglob("*")) == before
    assert said["parameters"] == "51,436"
    assert said["data"].startswith("1 files, 1900 bytes to train on; 0 files, 0 bytes for valid")
    assert said["steps"] == "100 of 64 bytes"
    assert said["passes"] == "3.37 over the data"
    assert re.fullmatch(r"[\d.]+ (s|min), as 3 steps took [\d.e-]+ s each", said["time"])


def test_flags_go_before_the_file_and_the_file_before_defaults(mbz, text, small, tmp_path):
    import tomllib

    out = tmp_path / "m"
    words = ["--data", text, "--out", out, "--steps", "2", "--batch", "2", *small]
    assert mbz("train", *words).exit_code == 0
    settings = tomllib.loads((out / "config.toml").read_text())
    assert settings["data"]["paths"] == [str(text)]
    found = settings["train"]
    assert (found["batch"], found["sequence"], found["warmup"], found["clip"]) == (2, 64, 1, 1.0)
    again = mbz("train", "--config", out / "config.toml", "--out", tmp_path / "n")
    assert again.exit_code == 0
    assert zoo.fingerprint(tmp_path / "n") != zoo.fingerprint(out)  # its name
    losses = [[line["loss"] for line in log_of(path)] for path in (out, tmp_path / "n")]
    assert losses[0] == losses[1]


def test_it_starts_from_a_model_by_name(mbz, text, small, tiny_model_dir, tmp_path):
    words = ["--data", text, "--steps", "1", *small]
    assert mbz("train", *words, "--out", tmp_path / "new").exit_code == 0
    words += ["--from", tiny_model_dir.name, "--out", tmp_path / "tuned"]
    assert mbz("train", *words).exit_code == 0
    first, tuned = (log_of(tmp_path / name)[0]["loss"] for name in ("new", "tuned"))
    assert first == pytest.approx(8, abs=1e-4)
    assert abs(tuned - 8) > 0.1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "nosuch"], "nosuch: no such file or folder"),
        (["--data", os.devnull], "no bytes to train on under"),
        (["--sequence", "4096"], "1900 bytes of training data; one sequence alone takes 4096"),
        (["--sequence", "13"], "sequence must be a multiple of the patch size, "),
        (["--seed", "-1"], "seed must be"),
        (["--time", "nan"], "seconds must be"),
        (["--name", "\n"], "name must have"),
        (["--preset", "huge"], "'huge' is not one of 'tiny', 'small', 'base', 'large'"),
        (["--from", "nosuch"], "no model named 'nosuch'"),
        (["--config", "nosuch"], "nosuch: cannot be read"),
        (["--resume"], "out is no run to resume (it has no config.toml)"),
    ],
)
def test_what_cannot_be_trained(mbz, text, tmp_path, words, says):
    out = tmp_path / "out"
    data = [] if "--data" in words else ["--data", text]
    assert says in refusal(mbz, *data, "--out", out, *FEW, *words)
    assert list(tmp_path.iterdir()) == [text]


def test_something_must_be_named_to_train_on(mbz, tmp_path):
    assert "nothing to train on; name files" in refusal(mbz, "--out", tmp_path / "out")


def test_the_output_must_be_new(mbz, text, tmp_path):
    assert "is a file" in refusal(mbz, "--data", text, "--out", text)
    assert "is not empty" in refusal(mbz, "--data", text, "--out", tmp_path)
    assert "cannot create" in refusal(mbz, "--data", text, "--out", text / "below")
    assert list(tmp_path.iterdir()) == [text]


def test_an_empty_folder_stays_empty(mbz, text, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    refusal(mbz, "--data", text, "--out", out, "--sequence", "4096", "--device", "cpu")
    assert list(out.iterdir()) == []


def test_files_that_cannot_be_read_are_named(mbz, text, tmp_path):
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(b"no gzip")
    said = refusal(mbz, "--data", text, damaged, "--out", tmp_path / "out", *FEW)
    assert said.startswith(f"mbz: {damaged}: cannot be read (Not a gzipped file")


@contextmanager
def started(words):
    """A process that does not outlive the body, where a failure would let it train to its end."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_which_then_goes_on(
    command, text, small, tmp_path, wait_for, number
):
    out = tmp_path / "a" / "model"
    words = [*command, "train", "--data", text, "--out", out, "--time", "600", *small]
    with started(words) as process:
        wait_for(lambda: list(tmp_path.glob("a/model/log.jsonl")) and len(log_of(out)) > 2)
        process.send_signal(number)
        printed, said = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    step = log_of(out)[-1]["step"]
    again = f"mbz train --resume --out {out}"
    assert said == f"mbz: {out}: stopped and saved at step {step}; to go on: {again}\n"
    assert [path.name for path in (out / "checkpoints").iterdir()] == [f"step-{step}"]

    words = [*command, "train", "--resume", "--out", out, "--steps", str(step + 1)]
    subprocess.run(words, stdout=subprocess.PIPE, check=True)
    assert [line["step"] for line in log_of(out)] == list(range(1, step + 2))
    assert zoo.metadata(out)["name"] == "model"


@pytest.mark.parametrize(
    ("number", "error"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", SystemExit)]
)
def test_a_signal_before_the_first_step_leaves_nothing(tmp_path, number, error):
    def interrupted():
        name = str(tmp_path / "a" / "out")
        with files.run_folder(name, resume=False, keep="step-*") as folder, stopping():
            (folder / "config.toml").touch()
            signal.raise_signal(signal.Signals[number])

    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        with pytest.raises(error):
            interrupted()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.slow
def test_torchrun_stops_all_processes_and_they_go_on(command, text, small, tmp_path, wait_for):
    out, launcher = tmp_path / "out", [sys.executable, "-m", "torch.distributed.run"]
    again = [*launcher, "--nproc-per-node", "2", *command[1:], "train", "--out", out]
    words = [*again, "--data", text, "--time", "600", *small, "--batch", "2"]
    with started(words) as process:
        wait_for(lambda: (out / "log.jsonl").exists() and len(log_of(out)) > 2)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    step = log_of(out)[-1]["step"]
    assert [line for line in said.splitlines() if line.startswith("mbz: ")] == [
        f"mbz: {out}: stopped and saved at step {step}; to go on: mbz train --resume --out {out}"
    ]
    subprocess.run([*again, "--resume", "--steps", str(step + 2), "--shard"], check=True)
    assert [line["step"] for line in log_of(out)] == list(range(1, step + 3))
    assert zoo.metadata(out)["name"] == "out"


def test_a_second_interrupt_does_not_wait():
    with stopping() as should_stop:
        assert not should_stop()
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        signal.raise_signal(signal.SIGTERM)  # a launcher may send it too
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_is_shown_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Ui().stages("model") as show:
        show(0.5, "3.210 bpb, 12.3 KB/s")
    assert "3.210 bpb, 12.3 KB/s" in capsys.readouterr().err


def test_messages_appear_above_the_progress():
    program = """
import logging
from mbz_cli.ui import Ui
with Ui().stages("model") as show:
    show(0.5, "step 6")
    logging.warning("step 7 refused")
"""
    code, shown = on_terminal([sys.executable, "-c", program], stderr=2)
    assert code == 0
    lines = [re.sub(rb"\x1b\[[\d;?]*[a-zA-Z]", b"", line) for line in re.split(rb"[\r\n]+", shown)]
    assert b"mbz: step 7 refused" in lines


def test_the_presets_are_those_of_the_library():
    preset = get_args(get_args(train.Preset)[0])[0]
    assert get_args(preset) == tuple(PRESETS)
    assert "--preset" in CliRunner().invoke(app, ["train", "--help"]).stdout


def test_a_baseline_is_trained_and_scored_but_no_archive_can_use_it(mbz, tmp_path, content):
    text, out, settings = tmp_path / "text", tmp_path / "baseline", tmp_path / "small.toml"
    text.write_bytes(content * 4)
    settings.write_text(
        '[model]\narch = "paper"\nlength = 64\nglobal_layers = 1\nlocal_layers = 1\n'
    )
    flags = ("--steps", "1", "--batch", "1", "--sequence", "64", "--device", "cpu")
    made = mbz("train", "--data", text, "--config", settings, "--out", out, *flags)
    assert made.exit_code == 0, made.stderr
    assert "baseline" in made.stdout
    scored = mbz("score", "-m", out, "--context", "64", "--stride", "--device", "cpu", text)
    assert scored.exit_code == 0, scored.stderr
    long = mbz("score", "-m", out, "--device", "cpu", text)
    assert long.exit_code == 1
    assert "at most 64 bytes" in long.stderr
    for args in (("compress", text), ("sample",), ("score", "--exact", text)):
        refused = mbz(*args, "-m", out)
        assert refused.exit_code == 1
        assert "only 'mbz score' can use" in refused.stderr


def test_an_architecture_and_a_preset_contradict_each_other(mbz, tmp_path, content):
    text = tmp_path / "text"
    text.write_bytes(content)
    flags = ("--arch", "perceiver", "--preset", "tiny", "--out", tmp_path / "run")
    refused = mbz("train", "--data", text, *flags)
    assert refused.exit_code == 1
    assert "arch and preset" in refused.stderr
