"""Where words come from: WordNet, files, filters; and which words overlap a class name."""
