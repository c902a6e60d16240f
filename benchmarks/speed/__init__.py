"""Seconds and memory, with and without a window."""
