"""A generator as files for others."""
