"""Reliability of a training run: its folder, lock, checkpoints, logs, reasons to stop, and guards."""
