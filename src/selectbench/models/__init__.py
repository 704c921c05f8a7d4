"""Proxies and targets: small nets of our own, every timm model by name, and the weights they start from."""
