"""Fixed-point tables and constants of the exact network (docs/exact.md, sections 2 and 3)."""

COUNT_SUM = 2**24 - 256
