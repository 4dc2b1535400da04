"""Ids of the 13 classes (spec section 6) by name, for the drawing code."""

from datasets.labels import celebamask13

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
) = range(celebamask13().num_classes)

FACE = (SKIN, NOSE)
FLESH = (SKIN, NOSE, EAR, NECK)
