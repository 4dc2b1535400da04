"""Metrics of generated images and masks. They take tensors and callables, never model classes."""
