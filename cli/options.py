"""The options that several commands share, with one spelling and one help text each."""

import re
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand

from mbz.container import MAX_BLOCK, MAX_LANES


def block_size(text: str) -> int:
    """Reads a number of bytes such as `65536`, `64K` or `1M` (powers of 1024)."""
    match = re.fullmatch(r"(\d{1,12})([KM]?)(?:i?B)?", text, re.IGNORECASE | re.ASCII)
    size = 0 if match is None else int(match[1]) << {"": 0, "K": 10, "M": 20}[match[2].upper()]
    if not 1 <= size <= MAX_BLOCK:
        raise typer.BadParameter(f"{text!r} is no size from 1 to {MAX_BLOCK >> 20}M, such as 64K")
    return size


class LevelCommand(TyperCommand):
    """A command that understands -0 to -9 as --level."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Reads the words after the command's name."""
        end = args.index("--") if "--" in args else len(args)
        words = [f"--level={word[1]}" if re.fullmatch("-[0-9]", word) else word for word in args]
        return super().parse_args(ctx, words[:end] + args[end:])


DeviceName = Literal["auto", "cpu", "cuda"]

OptionalFiles = Annotated[
    list[str] | None,
    typer.Argument(metavar="FILE", help="Input files; none or '-': stdin."),
]
Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Archives; '-' is stdin.")]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="OUT", help="Write to OUT ('-' is stdout).")
]
Stdout = Annotated[bool, typer.Option("-c", "--stdout", help="Write to standard output.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite an existing output.")]
Keep = Annotated[bool, typer.Option("-k", "--keep", help="Keep the input, as is usual.")]
Remove = Annotated[bool, typer.Option("--rm", help="Remove the input once its output is safe.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Take the files in folders.")]
OutputDir = Annotated[
    str | None,
    typer.Option("--output-dir", metavar="FOLDER", help="Write into FOLDER, with folders as -r."),
]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify/--no-verify", help="Restore what was written and compare; with --rm always."
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Show errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show one line for each file.")]
Model = Annotated[
    str | None,
    typer.Option("-m", "--model", metavar="NAME|PATH", help="Model name or folder."),
]
Level = Annotated[
    int,
    typer.Option(
        "--level",
        min=0,
        max=9,
        metavar="N",
        help="-0 (fast, no network) to -9 (smallest).",
    ),
]
NoMix = Annotated[bool, typer.Option("--no-mix", help="The network alone, without experts.")]
Device = Annotated[DeviceName, typer.Option("--device", help="Where the network runs.")]
Threads = Annotated[
    int | None,
    typer.Option("-T", "--threads", min=0, metavar="N", help="CPU threads; 0 or none: all."),
]
Lanes = Annotated[
    int | None,
    typer.Option(
        "--lanes", min=1, max=MAX_LANES, metavar="N", help="Streams that are coded side by side."
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option("--block-size", parser=block_size, metavar="SIZE", help="Bytes a block: 64K, 1M."),
]
Kind = Literal["bytes", "image", "audio", "video", "auto"]
Scan = Annotated[
    str | None,
    typer.Option(
        metavar="ORDER", help="Of pixels (raster, patch:8, hybrid) or samples (raw, high, split)."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with each error.")]
