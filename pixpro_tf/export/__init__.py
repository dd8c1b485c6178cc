"""Backbones for their consumers: one library function and one command each."""
