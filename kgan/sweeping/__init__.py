"""Sweeps: a training run for each cell of a grid of settings, and the table of what came out."""
