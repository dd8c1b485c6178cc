"""Comparison of backbones by the same evaluation of each."""
