"""Training: how a model is trained on a pool or a subset, encoded, evaluated and recorded."""
