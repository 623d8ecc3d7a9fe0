"""The judgement: how good the samples are, and whether they are copies."""
