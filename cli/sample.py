"""`mbz sample`: bytes that a model draws, shown as they come."""

import codecs
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Annotated

import typer

from . import files, options
from .ui import Ui


def at_least_0(text: str | float) -> float:
    """Reads a temperature."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise typer.BadParameter(f"{text!r} is no number from 0 on")
    return number


Prompt = Annotated[str, typer.Option("--prompt", metavar="TEXT", help="Text to go on from.")]
PromptFile = Annotated[
    str | None,
    typer.Option("--prompt-file", metavar="FILE", help="File to go on from; '-' is stdin."),
]
Length = Annotated[int, typer.Option("-n", "--bytes", min=1, metavar="N", help="Bytes to draw.")]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature",
        parser=at_least_0,
        metavar="T",
        help="Above 1 is wilder, below 1 tamer; 0 takes the likeliest byte each time.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, metavar="N", help="The same N, the same bytes; none: random."),
]


def sample(
    *,
    model: options.Model = None,
    prompt: Prompt = "",
    prompt_file: PromptFile = None,
    length: Length = 500,
    temperature: Temperature = 1.0,
    seed: Seed = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show the seed.")] = False,
    debug: options.Debug = False,
) -> None:
    """Draws bytes from a model and writes them to standard output as they come.

    The prompt is not repeated. With --seed the bytes are the same on every machine.
    """
    ui = Ui(quiet=quiet, verbose=verbose, debug=debug)
    with ui.reporting():
        from mbz import zoo
        from mbz.sample import sample as drawn

        from .predictors import Models

        start = _read_prompt(prompt, prompt_file)
        seed = secrets.randbits(32) if seed is None else seed
        models = Models(folder=zoo.find(model), device=device, threads=threads)
        predictor, _ = models.open(zoo.find(model))
        ui.note(f"seed {seed}")
        with _output() as write:
            for byte in islice(drawn(predictor, start, temperature=temperature, seed=seed), length):
                write(bytes([byte]))
    ui.exit()


def _read_prompt(text: str, name: str | None) -> bytes:
    if name is None:
        return os.fsencode(text)  # as the shell gave it, whatever the encoding
    if text:
        raise files.Refused("--prompt and --prompt-file contradict each other; give one of them")
    with files.opened(name, binary=False) as file:
        return file.read()


@contextmanager
def _output() -> Iterator[Callable[[bytes], None]]:
    """Standard output; on a terminal with U+FFFD for what is no text or would steer it."""
    stream, decoder = sys.stdout.buffer, codecs.getincrementaldecoder("utf-8")("replace")

    def write(data: bytes) -> None:
        stream.write(data)
        stream.flush()

    def show(data: bytes, *, final: bool = False) -> None:
        text = decoder.decode(data, final)
        safe = "".join(c if c.isprintable() or c in "\t\r\n" else "\ufffd" for c in text)
        write(safe.encode(sys.stdout.encoding, "replace"))

    if not sys.stdout.isatty():
        yield write
        return
    try:
        yield show
    finally:  # after Ctrl-C too, what the shell says next starts on a line of its own
        show(b"\n", final=True)
