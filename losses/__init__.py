"""Terms of the training objective. They take tensors and callables, never model classes."""
