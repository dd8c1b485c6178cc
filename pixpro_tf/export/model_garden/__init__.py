"""Export of a backbone to TF Model Garden: a checkpoint, and experiments that start from it."""
