"""The record: what is written into an image, and the cards of data set and model."""
