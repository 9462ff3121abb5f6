"""The number of threads settles where steps are fastest, and follows when that changes."""

import pytest

from mbz.exact.paced_threads import PacedThreads


class Steps:
    """A predictor whose steps take a time that depends on the threads alone."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.threads, self.used = seconds, 0, []

    def reset(self, lanes: int) -> None:
        pass

    def set_threads(self, count: int) -> None:
        self.threads = count

    def run(self, paced: PacedThreads, windows: int) -> float:
        """Mean time of a window."""
        total = 0.0
        for _ in range(windows):
            seconds = self.seconds[self.threads]
            total += seconds
            paced.end_window(seconds)
        return total / windows


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 5.0, 2: 3.0}, 2),
        ({1: 5.0, 2: 50.0}, 1),
        ({1: 8.0, 2: 5.0, 4: 3.0, 8: 4.0}, 4),
        ({1: 3.0, 2: 3.0, 4: 3.0, 6: 2.0}, 6),
        ({1: 1.0}, 1),
    ],
)
def test_settles_at_the_fastest(seconds, best):
    steps = Steps(seconds)
    paced = PacedThreads(steps, max(seconds), steps.set_threads)
    assert paced.levels == sorted(seconds)
    paced.reset(1)
    assert steps.threads == max(seconds)
    steps.run(paced, 500)
    assert paced.levels[paced.level] == best
    assert steps.run(paced, 2000) < 1.1 * seconds[best]


def test_follows_a_change():
    steps = Steps({1: 5.0, 2: 3.0})
    paced = PacedThreads(steps, 2, steps.set_threads)
    paced.reset(1)
    steps.run(paced, 3000)
    steps.seconds = {1: 5.0, 2: 50.0}
    steps.run(paced, 600)
    assert paced.levels[paced.level] == 1
    steps.seconds = {1: 5.0, 2: 3.0}
    steps.run(paced, 600)
    assert paced.levels[paced.level] == 2
