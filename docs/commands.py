"""Writes docs/cli.md and the man page docs/mbz.1 from the commands themselves: `make docs`."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import typer
from mbz_cli.app import app

FOLDER = Path(__file__).parent
Command = typer.core.TyperCommand | typer.core.TyperGroup
Pairs = list[tuple[str, str]]

ENDING = """\
## Exit codes

0 fine, 1 usage or environment, 2 damaged or mismatched data, 130 interrupted.

## Environment

- `MBZ_MODELS`: folders of model folders, separated as in `PATH`, looked into first.
- `XDG_DATA_HOME`: where `mbz/models` with your own models lies; none: `~/.local/share`.
- `OMP_NUM_THREADS`: most CPU threads, unless `-T` says how many.

## Completion

`mbz --install-completion` lets bash, zsh or fish complete commands and options from the next shell
on; `mbz --show-completion` prints what it would install.
"""


def commands() -> Iterator[tuple[typer.Context, Command]]:
    """Every command that does something, with what its help needs to know."""
    root = typer.main.get_command(app)
    waiting = [(typer.Context(root, info_name="mbz", **root.context_settings), root)]
    for context, command in waiting:
        if command is root or not isinstance(command, typer.core.TyperGroup):
            yield context, command
        if isinstance(command, typer.core.TyperGroup):
            waiting += [
                (typer.Context(part, info_name=name, parent=context), part)
                for name, part in command.commands.items()
            ]


def described(context: typer.Context, command: Command) -> tuple[str, str, Pairs]:
    """A command's usage, what it does, and its arguments and options with what they mean."""
    pieces = command.collect_usage_pieces(context)
    options = []
    for param in command.get_params(context):
        if record := param.get_help_record(context):
            is_argument = param.param_type_name == "argument"
            options.append((str(param.metavar), record[1]) if is_argument else record)
    text = inspect.cleandoc(command.help or "")
    return " ".join([context.command_path, *pieces]), text, options


def markdown() -> str:
    """docs/cli.md."""
    lines = ["# The commands", "", "Written from `mbz --help` by `make docs`.", ""]
    for context, command in commands():
        usage, text, options = described(context, command)
        lines += [f"## {context.command_path}", "", f"    {usage}", "", text, ""]
        lines += ["| | |", "|---|---|"]
        for names, meaning in options:
            cells = (f"`{names}`", meaning)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join([*lines, ENDING])


def man() -> str:
    """The man page, in the language of troff."""
    lines = ['.TH MBZ 1 "" "mbz" "User Commands"', ".SH NAME"]
    lines += [r"mbz \- lossless compression of any file with a small Megabyte network"]
    lines += [".SH SYNOPSIS", ".B mbz", r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIFILE\fR]..."]
    lines.append(".SH COMMANDS")
    for context, command in commands():
        usage, text, options = described(context, command)
        lines += [f".SS {_troff(usage)}", *_troff(text).replace("\n\n", "\n.PP\n").splitlines()]
        for names, meaning in options:
            lines += [".TP", rf"\fB{_troff(names)}\fR", _troff(meaning)]
    for line in ENDING.splitlines():
        if line.startswith("## "):
            lines.append(f".SH {line[3:].upper()}")
        elif line.startswith("- "):
            name, _, meaning = line[2:].partition(": ")
            lines += [".TP", rf"\fB{_troff(name.strip('`'))}\fR", _troff(meaning.replace("`", ""))]
        elif line:
            lines.append(_troff(line.replace("`", "")))
    return "\n".join(lines) + "\n"


def _troff(text: str) -> str:
    safe = text.replace("\\", r"\e").replace("-", r"\-")
    return "\n".join(rf"\&{line}" if line[:1] in {".", "'"} else line for line in safe.split("\n"))


PAGES = {"cli.md": markdown, "mbz.1": man}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (FOLDER / page).write_text(text(), encoding="utf-8")
