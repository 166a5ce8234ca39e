"""From when on a figure is told, and when drift is taken seriously: one answer for all that ask."""

LEAST = 50  # predictions, or labelled ones, below which there is no figure
LEAST_IN_BIN = 10  # labelled predictions below which a bin is no candidate for MCE
PSI_LIMIT = 0.2  # as is customary; below it a difference is too small to matter, however sure it is
