"""Parts of the procedural faces; `datasets.synthetic_faces.draw_face` puts them together.

Coordinates everywhere: the unit square, x to the right, y down, of an upright face looking out of the picture. The
canvas turns, scales and shifts it (the pose). `side` is -1 for the left half of the picture and +1 for the right.
"""
