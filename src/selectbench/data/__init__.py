"""Data sets: fetching and checking published files, preparing canonical arrays, and reading them."""
