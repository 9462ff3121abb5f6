"""The models that are shipped with mbz, one folder each; only `mbz.zoo` opens this package."""
