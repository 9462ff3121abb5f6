"""Lets atheris look for archives that the decoder does not expect (`make fuzz-atheris`).

    python tests/fuzz_atheris.py CORPUS [libFuzzer's options]

All checks are taken as right where they are zero, lest nothing but they were ever reached. So what
comes out may be wrong, but only `MbzError` may be raised. Finds that need right checks are for
`make fuzz`.
"""

import sys
from pathlib import Path
from random import Random

import atheris

import mbz.exact.compiled_backend  # before the others: numba compiles only what it was given
import mbz.mixing  # noqa: F401 - likewise

with atheris.instrument_imports(include=["mbz"]):
    import fuzz

    from mbz import container, fields

fields.check16 = lambda _header: bytes(2)
container.check_of = lambda _hasher: bytes(8)
container.content_check = lambda _content: bytes(8)


def decode(data: bytes) -> None:
    """Goes every way that an archive may go."""
    fuzz.restore(data, Random(len(data)))


if __name__ == "__main__":
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (archive, _) in enumerate(fuzz.sources()):
        (corpus / f"source-{number}").write_bytes(archive)
    atheris.Setup([*sys.argv, "-timeout=60", "-rss_limit_mb=1024", "-max_len=2000"], decode)
    atheris.Fuzz()
