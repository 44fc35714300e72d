"""A teacher over the images of a data set: what it says, kept as a label set."""
