"""Pixels: load, save, resize, paint a heatmap over a photo, regions of a heatmap."""

from tf_gradcam.image.io import Photo, load_image, save_image
from tf_gradcam.image.overlay import overlay_heatmap, to_photo
from tf_gradcam.image.regions import Box, hot_pixels
from tf_gradcam.image.resize import resize_heatmaps

__all__ = ["Box", "Photo", "hot_pixels", "load_image", "overlay_heatmap", "resize_heatmaps", "save_image", "to_photo"]
