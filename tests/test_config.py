"""Configurations: what is refused, and files that are older than a field."""

import json
from dataclasses import replace

import conftest
import pytest

from mbz.config import BASE, ModelConfig

PAPER = replace(
    BASE, patch=8, byte_width=64, encoder_layers=0, ngram_orders=(), ngram_rows=0, ngram_width=0
)
NGRAMS = {"ngram_orders": (2, 3), "ngram_rows": 8, "ngram_width": 4}


@pytest.mark.parametrize("config", [BASE, PAPER, *conftest.MODELS.values()])
def test_a_configuration_survives_json(config):
    data = json.loads(json.dumps(config.to_dict()))
    assert ModelConfig.from_dict(data) == config


def test_fields_with_a_default_may_be_absent():
    data = PAPER.to_dict()
    for name in ("encoder_layers", *NGRAMS):
        del data[name]
    assert ModelConfig.from_dict(data) == PAPER


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"patch": None}, "patch must be a whole number"),
        ({"ngram_orders": [2, 3.0]}, "ngram_orders must be a list of whole numbers"),
        ({"ngram_orders": 2}, "ngram_orders must be a list of whole numbers"),
        ({"depth": 2}, "missing or unknown fields: depth"),
        ({"local_stack": []}, "StackConfig must be a table"),
    ],
)
def test_bad_data_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        ModelConfig.from_dict(PAPER.to_dict() | changes)


def test_a_field_without_default_must_be_there():
    data = PAPER.to_dict()
    del data["patch"]
    with pytest.raises(ValueError, match="missing or unknown fields: patch"):
        ModelConfig.from_dict(data)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoder_layers": -1}, "encoder_layers must be at least 0"),
        ({"encoder_layers": 1}, "byte_width must be the local width"),
        ({"encoder_layers": 1, "byte_width": 384, "patch": 22}, "patch times the local width"),
        (NGRAMS | {"ngram_orders": (1, 2)}, "ngram_orders must be between 2 and 8"),
        (NGRAMS | {"ngram_orders": (2, 9)}, "ngram_orders must be between 2 and 8"),
        (NGRAMS | {"ngram_orders": (3, 2)}, "ngram_orders must ascend"),
        (NGRAMS | {"ngram_orders": (2, 2)}, "ngram_orders must ascend"),
        (NGRAMS | {"ngram_orders": ()}, "ngram_rows must be 0"),
        (NGRAMS | {"ngram_rows": 12}, "ngram_rows must be a power of two"),
        (NGRAMS | {"ngram_rows": 0}, "ngram_rows must be a power of two"),
        (NGRAMS | {"ngram_rows": 1 << 21}, "ngram_rows must be a power of two"),
        (NGRAMS | {"ngram_width": 193}, "ngram_width must be at least 1 and fit"),
        (NGRAMS | {"ngram_width": 0}, "ngram_width must be at least 1 and fit"),
        ({"ngram_width": 4}, "ngram_width must be 0"),
    ],
)
def test_bad_values_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(PAPER, **changes)
