"""Ids of the 13 classes by name, for the drawing code."""

(
    BACKGROUND,
    SKIN,
    EYE,
    BROW,
    MOUTH,
    NOSE,
    EAR,
    HAIR,
    NECK,
    CLOTH,
    GLASSES,
    HAT,
    EARRING,
) = range(13)

FACE = (SKIN, NOSE)
FLESH = (SKIN, NOSE, EAR, NECK)
