"""What keeps a training run alive: folder, lock, checkpoints, logs, stopping, and guards."""
