"""Data sets: their sources, licences, hashes, formats and the tf.data pipeline."""
