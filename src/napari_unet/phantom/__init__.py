"""Synthetic heads with contrast-enhanced metastases, and their truth."""
