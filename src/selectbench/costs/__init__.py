"""Costs: what a plan costs before it runs, what it cost before, and why jobs would run now."""
