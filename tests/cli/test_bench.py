"""`mbz bench`: what it measures, compares and says, with programs that are everywhere."""

import json
import re
import sys

import pytest
from mbz_cli import tools

COPY = tools.Tool(name="cat", compress=("cat", tools.INPUT), restore=("cat", "packed"))
LIAR = tools.Tool(name="liar", compress=("cat", tools.INPUT), restore=("head", "-c", "7", "packed"))
FAILING = tools.Tool(name="failing", compress=("cat", "nosuch"), restore=("cat", "packed"))


@pytest.fixture
def peers(monkeypatch):
    def choose(*chosen):
        monkeypatch.setattr(tools, "PEERS", chosen)
        monkeypatch.setattr(tools, "distinct_levels", list)  # none of mbz

    return choose


def test_mbz_beside_a_peer(mbz, command, peers, sample, content, tmp_path):  # noqa: ARG001
    peers(COPY)
    picture = tmp_path / "speed.png"
    result = mbz("bench", "-0", "--json", "--plot", picture, sample)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    ours, theirs = found["results"]
    assert (ours["program"], theirs["program"]) == ("mbz -0", "cat")
    assert ours["raw"] == theirs["raw"] == theirs["packed"] == len(content)
    assert ours["bpb"] == pytest.approx(8 * ours["packed"] / len(content))
    assert 0 < ours["packed"] <= len(content) + 24
    for way in ("compress", "restore"):
        assert ours[way]["memory"] > theirs[way]["memory"] > 1e6
        assert ours[way]["seconds"] > 0
        assert ours[f"{way}_kb_s"] == pytest.approx(len(content) / 1e3 / ours[way]["seconds"])
    assert {"mbz", "cat"} == found["versions"].keys()
    assert found["machine"]["cores"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_several_files_and_their_total(mbz, peers, tmp_path):
    peers(COPY)
    for name, size in (("a", 100), ("b", 300)):
        (tmp_path / name).write_bytes(bytes(size))
    result = mbz("bench", tmp_path / "a", tmp_path / "missing", tmp_path / "b")
    assert result.exit_code == 1
    assert result.stderr == f"mbz: {tmp_path / 'missing'}: No such file or directory\n"
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[:4] for row in rows[1:]] == [
        [str(tmp_path / "a"), "cat", "100", "100"],
        [str(tmp_path / "b"), "cat", "300", "300"],
        ["total", "cat", "400", "400"],
    ]


@pytest.mark.parametrize(
    ("tool", "code", "says"),
    [(LIAR, 2, "did not restore the file"), (FAILING, 1, r"failed \(.*nosuch.*\)")],
)
def test_programs_that_fail_are_told_and_others_go_on(mbz, peers, sample, tool, code, says):
    peers(tool, COPY)
    result = mbz("bench", sample)
    assert result.exit_code == code
    assert re.fullmatch(f"mbz: {re.escape(str(sample))}, {tool.name}: {says}\n", result.stderr)
    assert " cat " in result.stdout


def test_without_files_it_takes_its_own_source(mbz, peers):
    peers(COPY)
    result = mbz("bench", "--json")
    assert [row["raw"] for row in json.loads(result.stdout)["results"]] == [1 << 16]


def test_nothing_to_measure(mbz, peers, tmp_path):
    peers(COPY)
    (tmp_path / "empty").touch()
    result = mbz("bench", tmp_path / "empty")
    assert result.exit_code == 1
    assert "is empty" in result.stderr


def test_each_level_that_differs_is_measured():
    levels = tools.distinct_levels()
    assert levels[0] == 0
    assert levels == sorted(set(levels))
    assert tools.mbz(0, [], ["--model", "x"]).compress[:3] == [sys.executable, "-m", "mbz_cli"]
    assert "--model" not in tools.mbz(0, [], ["--model", "x"]).compress
    assert "--model" in tools.mbz(levels[-1], [], ["--model", "x"]).compress
