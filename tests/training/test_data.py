"""Training data: what is read, how it is split, where sequences start."""

import io
import tarfile

import numpy as np
import pytest

from mbz.training.data import Corpus, load, sample_positions

CORPUS = Corpus.of([b"All work and no play makes Jack a dull boy.\n" * 40])


def files(corpus: Corpus) -> list[bytes]:
    return [part.tobytes() for part in np.split(corpus.stream, corpus.starts[1:])]


def positions(corpus: Corpus, **changes) -> list[int]:
    settings = {"seed": 0, "step": 0, "batch": 500, "length": 10, "file_starts": 0.25}
    return sample_positions(corpus, **settings | changes).tolist()


def test_positions_are_a_pure_function_of_seed_and_step():
    np.random.default_rng(0).random()  # no generator is shared
    assert positions(CORPUS) == positions(CORPUS)
    assert positions(CORPUS, seed=1) != positions(CORPUS)
    assert positions(CORPUS, step=1) != positions(CORPUS)


@pytest.mark.parametrize("length", [1, 10, 29, 30])
def test_positions_are_in_range(length):
    corpus = Corpus.of([b"x" * 7, b"y" * 22, b"z"])
    found = set(positions(corpus, length=length, file_starts=0))
    assert found == set(range(30 - length + 1))


def test_a_share_of_the_positions_is_where_files_start():
    corpus = Corpus.of([b"x" * 700, b"y" * 2200, b"z" * 100])
    starts = {0, 700, 2900}
    assert set(positions(corpus, file_starts=1)) == starts
    share = np.isin(positions(corpus, file_starts=0.25), list(starts)).mean()
    assert 0.15 < share < 0.35


def test_the_split_depends_on_content_alone(tmp_path):
    contents = [b"content %d" % i for i in range(40)]
    splits = []
    for folder, order in (("one", contents), ("two", contents[::-1])):
        (tmp_path / folder / "sub").mkdir(parents=True)
        for i, content in enumerate(order):
            name = f"{i:02}" if i % 3 else f"sub/{i:02}"
            (tmp_path / folder / name).write_bytes(content)
        parts = load([tmp_path / folder], validation=0.5)
        splits.append([sorted(files(part)) for part in parts])
    assert splits[0] == splits[1]
    assert sorted(splits[0][0] + splits[0][1]) == sorted(contents)
    assert all(splits[0])


def test_members_of_tar_archives_are_files(tmp_path):
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")):
        with tarfile.open(tmp_path / f"a{suffix}", mode) as tar:
            for content in (b"one", b"", b"two" + suffix.encode()):
                member = tarfile.TarInfo(f"folder/{content.decode() or 'empty'}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("elsewhere")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    part, _ = load([tmp_path], validation=0)
    assert files(part) == [b"one", b"two.tar", b"one", b"two.tar.gz", b"one", b"two.tar.xz"]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
def test_damaged_archives_are_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with tarfile.open(path, "w:" + suffix[5:]) as tar:
        member = tarfile.TarInfo("noise")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(member.size)))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ValueError, match=f"a{suffix}: not a readable tar archive"):
        load([tmp_path])


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="nosuch: no such file or folder"):
        load([tmp_path / "nosuch"])
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="no bytes to train on"):
        load([tmp_path])
