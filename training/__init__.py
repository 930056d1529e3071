"""Trainings that use tf_gradcam: each is a story from data to heatmaps."""
