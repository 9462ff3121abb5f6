"""Which files a command takes and what their outputs are called: suffixes and folders."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mbz.atomic import PARTIAL

from .files import STREAM, Refused
from .ui import Ui

SUFFIX = ".mbz"


@dataclass(kw_only=True, slots=True)
class Naming:
    """What the options of `compress` and `decompress` say of inputs and outputs.

    Attributes:
        restoring: Whether inputs are archives and outputs their content.
        output: Name of the only output; `-` is standard output.
        stdout: Everything goes to standard output.
        folder: Where outputs go instead of beside their inputs.
        recursive: Folders stand for the files in them.
        keep: Inputs are kept, as is usual.
        remove: Inputs are removed once their outputs are complete.
        as_json: Standard output is taken by what is said about the files.
    """

    restoring: bool
    output: str | None
    stdout: bool
    folder: str | None
    recursive: bool
    keep: bool
    remove: bool
    as_json: bool
    _below: dict[str, Path] = field(default_factory=dict)  # places of inputs in the output folder
    _given: set[str] = field(default_factory=set)  # outputs so far

    def check(self, names: list[str]) -> None:
        """Checks that the options and the arguments of a command go together.

        Raises:
            Refused: If they do not.
        """
        ways = [
            *(["-o"] if self.output is not None else []),
            *(["-c"] if self.stdout else []),
            *(["--output-dir"] if self.folder is not None else []),
        ]
        if len(ways) > 1:
            raise Refused(f"{' and '.join(ways)} contradict each other; give one of them")
        if self.output is not None and (len(names) > 1 or self.recursive):
            raise Refused("-o names one output for several files; use --output-dir FOLDER")
        if self.keep and self.remove:
            raise Refused("-k and --rm contradict each other; give one of them")
        streams = self.stdout or self.output == STREAM or STREAM in names
        if self.remove and streams:
            raise Refused("--rm takes files only; leave out -c and '-'")
        if self.as_json and (self.stdout or self.output == STREAM):
            raise Refused("--json takes standard output; name an output with -o OUT")

    def inputs(self, names: list[str], ui: Ui) -> list[str]:
        """Returns the files that the arguments stand for, and tells of folders that fail."""
        files: list[str] = []
        for name in names:
            if self.recursive and name != STREAM and Path(name).is_dir():
                # The folder's own name is a part of the place, unless it is `.` or ends in `..`.
                top = "" if (top := Path(name).name) == ".." else top
                for path in _files_below(Path(name), ui):
                    if path.name.endswith(SUFFIX) == self.restoring:
                        files.append(str(path))
                        self._below[str(path)] = top / path.relative_to(name)
            else:
                files.append(name)
                self._below[name] = Path(Path(name).name)
        return files

    def apart(self, inputs: list[str]) -> bool:
        """Whether each input has an output of its own, so that their order does not matter."""
        places = inputs if self.folder is None else map(str, self._below.values())
        return len({*places, STREAM}) > len(inputs) and not (self.output or self.stdout)

    def target(self, name: str) -> str:
        """Returns the name of the output for one input; `-` is standard output.

        Folders in the output folder are made, to receive it.

        Raises:
            Refused: If none follows from the input's, or it was the output for another input.
        """
        target = self._target(name)
        if target == STREAM:
            if self.as_json:
                raise Refused("--json takes standard output; name an output with -o OUT")
            return target
        if target in self._given:
            raise Refused(f"the output {target} is that of another input too; rename one of them")
        self._given.add(target)
        if self.folder is not None:
            try:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Refused(f"cannot create {target} ({error.strerror})") from error
        return target

    def _target(self, name: str) -> str:
        if self.output is not None:
            return self.output
        if self.stdout or name == STREAM:
            return STREAM
        place = name if self.folder is None else str(Path(self.folder, self._below[name]))
        if not self.restoring:
            if name.endswith(SUFFIX):
                raise Refused(f"already ends in {SUFFIX}; name the output with -o OUT")
            return place + SUFFIX
        if not name.endswith(SUFFIX) or Path(name).name == SUFFIX:
            raise Refused(f"does not end in {SUFFIX}; name the output with -o OUT")
        return place.removesuffix(SUFFIX)


def _files_below(folder: Path, ui: Ui) -> Iterator[Path]:
    """The regular files in a folder and those below it, in the order of their names.

    Links are not followed, and what a killed run left unfinished is passed over.
    """

    def tell(error: OSError) -> None:
        with ui.reporting():
            raise error

    for place, folders, names in os.walk(folder, onerror=tell):
        folders.sort()
        for path in (Path(place, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink() and not re.fullmatch(PARTIAL, path.name):
                yield path
