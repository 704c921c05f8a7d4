"""Evidence: results packaged so that others can cite, check and reuse them."""
