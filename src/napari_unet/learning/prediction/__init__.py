"""From a network to labels: tiles, precision, memory, and what annotated slices add."""
