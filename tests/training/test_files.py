"""Finding and reading training files: patterns, links, compression, archives, damage."""

import bz2
import gzip
import io
import lzma
import os
import socket
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mbz.training.files import Patterns, find, pieces, unpack, zstd

PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd.compress}
TARS = {".tar": bytes, ".tgz": gzip.compress, ".tbz2": bz2.compress, ".txz": lzma.compress}
TARS |= {".tzst": zstd.compress} | {".tar" + suffix: pack for suffix, pack in PACKERS.items()}
NOISE = np.random.default_rng(0).bytes(100_000)


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def read(path, include=(), exclude=()) -> tuple[list[tuple[str, bytes]], Counter[str]]:
    """Kinds and contents of what is found, and the counts of what is not."""
    wanted, skipped = Patterns(include, exclude), Counter()
    found = [
        (kind, b"".join(pieces(stream, file.path)))
        for file in find(path, wanted, skipped)
        for kind, stream in unpack(file, wanted, skipped)
    ]
    return found, +skipped


# Patterns

NAMES = ["a.py", "a.log", "sub/b.py", "sub/b.log", "sub/deep/c.py", "docs/sub/d.py", ".hidden"]


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        ([], [], NAMES),
        (["*.py"], [], ["a.py", "sub/b.py", "sub/deep/c.py", "docs/sub/d.py"]),
        ([], ["*.py", "*.log"], [".hidden"]),
        (["sub"], [], ["sub/b.py", "sub/b.log", "sub/deep/c.py", "docs/sub/d.py"]),
        (["/sub"], [], ["sub/b.py", "sub/b.log", "sub/deep/c.py"]),
        (["sub/*.py"], [], ["sub/b.py"]),
        (["sub/**/*.py"], [], ["sub/b.py", "sub/deep/c.py"]),
        (["*.py"], ["deep/", "/a.*"], ["sub/b.py", "docs/sub/d.py"]),
        ([], ["*", "!*.log"], ["a.log", "sub/b.log"]),
        (["nosuch"], [], []),
    ],
)
def test_patterns_are_those_of_gitignore(tmp_path, include, exclude, names):
    write(tmp_path, dict.fromkeys(NAMES, b"x"))
    skipped = Counter()
    found = find(tmp_path, Patterns(include, exclude), skipped)
    assert sorted(file.name for file in found) == sorted(names)
    assert skipped["excluded"] == len(NAMES) - len(names)


def test_patterns_apply_to_a_file_that_is_given(tmp_path):
    write(tmp_path, {"sub/a.py": b"x"})
    path = tmp_path / "sub" / "a.py"
    assert len(find(path, Patterns(["*.py", "!sub"], []), Counter())) == 1
    assert find(path, Patterns([], ["/a.py"]), Counter()) == []


def test_patterns_apply_to_members_of_archives(tmp_path):
    members = {"x/a.py": b"1", "./y/b.py": b"2", "/z/c.log": b"3"}
    write(tmp_path, {"in.tar": tar(members), "out.tar": tar({"e.py": b"5"})})
    found, skipped = read(tmp_path, ["*.py"], ["out.tar", "in.tar/x"])
    assert found == [("archived", b"2")]
    assert skipped == {"excluded": 3}
    assert [content for _, content in read(tmp_path, ["in.tar/y", "out.tar"])[0]] == [b"2", b"5"]


# Folders


def test_the_order_is_that_of_paths(tmp_path):
    names = ["a-b", "a.txt", "a/z", "a/b/c", "b", "B"]
    write(tmp_path, dict.fromkeys(names, b"x"))
    found = [file.path for file in find(tmp_path, Patterns([], []), Counter())]
    assert found == sorted(tmp_path / name for name in names)


def test_version_control_is_passed_over(tmp_path):
    hidden = {".hidden/a": b"1", ".gitignore": b"2", "sub/.git/config": b"3", ".svn/x": b"4"}
    write(tmp_path, hidden | {"a.tar": tar({"p/.git/config": b"5", ".hg/x": b"6", "p/.git": b"7"})})
    assert [content for _, content in read(tmp_path)[0]] == [b"2", b"1", b"7"]
    assert read(tmp_path / ".svn")[0] == [("plain", b"4")]  # asked for by name


def test_links_and_special_files(tmp_path, monkeypatch):
    write(tmp_path, {"real/a": b"content", "data/b": b"other"})
    data = tmp_path / "data"
    (data / "file").symlink_to(tmp_path / "real" / "a")
    (data / "folder").symlink_to(tmp_path / "real")
    (data / "loop").symlink_to(data)
    (data / "itself").symlink_to("itself")
    (data / "nowhere").symlink_to("nosuch")
    os.mkfifo(data / "pipe")
    monkeypatch.chdir(data)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        found, skipped = read(data)
    assert [content for _, content in found] == [b"other", b"content"]
    assert skipped == {"special": 6}
    assert read(data / "folder")[0] == [("plain", b"content")]
    assert read(Path(os.devnull)) == ([], {"special": 1})


# Compression and archives


@pytest.mark.parametrize(("suffix", "pack"), PACKERS.items())
def test_compressed_files_are_read_through(tmp_path, suffix, pack):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(pack(NOISE) + pack(b"and more"))  # two streams, as log rotation makes them
    assert read(path) == ([("compressed", NOISE + b"and more")], {})


@pytest.mark.parametrize(("suffix", "pack"), TARS.items())
def test_members_of_archives_are_files(tmp_path, suffix, pack):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in (("one", b"1"), ("empty", b""), ("two.gz", b"2")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"special{kind}")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pack(stream.getvalue()))
    found, skipped = read(tmp_path)
    assert found == [("archived", b"1"), ("archived", b""), ("archived", b"2")]
    assert skipped == {"special": 3}


# Damage, one fault a file

MEMBERS = tar({"noise": NOISE, "more": b"1"})


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("content", [NOISE, MEMBERS], ids=["file", "tar"])
def test_damaged_files_are_named(tmp_path, suffix, content):
    name = "a.tar" if content is MEMBERS else "a"
    checked = {zstd.CompressionParameter.checksum_flag: 1}
    pack = PACKERS[suffix]
    whole = pack(content, options=checked) if suffix == ".zst" else pack(content)
    path = tmp_path / f"{name}{suffix}"
    faults = {
        "another format": b"none of these " * 9,
        "cut in the middle": whole[: len(whole) // 2],
        "cut at the end": whole[:-3],
        "a flipped bit": flipped(whole, len(whole) // 2),
    }
    for fault, damaged in faults.items():
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name}{suffix}: cannot be read") as error:
            read(tmp_path)
        assert "\n" not in str(error.value), fault


@pytest.mark.parametrize("damaged", [b"", b"no tar" * 100, MEMBERS[:50_000], flipped(MEMBERS, 0)])
def test_damaged_archives_are_named(tmp_path, damaged):
    (tmp_path / "a.tar").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"a\.tar: cannot be read \(.*\); repair or exclude it"):
        read(tmp_path)


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, {"sub/secret": b"x"})

    def deny(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", deny)
        with pytest.raises(ValueError, match=r"secret: cannot be read \(Permission denied\)"):
            read(tmp_path)
    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(ValueError, match=r"sub: cannot be read \(Permission denied\)"):
        read(tmp_path / "sub")


def test_a_file_that_vanishes_is_named(tmp_path):
    path = write(tmp_path, {"a": b"x"}) / "a"
    wanted, skipped = Patterns([], []), Counter()
    [file] = find(path, wanted, skipped)
    path.unlink()
    with pytest.raises(ValueError, match=r"a: cannot be read \(No such file"):
        list(unpack(file, wanted, skipped))
