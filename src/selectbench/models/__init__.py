"""Proxies and targets: small nets of our own and every timm model by name."""

from selectbench.models.factory import build_model, check_input, check_models, features_and_logits

__all__ = ["build_model", "check_input", "check_models", "features_and_logits"]
