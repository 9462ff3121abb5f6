"""What -0 to -9 and --no-mix choose, and that all of it comes back."""

import json
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[1] / "samples"


def coding(mbz, archive):
    [shown] = json.loads(mbz("list", "--json", archive).stdout)
    [block] = shown["blocks"]
    return shown["model"], block["network"], block["experts"], block["lanes"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-1", "-m", "tiny-test"], ("tiny-test", True, 1, 1)),
        (["-m", "tiny-test"], ("tiny-test", True, 2, 1)),
        (["-5", "-m", "tiny-test", "--lanes", "2"], ("tiny-test", True, 2, 2)),
        (["--level", "6", "-m", "tiny-test"], ("tiny-test", True, 3, 1)),
        (["-9", "-m", "tiny-test"], ("tiny-test", True, 3, 1)),
        (["-0", "-m", "tiny-test"], ("tiny-test", True, 1, 1)),
        (["-6", "--no-mix", "-m", "tiny-test"], ("tiny-test", True, 0, 1)),
    ],
)
def test_levels(mbz, sample, content, options, expected):
    assert mbz("compress", *options, sample).exit_code == 0
    archive = sample.with_name("sample.txt.mbz")
    assert coding(mbz, archive) == expected
    assert mbz("decompress", "-c", archive).stdout_bytes == content


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("[!.]*")), ids=lambda path: path.name)
def test_experts_alone_need_no_model(mbz, tmp_path, environment, monkeypatch, path):
    monkeypatch.setitem(environment, "MBZ_MODELS", "")
    packed = tmp_path / "packed"
    assert mbz("compress", "-0", "-o", packed, path).exit_code == 0
    if path.name == "text.txt":
        assert coding(mbz, packed)[:3] == (None, False, 1)
    assert packed.stat().st_size <= path.stat().st_size + 64
    assert mbz("decompress", "-c", packed).stdout_bytes == path.read_bytes()


def test_words_after_the_options_may_look_like_levels(mbz, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-3").write_bytes(b"three" * 20)
    assert mbz("compress", "-0", "--", "-3").exit_code == 0
    assert mbz("decompress", "-c", "--", "-3.mbz").stdout == "three" * 20


@pytest.mark.parametrize("options", [["--level", "10"], ["-x"], ["-0", "--no-mix"], ["-10"]])
def test_impossible_levels_are_usage_errors(mbz, sample, options):
    result = mbz("compress", *options, sample)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert not sample.with_name("sample.txt.mbz").exists()
