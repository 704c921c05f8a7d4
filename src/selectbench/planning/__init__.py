"""Planning: from configuration to runs and the jobs that make them. Nothing here imports torch."""
