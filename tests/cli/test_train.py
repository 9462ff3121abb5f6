"""`mbz train`: a folder that the other commands can use, or one sentence and no folder."""

import json
import os
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from mbz_cli import train
from mbz_cli.app import app
from mbz_cli.ui import Ui
from typer.testing import CliRunner

from mbz import zoo
from mbz.config import PRESETS

FEW = ["--batch", "1", "--sequence", "64", "--device", "cpu"]


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text"
    path.write_bytes(b"some text to learn\n" * 100)
    return path


def refusal(mbz, *words) -> str:
    result = mbz("train", *words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(r"mbz: [^\n]*\n", result.stderr)
    return result.stderr


def test_a_trained_model_compresses_and_restores(command, tmp_path):
    random = np.random.default_rng(0)
    data, original, out, packed, restored = (
        tmp_path / name for name in ("data", "original", "model", "packed.mbz", "restored")
    )
    data.write_bytes(random.choice([97, 98], 20_000).astype(np.uint8))
    original.write_bytes(random.choice([97, 98], 400).astype(np.uint8))
    words = ["train", "--data", data, "--out", out, "--steps", "50", *FEW]
    result = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    assert result.stderr == ""  # no progress where there is no terminal
    fingerprint = zoo.fingerprint(out)[:8].hex()
    assert result.stdout == f"{out}: fingerprint {fingerprint}, validation none held out\n"
    settings, *_, last = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    assert settings["model"] == PRESETS["tiny"].to_dict()
    assert settings["train"]["steps"] == last["step"] == 50
    assert last["loss"] < 7
    assert zoo.metadata(out)["name"] == "model"

    subprocess.run([*command, "compress", "-m", out, "-o", packed, original], check=True)
    listed = subprocess.run(
        [*command, "list", "--json", packed], stdout=subprocess.PIPE, check=True
    )
    [archive] = json.loads(listed.stdout)
    assert [block["kind"] for block in archive["blocks"]] == ["model"]  # and not LZMA
    subprocess.run([*command, "decompress", "-m", out, "-o", restored, packed], check=True)
    assert restored.read_bytes() == original.read_bytes()


def test_validation_and_name(mbz, text, tmp_path, monkeypatch):
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    for i in range(600):  # one file in 200 is held out
        (held_out / str(i)).write_bytes(b"%d" % i * 100)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    words = ["--data", text, held_out, "--out", ".", "--name", "other", "--steps", "1", *FEW]
    result = mbz("train", *words)
    assert re.search(r"^\.: fingerprint [0-9a-f]{16}, validation [78]\.\d{3} bpb\n$", result.stdout)
    assert zoo.metadata(empty)["name"] == "other"


def test_quiet(mbz, text, tmp_path):
    result = mbz("train", "-q", "--data", text, "--out", tmp_path / "m", "--time", "1e-6", *FEW)
    assert (result.exit_code, result.output) == (0, "")
    assert zoo.metadata(tmp_path / "m")["name"] == "m"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "nosuch"], "nosuch: no such file or folder"),
        (["--data", os.devnull], "no bytes to train on under"),
        (["--sequence", "4096"], "1900 bytes of training data; one sequence alone takes 4096"),
        (["--sequence", "12"], "sequence must be a multiple of the patch size, 8"),
        (["--seed", "-1"], "seed must be"),
        (["--time", "nan"], "seconds must be above 0"),
        (["--name", "\n"], "name must have"),
        (["--preset", "huge"], "'huge' is not one of 'tiny', 'base'"),
    ],
)
def test_what_cannot_be_trained(mbz, text, tmp_path, words, says):
    out = tmp_path / "out"
    data = [] if "--data" in words else ["--data", text]
    assert says in refusal(mbz, *data, "--out", out, *FEW, *words)
    assert list(tmp_path.iterdir()) == [text]


def test_the_output_must_be_new(mbz, text, tmp_path):
    assert "is a file" in refusal(mbz, "--data", text, "--out", text)
    assert "is not empty" in refusal(mbz, "--data", text, "--out", tmp_path)
    assert "cannot create" in refusal(mbz, "--data", text, "--out", text / "below")
    assert list(tmp_path.iterdir()) == [text]


def test_files_that_cannot_be_read_are_named(mbz, text, tmp_path):
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(b"no gzip")
    said = refusal(mbz, "--data", text, damaged, "--out", tmp_path / "out", *FEW)
    assert said.startswith(f"mbz: {damaged}: cannot be read (Not a gzipped file")


def test_a_signal_leaves_nothing(command, text, tmp_path, wait_for):
    words = [*command, "train", "--data", text, "--out", tmp_path / "a" / "model", *FEW]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        ExitStack() as ending,
    ):
        ending.callback(process.kill)  # else a failure would wait for the end of the training
        wait_for(lambda: list(tmp_path.glob("a/.mbz-*/log.jsonl")))
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        assert process.stdout.read() == b""
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130
    assert list((tmp_path / "a").iterdir()) == []


def test_progress_is_shown_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Ui().stages("model") as show:
        show(0.5, "3.210 bpb, 12.3 KB/s")
    assert "3.210 bpb, 12.3 KB/s" in capsys.readouterr().err


def test_the_presets_are_those_of_the_library():
    assert get_args(train.Preset.__origin__) == tuple(PRESETS)
    assert "--preset" in CliRunner().invoke(app, ["train", "--help"]).stdout
