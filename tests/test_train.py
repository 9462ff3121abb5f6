"""Training: data and its split, sampling, the loop, and its log. All on the CPU."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from mbz import train as training
from mbz.config import TrainConfig
from mbz.data import Corpus, load, sample_positions
from mbz.train import evaluate, rate_factor, train, untrained

TEXT = b"All work and no play makes Jack a dull boy.\n"
CORPUS = Corpus.of([TEXT * 40])
CONFIG = TrainConfig(sequence=64, batch=4, steps=8, seconds=1e9, warmup=1)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def files(corpus: Corpus) -> list[bytes]:
    return [part.tobytes() for part in np.split(corpus.stream, corpus.starts[1:])]


def positions(corpus: Corpus, **changes) -> list[int]:
    settings = {"seed": 0, "step": 0, "batch": 500, "length": 10, "file_starts": 0.25}
    return sample_positions(corpus, **settings | changes).tolist()


@pytest.fixture
def losses(tiny_config, tmp_path, monkeypatch):
    """A function that trains, with changes to CONFIG, and returns the loss of every step."""
    monkeypatch.setattr(training, "LOG_EVERY", 1)

    def run(**changes) -> list[float]:
        config = replace(CONFIG, **changes)
        reports = []
        model = untrained(tiny_config, config.seed, "cpu")
        train(model, CORPUS, config, tmp_path / "log", on_progress=reports.append)
        return [report.loss for report in reports]

    return run


def test_loss_falls_on_a_repetitive_corpus(losses):
    seen = losses(steps=40, matrix_rate=0.1, other_rate=0.02)
    assert seen[0] == pytest.approx(8, abs=1e-5)
    assert np.mean(seen[-5:]) < 1


def test_the_seed_decides_everything(losses):
    first = losses()
    torch.rand(1)  # the global random numbers do not matter
    assert losses() == first
    assert losses(seed=1) != first


def test_weights_are_drawn_from_the_seed_alone(tiny_config):
    state = torch.get_rng_state()
    first, same, other = (untrained(tiny_config, seed, "cpu").state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["global_bytes.weight"], other["global_bytes.weight"])


@pytest.mark.parametrize("limit", [{"steps": 3}, {"seconds": 1e-6}])
def test_the_first_limit_ends_the_run_and_the_log_says_all(tiny_config, tmp_path, limit):
    config = TrainConfig(sequence=64, batch=2, **limit)
    log = tmp_path / "log.jsonl"
    last = train(untrained(tiny_config, 0, "cpu"), CORPUS, config, log)
    assert last.step == limit.get("steps", 1)
    assert last.fraction == 1
    assert last.bytes == last.step * 128
    settings, *lines = map(json.loads, log.read_text().splitlines())
    assert settings["model"] == tiny_config.to_dict()
    assert TrainConfig(**settings["train"]) == config
    assert lines[-1]["loss"] == last.loss


def test_slow_steps_are_reported_too(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LOG_SECONDS", 0.0)
    reports = []
    train(
        untrained(tiny_config, 0, "cpu"),
        CORPUS,
        CONFIG,
        tmp_path / "log",
        on_progress=reports.append,
    )
    assert [report.step for report in reports] == list(range(1, CONFIG.steps + 1))


@pytest.mark.parametrize(
    ("corpus", "config", "says"),
    [
        (
            Corpus.of([b"too short"]),
            CONFIG,
            "9 bytes of training data; one sequence alone takes 64",
        ),
        (CORPUS, TrainConfig(sequence=63), "sequence must be a multiple of the patch size, 4"),
    ],
)
def test_what_cannot_be_trained_is_refused(tiny_config, tmp_path, corpus, config, says):
    with pytest.raises(ValueError, match=says):
        train(untrained(tiny_config, 0, "cpu"), corpus, config, tmp_path / "log")


def test_diverging_is_an_error(tiny_config, tmp_path):
    model = untrained(tiny_config, 0, "cpu")
    with torch.no_grad():
        model.local_pad.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss became nan"):
        train(model, CORPUS, CONFIG, tmp_path / "log")


def test_rates_rise_stay_and_fall():
    config = TrainConfig(warmup=10, decay_from=0.5)
    assert [rate_factor(step, 0, config) for step in (0, 4, 9, 99)] == [0.1, 0.5, 1, 1]
    assert [rate_factor(99, fraction, config) for fraction in (0.5, 0.75, 1)] == [1, 0.5, 0]


def test_evaluation_is_total_bits_over_total_bytes(lively_model):
    patch = lively_model.config.patch
    data = np.random.default_rng(0).integers(0, 256, 5 * 4 * patch + 1, np.uint8)
    rows = torch.from_numpy(data[:-1].reshape(5, -1)).int()
    with torch.no_grad():
        expected = np.mean([lively_model.loss(row[None]).item() for row in rows])
    assert evaluate(lively_model, data, 4 * patch, batch=2) == pytest.approx(expected, abs=1e-3)
    assert np.isnan(evaluate(lively_model, data[:3], 4 * patch))


def test_positions_are_a_pure_function_of_seed_and_step():
    np.random.default_rng(0).random()  # no generator is shared
    assert positions(CORPUS) == positions(CORPUS)
    assert positions(CORPUS, seed=1) != positions(CORPUS)
    assert positions(CORPUS, step=1) != positions(CORPUS)


@pytest.mark.parametrize("length", [1, 10, 29, 30])
def test_positions_are_in_range(length):
    corpus = Corpus.of([b"x" * 7, b"y" * 22, b"z"])
    found = set(positions(corpus, length=length, file_starts=0))
    assert found == set(range(30 - length + 1))


def test_a_share_of_the_positions_is_where_files_start():
    corpus = Corpus.of([b"x" * 700, b"y" * 2200, b"z" * 100])
    starts = {0, 700, 2900}
    assert set(positions(corpus, file_starts=1)) == starts
    share = np.isin(positions(corpus, file_starts=0.25), list(starts)).mean()
    assert 0.15 < share < 0.35


def test_the_split_depends_on_content_alone(tmp_path):
    contents = [b"content %d" % i for i in range(40)]
    splits = []
    for folder, order in (("one", contents), ("two", contents[::-1])):
        (tmp_path / folder / "sub").mkdir(parents=True)
        for i, content in enumerate(order):
            name = f"{i:02}" if i % 3 else f"sub/{i:02}"
            (tmp_path / folder / name).write_bytes(content)
        parts = load([tmp_path / folder], validation=0.5)
        splits.append([sorted(files(part)) for part in parts])
    assert splits[0] == splits[1]
    assert sorted(splits[0][0] + splits[0][1]) == sorted(contents)
    assert all(splits[0])


def test_members_of_tar_archives_are_files(tmp_path):
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")):
        with tarfile.open(tmp_path / f"a{suffix}", mode) as tar:
            for content in (b"one", b"", b"two" + suffix.encode()):
                member = tarfile.TarInfo(f"folder/{content.decode() or 'empty'}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("elsewhere")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    part, _ = load([tmp_path], validation=0)
    assert files(part) == [b"one", b"two.tar", b"one", b"two.tar.gz", b"one", b"two.tar.xz"]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
def test_damaged_archives_are_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with tarfile.open(path, "w:" + suffix[5:]) as tar:
        member = tarfile.TarInfo("noise")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(member.size)))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ValueError, match=f"a{suffix}: not a readable tar archive"):
        load([tmp_path])


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="nosuch: no such file or folder"):
        load([tmp_path / "nosuch"])
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="no bytes to train on"):
        load([tmp_path])
