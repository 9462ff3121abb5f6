"""`python -m mbz_cli` is `mbz`."""

from .app import main

main()
