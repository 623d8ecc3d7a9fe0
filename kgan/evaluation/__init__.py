"""How good are the samples? Scores against real images, beside what real images score."""
