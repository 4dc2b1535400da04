"""Images with class masks: reading, preparing and augmenting data sets, and an embedded data set of faces."""
