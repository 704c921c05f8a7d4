"""Records: what is remembered of runs, and the files, leases and progress notes that keep it safe."""
