"""Export of a backbone to the TF Object Detection API: checkpoint, pipeline.config, label map and TFRecords."""
