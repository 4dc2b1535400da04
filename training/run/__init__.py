"""Reliability of a training run: folder, lock, checkpoints, logs, stop reasons, and checks for bad numbers."""
