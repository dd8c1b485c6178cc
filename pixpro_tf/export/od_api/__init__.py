"""A backbone for the TF Object Detection API: checkpoint, pipeline.config, label map and records."""
