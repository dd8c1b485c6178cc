"""Export commands of a checkout, `python -m export.NAME`; the library is `pixpro_tf.export`."""
