"""The command line of mbz: parsing, files and messages; all logic is in the library `mbz`."""
