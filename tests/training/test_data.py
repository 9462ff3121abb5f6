"""Training data: how it is laid out, split, reported and sampled."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbz.training import data
from mbz.training.data import Corpus, Source, load, sample_positions

FULL = Path("/dev/full")
CORPUS = Corpus.of([b"All work and no play makes Jack a dull boy.\n" * 40])


def files(corpus: Corpus) -> list[bytes]:
    return [part.tobytes() for part in np.split(corpus.stream, corpus.starts[1:])]


def positions(corpus: Corpus, **changes) -> list[int]:
    settings = {"seed": 0, "step": 0, "batch": 500, "length": 10, "file_starts": 0.25}
    return sample_positions(corpus, **settings | changes).tolist()


@pytest.fixture
def folder(tmp_path):
    """A function that writes files into a new folder."""

    def write(contents: dict[str, bytes], name="data"):
        for file, content in contents.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / name

    return write


# Layout and gathering


@given(st.data())
def test_gathering_is_slicing(draw):
    contents = draw.draw(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=9))
    whole = b"".join(contents)
    cuts = sorted(draw.draw(st.sets(st.integers(1, len(whole)), max_size=5)) | {len(whole)})
    stream, starts = np.frombuffer(whole, np.uint8), Corpus.of(contents).starts
    parts = tuple(np.split(stream, cuts[:-1]))
    corpus = Corpus(parts, starts, "", np.zeros(1, np.int64), np.ones(1))
    length = draw.draw(st.integers(0, len(whole)))
    places = draw.draw(st.lists(st.integers(0, len(whole) - length), min_size=1))
    rows = corpus.gather(np.array(places), length)
    assert rows.shape == (len(places), length)
    assert [row.tobytes() for row in rows] == [whole[at : at + length] for at in places]
    assert corpus.stream.tobytes() == whole
    assert files(corpus) == contents


@pytest.mark.parametrize(("position", "length"), [(-1, 5), (0, 11), (6, 5)])
def test_positions_out_of_range_are_refused(position, length):
    with pytest.raises(ValueError, match="positions must be from 0 to"):
        Corpus.of([b"0123456789"]).gather(np.array([0, position]), length)


def test_nothing_is_held_in_memory(folder, monkeypatch):
    monkeypatch.setattr(data, "LARGE", 50)
    contents = {"a": b"a" * 20, "b": b"b" * 30, "c": b"c" * 50, "d": b"d", "e": b"e" * 99}
    train, _, _ = load([folder(contents)], validation=0)
    assert [len(part) for part in train.parts] == [50, 50, 1, 99]  # a and b, packed, are one part
    assert all(isinstance(part, np.memmap) for part in train.parts)
    assert [part.filename is None for part in train.parts] == [True, False, True, False]
    assert files(train) == list(contents.values())
    assert train.digest == Corpus.of(list(contents.values())).digest


def test_only_the_largest_files_are_mapped_where_they_are(folder, monkeypatch):
    monkeypatch.setattr(data, "LARGE", 10)
    monkeypatch.setattr(data, "MOST_MAPPED", 2)
    contents = {"a": b"a" * 20, "b": b"b" * 10, "c": b"c" * 30, "d": b"d" * 10}
    train, _, _ = load([folder(contents)], validation=0)
    assert [str(part.filename)[-1:] for part in train.parts if part.filename] == ["a", "c"]
    assert files(train) == list(contents.values())


def test_the_temporary_file_has_no_name_that_could_stay(folder, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    found = []
    load(
        [folder({"a": b"content"})],
        folder=place,
        progress=lambda _: found.extend(place.iterdir()),
    )
    assert found == []
    with pytest.raises(ValueError, match=r"nosuch: cannot hold the temporary file \(No such"):
        load([tmp_path / "data"], folder=tmp_path / "nosuch")


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence(folder, monkeypatch):
    path = folder({"a": b"content"})
    monkeypatch.setattr(data.tempfile, "TemporaryFile", lambda **_: FULL.open("w+b"))
    with pytest.raises(ValueError, match=r"cannot hold the temporary file \(No space left"):
        load([path], folder=path)


def test_a_file_that_becomes_shorter_is_an_error_and_no_crash(folder, monkeypatch):
    monkeypatch.setattr(data, "LARGE", 1)
    path = folder({"a": b"a" * 100})
    train, _, _ = load([path], validation=0)
    (path / "a").write_bytes(b"a" * 100 + b"longer")
    assert train.stream.tobytes() == b"a" * 100
    (path / "a").write_bytes(b"short")
    with pytest.raises(ValueError, match="a: has become shorter while it was in use"):
        train.gather(np.zeros(1, np.int64), 5)


def test_a_file_that_becomes_shorter_while_it_is_read(folder, monkeypatch):
    monkeypatch.setattr(data, "LARGE", 1)
    path = folder({"a": b"a" * 100})
    with pytest.raises(ValueError, match="a: cannot be read"):
        load([path], progress=lambda _: (path / "a").write_bytes(b""))


# Split, duplicates, report


def test_the_split_depends_on_content_alone(folder):
    contents = [b"content %d" % i for i in range(40)]
    splits = []
    for name, order in (("one", contents), ("two", contents[::-1])):
        named = {f"{i:02}" if i % 3 else f"sub/{i:02}": part for i, part in enumerate(order)}
        train, held_out, _ = load([folder(named, name)], validation=0.5)
        splits.append([sorted(files(train)), sorted(files(held_out))])
    assert splits[0] == splits[1]
    assert sorted(splits[0][0] + splits[0][1]) == sorted(contents)
    assert b"content 0" in splits[0][0]  # the rule itself may not change, or runs mix both parts
    assert b"content 3" in splits[0][1]
    assert all(splits[0])


def test_a_small_corpus_has_an_empty_validation_part(folder):
    train, held_out, _ = load([folder({"a": b"content"})])
    assert (train.size, held_out.size, len(held_out.starts)) == (7, 0, 0)
    assert held_out.stream.tobytes() == b""


def test_the_same_content_counts_once(folder):
    path = folder({"a": b"same", "b": b"other", "c": b"same", "empty": b""})
    train, _, report = load([path, path / "a"], validation=0)
    assert files(train) == [b"same", b"other"]
    assert report.skipped == {"duplicate": 2, "empty": 1}


def test_the_digest_is_of_the_contents_in_their_order(folder):
    digests = {
        load([folder(contents, str(i))], validation=0).train.digest
        for i, contents in enumerate(
            [{"a": b"1", "b": b"2"}, {"x/a": b"1", "y": b"2"}, {"a": b"2", "b": b"1"}, {"a": b"12"}]
        )
    }
    assert len(digests) == 3


def test_the_report(folder):
    contents = {f"{i}.txt": b"content %d" % i for i in range(20)} | {"a.log": b"x", "b.txt": b""}
    train, held_out, report = load([folder(contents)], validation=0.5, exclude=["*.log"])
    assert report.files == 20
    assert report.bytes == train.size + held_out.size == 190
    assert report.validation_files == len(held_out.starts)
    assert report.validation_bytes == held_out.size
    assert str(report) == (
        f"{len(train.starts)} files, {train.size} bytes to train on; {len(held_out.starts)} files, "
        f"{held_out.size} bytes for validation (20 plain); left out: 1 excluded, 1 empty"
    )


def test_progress_is_in_bytes(folder):
    seen = []
    load([folder({"a": b"1234", "b": b"", "c": b"56"})], validation=0, progress=seen.append)
    assert seen == [4, 6]


@pytest.mark.parametrize(
    ("contents", "options", "says"),
    [
        ({"a": b"", "b": b""}, {}, "no bytes to train on under .*data: 2 files seen, left out: 2"),
        ({"a": b"1", "b": b""}, {"include": ["*.py"]}, "2 files seen, left out: 2 excluded"),
        ({}, {}, "0 files seen, left out: none"),
        ({"a": b"1"}, {"validation": 1}, r"all 1 files \(1 bytes\) fall into validation and none"),
        ({"a": b"1"}, {"validation": -1}, r"validation must be in \[0, 1\]"),
        ({"a": b"1"}, {"exclude": ["!"]}, "pattern"),
    ],
)
def test_nothing_to_train_on(folder, contents, options, says):
    folder({})
    path = folder(contents)
    path.mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=says):
        load([path], **options)


def test_a_missing_path(tmp_path):
    with pytest.raises(ValueError, match="nosuch: no such file or folder"):
        load([tmp_path / "nosuch"])


# Sampling


def test_positions_are_a_pure_function_of_seed_and_step():
    np.random.default_rng(0).random()  # no generator is shared
    assert positions(CORPUS) == positions(CORPUS)
    assert positions(CORPUS, seed=1) != positions(CORPUS)
    assert positions(CORPUS, step=1) != positions(CORPUS)


def test_positions_stay_as_they_are():
    """A run that is resumed by another release goes on with the same data."""
    corpus = Corpus.of([b"x" * 700, b"y" * 2200, b"z" * 100])
    assert positions(corpus, seed=3, step=5, batch=6, file_starts=0.5) == [
        71,
        408,
        0,
        700,
        2447,
        700,
    ]


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


def test_equal_weights_change_nothing(folder):
    one, two = folder({"a": b"1" * 50, "b": b"2" * 30}, "one"), folder({"c": b"3" * 70}, "two")
    plain, _, _ = load([one, two], validation=0)
    equal, _, _ = load([Source(one, 0.3), Source(two, 0.3)], validation=0)
    assert positions(equal) == positions(plain) == positions(Corpus.of(files(plain)))


def test_positions_are_drawn_by_bytes_times_weight(folder):
    rare = folder({"a": b"1" * 500, "b": b"2" * 500}, "rare")
    often = folder({"c": b"3" * 1000}, "often")
    none = folder({"c": b"3" * 1000}, "none")  # all of it came before
    train, _, _ = load([Source(rare), Source(often, 4), Source(none, 100)], validation=0)
    found = np.array(positions(train, batch=4000, file_starts=0))
    assert positions(train) == positions(train)
    assert 0.76 < (found >= 1000).mean() < 0.84
    assert found.max() == train.size - 10
    assert abs(np.median(found[found < 1000]) - 500) < 100
    assert set(positions(train, file_starts=1)) == {0, 500, 1000}


def test_a_heavy_source_may_be_shorter_than_a_sequence(folder):
    long, short = folder({"a": b"1" * 500}, "long"), folder({"b": b"2"}, "short")
    train, _, _ = load([Source(long), Source(short, 1e6)], validation=0)
    rows = train.gather(np.array(positions(train, length=100, file_starts=0)), 100)
    assert (rows[:, -1] == ord("2")).mean() > 0.9


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_weights_are_positive(folder, weight):
    with pytest.raises(ValueError, match="weight must be above 0"):
        Source(folder({}), weight)
