"""Results as NumPy arrays, without a framework."""
