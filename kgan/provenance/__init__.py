"""The record: what is written into an image and beside it, and whether it holds together when it is read back."""
