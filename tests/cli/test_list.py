"""`mbz list` and `mbz test`."""

import json

from mbz import weights


def test_list_shows_sizes_model_and_check(mbz, archive, content):
    result = mbz("list", archive)
    assert result.exit_code == 0
    head, row = result.stdout.splitlines()
    shown = dict(zip(head.split(), row.split(), strict=True))
    assert shown["archive"] == str(archive)
    assert shown["bytes"] == str(archive.stat().st_size)
    assert shown["content"] == str(len(content))
    assert shown["model"] == "tiny-test"
    assert float(shown["bpb"]) == round(8 * archive.stat().st_size / len(content), 3)


def test_list_shows_blocks_if_asked(mbz, sample):
    mbz("compress", "-m", "tiny-test", "--block-size", "200", sample)
    result = mbz("list", "-v", sample.with_name("sample.txt.mbz"))
    assert result.stdout.count(" coded ") == 2


def test_list_as_json(mbz, archive, content, tiny_model_dir):
    [shown] = json.loads(mbz("list", "--json", archive).stdout)
    assert shown["content"] == len(content)
    assert shown["model"] == "tiny-test"
    assert shown["fingerprint"] == weights.read(tiny_model_dir).fingerprint[:8].hex()
    [block] = shown["blocks"]
    assert (block["kind"], block["content"], block["lanes"]) == ("coded", len(content), 1)


def test_list_needs_no_model(mbz, archive, environment, monkeypatch):
    monkeypatch.setitem(environment, "MBZ_MODELS", "")
    assert mbz("list", archive).exit_code == 0
    assert mbz("test", archive).exit_code == 2


def test_list_goes_on_after_a_failure(mbz, archive, tmp_path):
    (tmp_path / "bad.mbz").write_bytes(b"bad")
    result = mbz("list", "--json", tmp_path / "bad.mbz", archive)
    assert result.exit_code == 2
    assert len(json.loads(result.stdout)) == 1


def test_a_sound_archive_is_tested_silently(mbz, archive):
    before = sorted(archive.parent.iterdir())
    result = mbz("test", archive, archive)
    assert (result.exit_code, result.output) == (0, "")
    assert "bpb" in mbz("test", "-v", archive).stderr
    assert sorted(archive.parent.iterdir()) == before
