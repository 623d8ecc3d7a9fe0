"""Images in: sources, licences, hashes, formats and the tf.data pipeline."""
