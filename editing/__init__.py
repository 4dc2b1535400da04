"""Generate and edit images with a trained model: codes, mixing, inversion, directions, image grids, animations."""
