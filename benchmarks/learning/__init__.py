"""How good masks get, from how few annotated slices."""
