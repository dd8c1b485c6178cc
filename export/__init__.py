"""Backbones for their consumers: one library function each, and a thin `python -m export.NAME`."""
