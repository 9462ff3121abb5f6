"""`mbz sample`: what is drawn, where it goes, and how it ends."""

import re
import signal
import subprocess

import pytest
from programs import on_terminal

FROM_TINY = ["sample", "-m", "tiny-test", "-T", "1"]  # threads would wait for each other


def test_the_seed_shown_draws_the_same_again(mbz):
    first = mbz(*FROM_TINY, "-v", "-n", "40")
    [seed] = re.fullmatch(r"seed (\d+)\n", first.stderr).groups()
    again = mbz(*FROM_TINY, "-n", "40", "--seed", seed)
    assert again.stdout_bytes == first.stdout_bytes
    assert len(again.stdout_bytes) == 40
    assert again.stderr == ""
    other = mbz(*FROM_TINY)
    assert len(other.stdout_bytes) == 500
    assert other.stdout_bytes[:40] != first.stdout_bytes


def test_the_prompt_is_text_or_a_file_or_a_pipe(mbz, tmp_path):
    words = [*FROM_TINY, "--seed", "0", "-n", "40"]
    path = tmp_path / "prompt"
    path.write_bytes("prömpt".encode())
    results = [
        mbz(*words, "--prompt", "prömpt"),
        mbz(*words, "--prompt-file", path),
        mbz(*words, "--prompt-file", "-", data=path.read_bytes()),
    ]
    assert {result.exit_code for result in results} == {0}
    assert len({result.stdout_bytes for result in results}) == 1
    assert results[0].stdout_bytes != mbz(*words).stdout_bytes


def test_the_temperature_counts(mbz):
    words = [*FROM_TINY, "-n", "40", "--temperature"]
    drawn = [mbz(*words, *rest).stdout_bytes for rest in (("0",), ("0",), ("2.5", "--seed", "0"))]
    assert drawn[0] == drawn[1] != drawn[2]  # at 0 no seed matters


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--temperature", "-1"], "'-1' is no number from 0 on"),
        (["--temperature", "nan"], "'nan' is no number from 0 on"),
        (["--temperature", "hot"], "'hot' is no number from 0 on"),
        (["-n", "0"], "should be greater than or equal to 1"),
        (["--seed", "-1"], "should be greater than or equal to 0"),
        (["--prompt", "a", "--prompt-file", "b"], "contradict each other"),
        (["--prompt-file", "nosuch"], "nosuch: No such file or directory"),
        (["--prompt-file", "."], "is a directory"),
        (["-m", "nosuch"], "no model named 'nosuch'"),
    ],
)
def test_errors_are_one_sentence(mbz, words, says):
    result = mbz(*FROM_TINY, *words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(r"mbz: [^\n]*\n", result.stderr)
    assert says in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, None])
def test_bytes_come_as_they_are_drawn_until_nobody_waits(command, number):
    words = [*command, *FROM_TINY, "-n", "1000000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert len(process.stdout.read(20)) == 20
        if number is None:
            process.stdout.close()
        else:
            process.send_signal(number)
        assert process.stderr.read() == b""
    assert process.returncode == (1 if number is None else 130)


def test_a_terminal_is_shown_text_only(command, mbz):
    words = [*FROM_TINY, "--seed", "0", "-n", "60"]
    raw = mbz(*words).stdout_bytes
    assert any(byte < 32 for byte in raw)
    assert any(byte > 127 for byte in raw)
    code, shown = on_terminal([*command, *words], stdout=1, stderr=1)
    assert code == 0
    text = shown.decode()
    assert "\ufffd" in text
    assert text.endswith("\n")
    assert all(c.isprintable() or c in "\t\r\n" for c in text)
