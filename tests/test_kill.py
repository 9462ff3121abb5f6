"""A little of `make faults`."""

import random

import pytest
from kill import kill_coding, kill_training


def test_kills_while_coding(tmp_path):
    assert kill_coding(tmp_path, 4, random.Random(0)).total() == 8


@pytest.mark.slow
def test_kills_while_training(tmp_path):
    assert kill_training(tmp_path, 4, random.Random(0)).total() == 4
