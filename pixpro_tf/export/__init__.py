"""Exports of backbones to other frameworks: one library function and one command each."""
