"""Numbers that say how good drawings are. They get tensors and callables, never model classes."""

from metrics.segmentation import class_areas, total_variation

__all__ = ["class_areas", "total_variation"]
