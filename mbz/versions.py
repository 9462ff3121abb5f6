"""The version numbers that files carry. Bytes under a released number never change meaning.

To raise one: change it here, say in docs/format.md, section 11, what is new, and run
`python tests/vectors/make.py`, which writes the golden archives of the new version into a folder of
their own and refuses to change those of a released one.
"""

from typing import Final

FORMAT: Final = 1
"""Of docs/format.md."""

ARITHMETIC: Final = 1
"""Of predictions in archives: the exact network (docs/exact.md) and the mixing coder together."""

NETWORK: Final = 0
"""Of the exact network alone, as weights files carry it."""
