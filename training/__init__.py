"""Training: the trainer, its steps, and the state that they change."""
