"""Timings, run with ``make bench``; none of these are tests."""
