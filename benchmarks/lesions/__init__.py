"""Lesions over time."""
