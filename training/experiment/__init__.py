"""Experiments: methods x data sets x seeds from one recipe, resumable, with one report."""
