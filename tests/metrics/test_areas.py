from metrics.areas import proportion


def test_classes_in_proportion():
    real = {"skin": 0.5, "hair": 0.3, "eye": 0.2, "hat": 0.0}
    assert proportion({"skin": 0.26, "hair": 0.6, "eye": 0.14, "hat": 0.0}, real) == (
        3,
        "of 3 classes have half to twice their area in the data",
    )
    assert proportion({"skin": 0.24, "hair": 0.67, "eye": 0.0, "hat": 0.09}, real) == (
        0,
        "of 3 classes have half to twice their area in the data; less: skin, eye; more: hair",
    )
