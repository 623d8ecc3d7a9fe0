"""Data sets: their sources, licences, formats, splits and the tf.data pipeline."""
