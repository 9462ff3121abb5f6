"""Which steps are refused."""

import math

import numpy as np

from mbz.training.guard import MEMORY, Guard, Level


def test_a_level_is_the_mean_and_variance_of_the_first_values():
    values = np.random.default_rng(0).normal(3, 2, MEMORY)
    level = Level()
    for value in values:
        level.add(value)
    assert math.isclose(level.mean, values.mean())
    assert math.isclose(level.variance, values.var())


def settled() -> Guard:
    """A guard after steps with a loss of 2 and a gradient of 1, give or take some."""
    guard, random = Guard(), np.random.default_rng(1)
    for _ in range(3 * MEMORY):
        assert guard.accepts(random.normal(2, 0.1), math.exp(random.normal(0, 0.2)))
    return guard


def test_what_is_no_number_is_refused_from_the_first_step():
    guard = Guard()
    for loss, norm in ((math.nan, 1.0), (2.0, math.nan), (math.inf, 1.0), (2.0, math.inf)):
        assert not guard.accepts(loss, norm)
    assert guard.refused == 4
    assert guard.accepts(2.0, 1.0)
    assert guard.refused == 0


def test_only_what_is_far_above_the_usual_is_refused():
    for loss, norm, fine in (
        (2.5, 3.0, True),
        (0.1, 1e-6, True),
        (4.0, 1.0, False),
        (2.0, 100.0, False),
    ):
        assert settled().accepts(loss, norm) is fine


def test_refused_steps_do_not_change_what_is_usual():
    guard = settled()
    usual = guard.loss.mean
    for _ in range(50):
        assert not guard.accepts(8.0, 1.0)
    assert guard.loss.mean == usual


def test_a_steady_run_may_move_on_from_where_it_is():
    guard = Guard()
    for step in range(500):  # nearly no noise, so every deviation counts
        assert guard.accepts(2.0 + step * 0.01, 1.0)
