"""Layer 3: searches for good networks, without bounds."""
