"""The mbz library: byte-level compression and density estimation with exact Megabyte models."""
