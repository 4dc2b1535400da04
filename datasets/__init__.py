"""Images with class masks: preparing, reading and augmenting data sets, and an embedded data set of faces."""
