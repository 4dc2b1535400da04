"""Data sets of images with class masks: preparing, reading, augmenting; and a data set of procedural faces."""
