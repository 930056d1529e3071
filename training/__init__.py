"""Trainings that use tf_gradcam, each from data to heatmaps."""
