"""Records of runs, and the files, locks and progress notes around them."""
