"""Training a Megabyte: data, configuration, optimisers, the loop."""
