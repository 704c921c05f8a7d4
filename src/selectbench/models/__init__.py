"""Proxies and targets: the benchmark's own small networks, all timm models, and the weights they start from."""
