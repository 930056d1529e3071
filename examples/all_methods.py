"""Every method on one generated slice, side by side.

python examples/all_methods.py methods.png
"""

from __future__ import annotations

import sys

import numpy as np

from tf_gradcam import Explainer, compare
from tf_gradcam.demo import CLASS_NAMES, load_demo_model, phantom_slices


def main(path: str) -> None:
    """Write the comparison on the largest tumour among the first slices, and say where its heat lies."""
    model = load_demo_model()
    phantom = phantom_slices(24, seed=7)
    chosen = int(phantom.masks.sum(axis=(1, 2)).argmax())
    image, mask = phantom.images[chosen], phantom.masks[chosen]
    comparison = compare(
        model, image, "all", layer="block5_conv3", photo=image.astype(np.uint8), class_names=CLASS_NAMES
    )
    comparison.figure.savefig(path, dpi=110)
    heatmap = Explainer(model, "block5_conv3")(image[None]).resized()[0]
    print(f"{CLASS_NAMES[phantom.labels[chosen]]}: {heatmap[mask].sum() / heatmap.sum():.0%} of Grad-CAM's heat in it")


if __name__ == "__main__":
    main(*sys.argv[1:])
