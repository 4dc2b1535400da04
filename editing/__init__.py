"""Generating and editing with a trained model: codes, mixing, inversion, directions, grids and animations."""
