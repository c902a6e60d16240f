"""Runnable measurements against peers; see README.md here. Never imported by the package."""
