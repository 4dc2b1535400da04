"""Procedural faces: attributes, a canvas, and one module per group of facial parts.

`datasets.synthetic_faces.draw_face` draws a whole face. All coordinates are unit coordinates of an upright face:
x to the right and y down, both 0 to 1 across a square image; in other shapes, the unit is the shorter side, and the
unit square lies at the top of a tall image and in the middle of a wide one. The canvas applies the pose (rotation,
scale, shift).
`side` is -1 for the left half of the image and +1 for the right half.
"""
