"""May one train on these images? The licence on record, and the owners' opt-outs."""
