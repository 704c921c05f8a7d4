"""Training: models trained on a pool or a subset, encoders, evaluation, and recording of signals."""
