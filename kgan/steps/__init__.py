"""One training step: objectives, gradients, optimizers, and the state that a step changes."""
