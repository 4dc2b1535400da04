"""Measurement of a generator against a data set, during training and offline."""
