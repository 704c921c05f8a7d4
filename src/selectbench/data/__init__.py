"""Data sets: fetching published files, checking them, preparing canonical arrays, reading these."""
