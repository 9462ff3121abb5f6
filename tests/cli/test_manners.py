"""Folders, removal of inputs, verification and JSON: what hands expect of a compressor."""

import io
import json
import os
import shutil

import pytest

from mbz import codec


@pytest.fixture
def folder(tmp_path, content):
    """`d` with the sample twice, and what must be passed over."""
    folder = tmp_path / "d"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(content)
    (folder / "sub" / "b").write_bytes(content[:100])
    (folder / ".mbz-0123456789abcdef.tmp").write_bytes(b"left by a killed run")
    (folder / "link").symlink_to("a")
    os.mkfifo(folder / "pipe")
    return folder


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("folder")
def test_folders_go_to_a_folder_and_back(mbz, tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mbz("compress", "-0", "-r", "d", "--output-dir", "out").exit_code == 0
    assert tree(tmp_path / "out") == ["d/a.mbz", "d/sub/b.mbz"]
    (tmp_path / "out" / "d" / "other").write_bytes(b"no archive")
    assert mbz("decompress", "-r", "out/d/..", "--output-dir", "back").exit_code == 0
    assert tree(tmp_path / "back") == ["d/a", "d/sub/b"]
    assert (tmp_path / "back/d/a").read_bytes() == content


def test_folders_without_another_are_filled_beside(mbz, folder, content):
    before = tree(folder)
    assert mbz("compress", "-0", "-r", folder).exit_code == 0
    assert tree(folder) == sorted([*before, "a.mbz", "sub/b.mbz"])
    for name in ("a", "sub/b"):
        (folder / name).unlink()
    assert mbz("decompress", "-r", "--rm", folder).exit_code == 0
    assert tree(folder) == before
    assert (folder / "a").read_bytes() == content


def test_folders_need_to_be_asked_for(mbz, folder):
    result = mbz("compress", "-0", folder)
    assert result.exit_code == 1
    assert result.stderr == f"mbz: {folder}: is a directory; take the files in it with -r\n"


def test_two_inputs_never_share_an_output(mbz, folder, tmp_path):
    other = folder / "sub" / "a"
    other.write_bytes(b"another")
    words = ("compress", "-0", "-f", "--rm", "--output-dir", tmp_path / "out", folder / "a", other)
    result = mbz(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"mbz: {other}: the output ")
    assert other.read_bytes() == b"another"
    assert not (folder / "a").exists()


def test_several_files_go_on_after_one_fails(mbz, folder):
    names = [folder / "a", folder / "missing", folder / "sub" / "b"]
    result = mbz("compress", "-0", *names)
    assert result.exit_code == 1
    assert result.stderr == f"mbz: {names[1]}: No such file or directory\n"
    assert tree(folder)[2:4] == ["a.mbz", "link"]
    (folder / "a.mbz").write_bytes(b"damaged")
    result = mbz("decompress", "-f", folder / "missing.mbz", folder / "a.mbz", folder / "sub/b.mbz")
    assert result.exit_code == 2  # the worse of 1 and 2
    assert result.stderr.count("\n") == 2


def test_removal_after_verification(mbz, sample, content):
    archive = sample.with_name("sample.txt.mbz")
    assert mbz("compress", "-m", "tiny-test", "--rm", sample).exit_code == 0
    assert not sample.exists()
    assert mbz("decompress", "--rm", archive).exit_code == 0
    assert not archive.exists()
    assert sample.read_bytes() == content


@pytest.mark.parametrize("options", [["--rm"], ["--verify"]])
def test_what_does_not_restore_is_not_kept(mbz, sample, content, monkeypatch, options):
    compress = codec.compress

    def wrong(_source, result, *args, **settings):
        return compress(io.BytesIO(content[:-1]), result, *args, **settings | {"size": None})

    monkeypatch.setattr(codec, "compress", wrong)
    result = mbz("compress", "-0", *options, sample)
    assert result.exit_code == 2
    assert "does not hold what the input holds" in result.stderr
    assert sample.read_bytes() == content
    assert tree(sample.parent) == ["sample.txt"]


def test_what_does_not_decode_is_not_kept(mbz, sample, monkeypatch):
    compress = codec.compress

    def damaging(source, result, *args, **settings):
        stats = compress(source, result, *args, **settings)
        result.seek(-1, os.SEEK_CUR)
        result.write(b"x")
        return stats

    monkeypatch.setattr(codec, "compress", damaging)
    result = mbz("compress", "-0", "--rm", sample)
    assert result.exit_code == 2
    assert "does not restore it (" in result.stderr
    assert tree(sample.parent) == ["sample.txt"]


@pytest.mark.parametrize("change", ["replaced", "longer", "gone"])
def test_an_input_that_changed_meanwhile_is_not_removed(mbz, sample, monkeypatch, change):
    compress = codec.compress

    def slow(*args, **settings):
        stats = compress(*args, **settings)
        if change == "replaced":
            shutil.copy(sample, f"{sample}.new")
            sample.with_name("sample.txt.new").rename(sample)
        elif change == "longer":
            with sample.open("ab") as file:
                file.write(b"more")
        else:
            sample.unlink()
        return stats

    monkeypatch.setattr(codec, "compress", slow)
    result = mbz("compress", "-0", "--rm", sample)
    assert result.exit_code == (2 if change == "longer" else 1)
    assert result.stderr.count("\n") == 1
    assert sample.exists() == (change != "gone")


@pytest.mark.parametrize(
    "options",
    [
        ["--rm", "-k"],
        ["--rm", "-c"],
        ["--rm", "--no-verify"],
        ["--rm", "-o", os.devnull],
        ["--verify", "-c"],
        ["--json", "-c"],
        ["--output-dir", "out", "-c"],
        ["--output-dir", "out", "-o", "x"],
        ["-r", "-o", "x"],
    ],
    ids=" ".join,
)
def test_options_that_contradict(mbz, sample, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    result = mbz("compress", "-0", *options, sample)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert tree(tmp_path) == ["sample.txt"]


def test_a_pipe_is_verified_by_its_checks(mbz, tmp_path, content):
    out = tmp_path / "out"
    assert mbz("compress", "-0", "--verify", "-o", out, data=content).exit_code == 0
    assert mbz("decompress", "-c", out).stdout_bytes == content


def test_json(mbz, sample, content):
    result = mbz("compress", "-0", "--json", sample, "missing")
    done, failed = json.loads(result.stdout)
    archive = sample.with_name("sample.txt.mbz")
    assert done.pop("seconds") >= 0
    assert done == {
        "file": str(sample),
        "output": str(archive),
        "content": len(content),
        "bytes": archive.stat().st_size,
    }
    assert failed == {"file": "missing", "error": "No such file or directory"}
    [restored] = json.loads(mbz("decompress", "-f", "--json", archive).stdout)
    assert (restored["file"], restored["output"]) == (str(archive), str(sample))
