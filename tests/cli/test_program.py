"""The real program: pipes, terminals, signals, exit codes, and how fast it answers."""

import random
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest
from mbz_cli import models
from mbz_cli.app import app
from programs import is_writing, on_terminal
from typer.main import get_command

MODELS = get_command(models.app).commands
HEAVY = ("torch", "numpy", "constriction", "safetensors", "rich", "numba", "matplotlib")


def test_pipes(command, content):
    packed = subprocess.run(
        [*command, "compress", "-m", "tiny-test"], input=content, capture_output=True, check=True
    )
    assert packed.stderr == b""  # no progress where there is no terminal
    restored = subprocess.run(
        [*command, "decompress"], input=packed.stdout, capture_output=True, check=True
    )
    assert restored.stdout == content


@pytest.mark.parametrize(
    "words",
    [
        ["--nosuch"],
        ["nosuch"],
        ["test"],
        ["compress", "--lanes", "0"],
        ["compress", "--block-size", "1Q"],
        ["compress", "--block-size", "33M"],
        ["compress", "--device", "abacus"],
        ["compress", "-m", "nosuch"],
    ],
)
def test_usage_errors_are_one_sentence_and_exit_1(command, words):
    result = subprocess.run([*command, *words], capture_output=True, check=False)
    assert result.returncode == 1
    assert result.stdout == b""
    assert result.stderr.startswith(b"mbz: ")
    assert result.stderr.count(b"\n") == 1


def test_no_command_shows_help_and_fails(command):
    result = subprocess.run(command, capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"decompress" in result.stderr


def test_version(command):
    result = subprocess.run([*command, "--version"], capture_output=True, check=True)
    assert result.stdout.startswith(b"mbz ")


@pytest.mark.parametrize(
    "words",
    [[], *([name] for name in get_command(app).commands), *(["models", n] for n in MODELS)],
    ids=" ".join,
)
def test_help_needs_nothing_heavy(words):
    code = (
        "import sys; from mbz_cli.app import app\n"
        f"try: app({[*words, '--help']!r})\n"
        "finally:\n"
        f"  loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "  assert not loaded, loaded"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert b"Usage:" in result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(command, monkeypatch, shell):
    def asked(instruction, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("_MBZ_COMPLETE", f"{instruction}_{shell}")
        program = "import sys; sys.argv = ['mbz']; from mbz_cli.app import main; main()"
        run = subprocess.run(
            [command[0], "-c", program], capture_output=True, text=True, check=False
        )
        return run.stdout

    assert "_MBZ_COMPLETE=complete_" + shell in asked("source")
    words = {"COMP_WORDS": "mbz decom", "COMP_CWORD": "1"}  # bash
    words |= {"_TYPER_COMPLETE_ARGS": "mbz decom", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "decompress" in asked("complete", **words)


def test_binary_data_is_not_written_to_a_terminal(command, sample, archive):
    code, shown = on_terminal(
        [*command, "compress", "-m", "tiny-test", "-c", "-f", sample], stdout=1, stderr=1
    )
    assert code == 1
    assert shown.startswith(b"mbz: ")
    assert b"terminal" in shown
    assert archive.read_bytes()[:3] not in shown
    code, shown = on_terminal([*command, "decompress", "-c", archive], stdout=1, stderr=1)
    assert code == 1
    assert b"is no text for a terminal" in shown


def test_text_may_be_shown_on_a_terminal(command, tmp_path):
    path = tmp_path / "note"
    path.write_bytes(b"plain text\n" * 20)
    subprocess.run([*command, "compress", "-m", "tiny-test", path], check=True)
    code, shown = on_terminal([*command, "decompress", "-q", "-c", f"{path}.mbz"], stdout=1)
    assert code == 0
    assert shown.replace(b"\r\n", b"\n") == path.read_bytes()


def test_an_archive_is_not_read_from_a_terminal(command):
    assert on_terminal([*command, "decompress", "-o", "x"], stdin=0, stderr=1)[0] == 1


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_shown_on_a_terminal(command, sample, quiet):
    words = [*command, "compress", "-m", "tiny-test", *["-q"] * quiet, sample]
    code, shown = on_terminal(words, stderr=1)
    assert code == 0
    assert (shown == b"") == quiet


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(command, tmp_path, wait_for, number, code):
    words = [*command, "compress", "-m", "tiny-test", "-o", tmp_path / "out.mbz"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, **pipes) as process, ExitStack() as ending:
        ending.callback(process.kill)  # else a failure would wait for ever
        process.stdin.write(b"the rest never comes")
        process.stdin.flush()
        wait_for(lambda: is_writing(process, tmp_path))
        process.send_signal(number)
        process.wait(timeout=60)
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == code
    assert list(tmp_path.iterdir()) == []


def test_a_broken_pipe_is_quiet(command, archive, tmp_path):
    many, noise = tmp_path / "many.mbz", tmp_path / "noise"
    many.write_bytes(archive.read_bytes() * 300)  # more than a pipe holds
    noise.write_bytes(random.Random(0).randbytes(200_000))
    for words in (
        ["compress", "-0", "-c", "--block-size", "64K", noise],
        ["decompress", "-c", many],
        ["list", "-v", *[archive] * 500],
    ):
        with subprocess.Popen(
            [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            process.stdout.read(1)
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 1


def test_the_input_redirected_onto_itself_is_refused(command, sample, content):
    with sample.open("rb") as source, sample.open("ab") as result:
        process = subprocess.run(
            [*command, "compress", "-m", "tiny-test"],
            stdin=source,
            stdout=result,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert process.returncode == 1
    assert b"is the input itself" in process.stderr
    assert sample.read_bytes() == content
