"""The training loop, its schedule and evaluation, on the CPU."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from mbz.errors import MbzError
from mbz.training import loop
from mbz.training.config import TrainConfig
from mbz.training.data import Corpus
from mbz.training.guard import MEMORY, PATIENCE
from mbz.training.loop import State, rate_factor, train
from mbz.training.start import untrained
from mbz.training.trainer import Batches, Trainer
from mbz.training.validation import STEPS, evaluate

TEXT = b"All work and no play makes Jack a dull boy.\n"
CORPUS = Corpus.of([TEXT * 40])
NOTHING = Corpus.of([])
CONFIG = TrainConfig(sequence=64, batch=4, steps=8, seconds=0, warmup=1)
CPU = torch.device("cpu")


class Witness:
    """Remembers all that it is told."""

    def __init__(self):
        self.steps, self.validations, self.saved_steps = [], [], []

    def stepped(self, state, measured, fraction):
        self.steps.append({"step": state.step, "fraction": fraction, **measured})

    def validated(self, state, bits):
        self.validations.append((state.step, bits))

    def saved(self, state, tensors):
        assert tensors["model"]
        self.saved_steps.append(state.step)

    @property
    def losses(self):
        return [step["loss"] for step in self.steps]


def trainer_of(model_config, config=CONFIG) -> Trainer:
    batches = Batches(CORPUS, config, CPU)
    return Trainer(untrained(model_config, config.seed), batches, config)


@pytest.fixture
def run(tiny_config):
    """A function that trains, with changes to CONFIG, and returns the witness."""

    def go(held_out=NOTHING, **changes) -> Witness:
        witness = Witness()
        trainer = trainer_of(tiny_config, replace(CONFIG, **changes))
        assert train(trainer, held_out, State(), witness)
        return witness

    return go


def test_loss_falls_on_a_repetitive_corpus(run):
    seen = run(steps=40, matrix_rate=0.1, other_rate=0.02).losses
    assert seen[0] == pytest.approx(8, abs=1e-5)
    assert np.mean(seen[-5:]) < 1


def test_the_seed_decides_everything(run):
    first = run().losses
    torch.rand(1)  # the global random numbers do not matter
    assert run().losses == first
    assert run(seed=1).losses != first


def test_weights_are_drawn_from_the_seed_alone(tiny_config):
    state = torch.get_rng_state()
    first, same, other = (untrained(tiny_config, seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["global_bytes.weight"], other["global_bytes.weight"])


@pytest.mark.parametrize(("limits", "steps"), [({"steps": 3}, 3), ({"seconds": 1e-6}, 1)])
def test_the_first_limit_ends_the_run(run, limits, steps):
    witness = run(**{"steps": 0, "seconds": 0, **limits})
    assert [step["step"] for step in witness.steps] == list(range(1, steps + 1))
    assert witness.steps[-1]["fraction"] == 1
    assert witness.saved_steps == [steps]


def test_parts_of_a_batch_make_the_same_gradient(tiny_config):
    gradients = []
    for changes in ({}, {"accumulate": 4}, {"accumulate": 2, "recompute": True}):
        trainer = trainer_of(tiny_config, replace(CONFIG, **changes))
        with torch.no_grad():  # the head of an untrained model lets no gradient through
            trainer.model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        loss, norm = trainer.gradient(0)
        gradients.append([loss, norm, *(p.grad for p in trainer.model.parameters())])
    for other in gradients[1:]:
        for one, same in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(one, same, rtol=1e-4, atol=1e-6)


def test_recomputing_changes_no_bit(run):
    assert run(recompute=True).losses == run().losses


def test_the_average_follows_the_weights(tiny_config):
    trainer = trainer_of(tiny_config, replace(CONFIG, average=0.5))
    first = trainer.model.head.weight.detach().clone()
    weights = []
    for step in range(2):
        trainer.gradient(step)
        trainer.update(step, 1.0)
        weights.append(trainer.model.head.weight.detach().clone())
    # Decays 1/10 and 2/11: the young average forgets fast.
    expected = 2 / 11 * (0.1 * first + 0.9 * weights[0]) + 9 / 11 * weights[1]
    with trainer.averaged():
        torch.testing.assert_close(trainer.model.head.weight.detach(), expected)
    assert torch.equal(trainer.model.head.weight, weights[1])


def test_validations_are_spread_over_the_run(run, monkeypatch):
    monkeypatch.setattr(loop, "SPACING", 3)
    held_out = Corpus.of([TEXT * 5])
    for validations, at in ((3, [4, 7, 10]), (9, [3, 6, 9, 10]), (1, [10])):
        witness = run(held_out, steps=10, validations=validations)
        assert [step for step, _ in witness.validations] == at
    assert run(held_out, validations=0).validations == []
    assert run(Corpus.of([b"short"])).validations == []


def test_each_best_is_saved(run, monkeypatch):
    monkeypatch.setattr(loop, "SPACING", 1)
    witness = run(Corpus.of([TEXT * 5]), steps=12, validations=3)
    bits = [bits for _, bits in witness.validations]
    assert bits == sorted(bits, reverse=True)
    assert witness.saved_steps == [step for step, _ in witness.validations]


def test_time_between_checkpoints_is_limited(run):
    assert run(steps=3, save_every=1e-9).saved_steps == [1, 2, 3]


def test_asked_to_stop_it_finishes_the_step_and_saves(tiny_config):
    witness, state = Witness(), State()
    asked = iter([False, False, True])
    stopped = train(
        trainer_of(tiny_config), NOTHING, state, witness, should_stop=lambda: next(asked)
    )
    assert stopped is False
    assert state.step == 3
    assert witness.saved_steps == [3]


def weights_of(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def broken(trainer, monkeypatch, steps, loss, norm):
    """Lets the loss and the gradient of some steps be something else."""
    gradient = trainer.gradient

    def change(step):
        found = gradient(step)
        return (torch.tensor(loss), torch.tensor(norm)) if step in steps else found

    monkeypatch.setattr(trainer, "gradient", change)


def test_a_bad_step_is_left_out_and_logged(tiny_config, monkeypatch, caplog):
    trainer, witness = trainer_of(tiny_config), Witness()
    broken(trainer, monkeypatch, {2}, float("nan"), 1.0)
    seen = []
    monkeypatch.setattr(witness, "stepped", lambda *_: seen.append(weights_of(trainer)))
    train(trainer, NOTHING, State(), witness)
    stayed = [torch.equal(before, after) for before, after in itertools.pairwise(seen)]
    assert stayed[:4] == [False, True, False, False]
    assert [record.message for record in caplog.records] == ["step 3 refused: loss nan, gradient 1"]


def test_after_many_bad_steps_it_fails_with_the_last_good_state(tiny_config, monkeypatch):
    config = replace(CONFIG, steps=100)
    trainer, witness, state = trainer_of(tiny_config, config), Witness(), State()
    broken(trainer, monkeypatch, range(5, 100), 1.0, float("inf"))
    with pytest.raises(MbzError, match=f"{PATIENCE} steps in a row were refused by step 15.*saved"):
        train(trainer, NOTHING, state, witness)
    assert witness.saved_steps == [15]
    assert [step["factor"] > 0 for step in witness.steps] == [True] * 5 + [False] * PATIENCE


def test_there_is_nothing_to_save_if_no_step_was_good(tiny_config, monkeypatch):
    trainer, witness = trainer_of(tiny_config, replace(CONFIG, steps=100)), Witness()
    broken(trainer, monkeypatch, range(100), float("nan"), 1.0)
    with pytest.raises(MbzError, match=r"refused by step 10, .* lower matrix_rate and other_rate$"):
        train(trainer, NOTHING, State(), witness)
    assert witness.saved_steps == []


def test_a_spike_is_refused(tiny_config, monkeypatch):
    config = replace(CONFIG, steps=MEMORY + 2)
    trainer, witness = trainer_of(tiny_config, config), Witness()
    broken(trainer, monkeypatch, {MEMORY}, 80.0, 1.0)
    train(trainer, NOTHING, State(), witness)
    assert [step["step"] for step in witness.steps if not step["factor"]] == [MEMORY + 1]


@pytest.mark.parametrize(
    ("corpus", "config", "says"),
    [
        (
            Corpus.of([b"too short"]),
            CONFIG,
            "9 bytes of training data; one sequence alone takes 64",
        ),
        (CORPUS, CONFIG, None),
    ],
)
def test_too_little_data_is_refused(corpus, config, says):
    batches = Batches(corpus, config, CPU)
    if says is None:
        assert batches(0).shape == (config.batch, config.sequence)
        return
    with pytest.raises(ValueError, match=says):
        batches(0)


def test_rates_rise_stay_and_fall():
    config = TrainConfig(warmup=10, decay_from=0.5)
    assert [rate_factor(step, 0, config) for step in (0, 4, 9, 99)] == [0.1, 0.5, 1, 1]
    assert [rate_factor(99, fraction, config) for fraction in (0.5, 0.75, 1)] == [1, 0.5, 0]


def test_evaluation_is_total_bits_over_total_bytes(lively_model):
    patch = lively_model.config.patch
    config = TrainConfig(sequence=4 * patch, batch=2)
    data = np.random.default_rng(0).integers(0, 256, 5 * 4 * patch + 1, np.uint8)
    rows = torch.from_numpy(data[:-1].reshape(5, -1)).int()
    with torch.no_grad():
        expected = np.mean([lively_model.loss(row[None]).item() for row in rows])
    assert evaluate(lively_model, Corpus.of([data.tobytes()]), config) == pytest.approx(
        expected, abs=1e-3
    )
    assert evaluate(lively_model, Corpus.of([b"abc"]), config) is None


def test_evaluation_takes_a_limited_part_from_everywhere(lively_model, monkeypatch):
    patch = lively_model.config.patch
    config = TrainConfig(sequence=patch, batch=1)
    seen = []
    monkeypatch.setattr(lively_model, "loss", lambda x: seen.append(x[0, 0].item()) or 1.0)
    corpus = Corpus.of([bytes(np.repeat(np.arange(100, dtype=np.uint8), patch))])
    assert evaluate(lively_model, corpus, config) == 1
    assert len(seen) == STEPS
    assert (seen[0], seen[-1]) == (0, 99)
