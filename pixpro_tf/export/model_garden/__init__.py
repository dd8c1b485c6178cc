"""A backbone for TF Model Garden: checkpoint, and experiments that start from it."""
