"""Matplotlib figures of heatmaps."""
