"""Files in and out: names, overwriting, modes and times, several files, standard streams."""

import os
import stat
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[1] / "samples"


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_back_with_its_mode_and_time(mbz, sample, archive, content):
    for path in (sample, archive):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert path.stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert len(archive.read_bytes()) < len(content)
    sample.unlink()
    assert mbz("decompress", archive).exit_code == 0
    assert sample.read_bytes() == content
    assert stat.S_IMODE(sample.stat().st_mode) == 0o640
    assert sample.stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert listing(sample.parent) == ["sample.txt", "sample.txt.mbz"]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 400])
def test_small_sizes_come_back(mbz, tmp_path, content, size):
    path = tmp_path / "small"
    path.write_bytes(content[:size])
    assert mbz("compress", "-m", "tiny-test", path).exit_code == 0
    result = mbz("decompress", "-c", path.with_name("small.mbz"))
    assert result.stdout_bytes == content[:size]


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("[!.]*")), ids=lambda path: path.name)
def test_real_files_come_back(mbz, tmp_path, path):
    packed = tmp_path / "packed"
    assert mbz("compress", "-m", "tiny-test", "--lanes", "64", "-o", packed, path).exit_code == 0
    assert packed.stat().st_size <= path.stat().st_size + 64
    assert mbz("decompress", "-c", packed).stdout_bytes == path.read_bytes()


def test_standard_streams(mbz, content):
    packed = mbz("compress", "-m", "tiny-test", data=content)
    assert packed.exit_code == 0
    assert packed.stderr == ""
    assert mbz("decompress", data=packed.stdout_bytes).stdout_bytes == content
    assert mbz("decompress", "-", data=packed.stdout_bytes).stdout_bytes == content
    assert mbz("test", "-", data=packed.stdout_bytes).exit_code == 0


def test_blocks_and_lanes_are_options(mbz, sample, content):
    options = ("--block-size", "200", "--lanes", "3", "-T", "1", "--device", "cpu", "-k")
    assert mbz("compress", "-m", "tiny-test", *options, sample).exit_code == 0
    assert mbz("decompress", "-c", sample.with_name("sample.txt.mbz")).stdout_bytes == content


def test_concatenated_archives_decode_as_one(mbz, archive, content):
    archive.write_bytes(archive.read_bytes() * 2)
    assert mbz("decompress", "-c", archive).stdout_bytes == content * 2


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_an_existing_output_needs_force(mbz, sample, archive, content, command):
    source, target = (sample, archive) if command == "compress" else (archive, sample)
    before = archive.read_bytes()
    target.write_bytes(b"precious")
    options = ("-m", "tiny-test") if command == "compress" else ()
    result = mbz(command, *options, source)
    assert result.exit_code == 1
    assert result.stderr == f"mbz: {source}: the output {target} exists; overwrite it with -f\n"
    assert target.read_bytes() == b"precious"
    assert mbz(command, *options, "-f", source).exit_code == 0
    assert (sample.read_bytes(), archive.read_bytes()) == (content, before)


def test_an_output_that_appears_meanwhile_is_kept(mbz, sample, monkeypatch):
    from mbz import codec

    target = sample.with_name("sample.txt.mbz")
    compress = codec.compress

    def slow_compress(*args, **options):
        target.write_bytes(b"precious")
        return compress(*args, **options)

    monkeypatch.setattr(codec, "compress", slow_compress)
    assert mbz("compress", "-m", "tiny-test", sample).exit_code == 1
    assert target.read_bytes() == b"precious"
    assert listing(sample.parent) == ["sample.txt", "sample.txt.mbz"]


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_the_input_is_never_the_output(mbz, sample, content, link):
    target = sample
    if link is not None:
        target = sample.with_name("other")
        link(sample, target)
    result = mbz("compress", "-m", "tiny-test", "-f", "-o", target, sample)
    assert result.exit_code == 1
    assert "is the input itself" in result.stderr
    assert sample.read_bytes() == content


def test_names_that_give_no_output_name(mbz, sample, archive):
    assert mbz("compress", "-m", "tiny-test", archive).exit_code == 1
    result = mbz("decompress", sample)
    assert result.exit_code == 1
    assert result.stderr == f"mbz: {sample}: does not end in .mbz; name the output with -o OUT\n"
    bare = archive.rename(archive.with_name(".mbz"))
    assert mbz("decompress", bare).exit_code == 1
    assert mbz("decompress", "-o", sample.with_name("out"), bare).exit_code == 0


def test_output_options_that_contradict(mbz, sample):
    assert mbz("compress", "-m", "tiny-test", "-o", "x", "-c", sample).exit_code == 1
    assert mbz("compress", "-m", "tiny-test", "-o", "x", sample, sample).exit_code == 1


def test_inputs_that_cannot_be_read(mbz, tmp_path):
    result = mbz("compress", "-m", "tiny-test", tmp_path / "missing", tmp_path)
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first == f"mbz: {tmp_path / 'missing'}: No such file or directory"
    assert second == f"mbz: {tmp_path}: is a directory; take the files in it with -r"


def test_outputs_that_cannot_be_made(mbz, sample, tmp_path):
    result = mbz("compress", "-m", "tiny-test", "-o", tmp_path, sample)
    assert "is a directory" in result.stderr
    result = mbz("compress", "-m", "tiny-test", "-o", tmp_path / "no" / "x", sample)
    assert "cannot create" in result.stderr
    assert result.exit_code == 1


def test_a_device_is_written_to_and_not_replaced(mbz, sample, tmp_path):
    device = tmp_path / "device"
    device.symlink_to(os.devnull)
    assert mbz("compress", "-m", "tiny-test", "-o", device, sample).exit_code == 0
    assert device.is_symlink()


def test_other_files_go_on_after_a_failure(mbz, sample, archive, content):
    broken = archive.with_name("broken.mbz")
    broken.write_bytes(archive.read_bytes()[:-1])
    sample.unlink()
    result = mbz("decompress", broken, archive.with_name("missing.mbz"), archive)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert sample.read_bytes() == content
    assert listing(sample.parent) == ["broken.mbz", "sample.txt", "sample.txt.mbz"]


def test_several_files_at_once_are_told_of_in_their_order(mbz, tmp_path, content):
    names = [tmp_path / f"{n}" for n in range(12)]
    for n, name in enumerate(names):
        if n not in {3, 7}:  # these do not exist
            name.write_bytes(content[: 400 - 30 * n])
    alone = [mbz("compress", "-q", "-c", "-T", "1", name).stdout_bytes for name in names]
    result = mbz("compress", "-v", "-T", "3", *names)
    assert result.exit_code == 1
    told = [line.split(": ") for line in result.stderr.splitlines()]
    order = [line[1] if line[0] == "mbz" else line[0] for line in told]
    assert order == [str(name) for name in names]
    for name, archive in zip(names, alone, strict=True):
        if name.exists():
            assert Path(f"{name}.mbz").read_bytes() == archive
            name.unlink()
    archives = [f"{name}.mbz" for name in names if Path(f"{name}.mbz").exists()]
    Path(archives[4]).write_bytes(b"no archive")
    result = mbz("decompress", "-T", "3", *archives)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert [name.exists() for name in names] == [n not in {3, 5, 7} for n in range(12)]


def test_a_failure_leaves_nothing(mbz, sample, monkeypatch):
    from mbz import codec

    def full_disk(_source, result, *_args, **_options):
        result.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(codec, "compress", full_disk)
    result = mbz("compress", "-m", "tiny-test", sample)
    assert result.exit_code == 1
    says = f"cannot write {sample}.mbz (No space left on device)"
    assert result.stderr == f"mbz: {sample}: {says}\n"
    assert listing(sample.parent) == ["sample.txt"]


def test_a_bug_is_one_sentence_unless_debugging(mbz, sample, monkeypatch):
    from mbz import codec

    def bug(*_args, **_options):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(codec, "compress", bug)
    result = mbz("compress", "-m", "tiny-test", sample)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "internal error (ZeroDivisionError: oops)" in result.stderr
    assert "Traceback" in mbz("compress", "-m", "tiny-test", "--debug", sample).stderr


def test_verbose_says_one_line_a_file(mbz, sample, archive, content):
    size = archive.stat().st_size
    result = mbz("compress", "-m", "tiny-test", "-v", "-f", sample)
    assert result.stderr.startswith(f"{sample}: {len(content)} -> {size} bytes (")
    assert result.stderr.count("\n") == 1
    result = mbz("decompress", "-v", "-f", archive)
    assert result.stderr.startswith(f"{archive}: {size} -> {len(content)} bytes (")
    assert " bpb, " in result.stderr
    assert mbz("decompress", "-v", "-q", "-f", archive).stderr == ""


def test_control_characters_of_names_are_escaped(mbz, tmp_path):
    result = mbz("test", tmp_path / "a\x1b[31m\n.mbz")
    assert "\x1b" not in result.stderr
    assert result.stderr.count("\n") == 1
