"""The fine-tuning of VGG16 for dog breeds: first the new head, then the last block too, at a lower rate.

    python -m training.dog_breeds --data DIR --out RUN

DIR holds a folder for each breed. The model keeps VGG16's own classifier, so the published call works on it:

    make_gradcam_heatmap(image, model, "block5_conv3", ["block5_pool", "flatten", "fc1", "fc2", "dense"])

Made for a GPU, on which it was not run yet. Measured on 2 CPU cores with MobileNet (0.75, 224 pixels) in its place, on
15 breeds: 2.9 minutes, accuracy 0.935 (0.927 to 0.950 over three seeds); docs/training.md has the command. Offline, and
in a minute on a CPU:

    python -m training.dog_breeds --data phantom --out RUN
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import help_text
from .config import DataConfig, Stage, TrainingConfig
from .options import main as run

DATA = DataConfig(data="")
TRAINING = TrainingConfig(
    backbone="VGG16",
    stages=(
        Stage("head", epochs=10, unfreeze=0, learning_rate=1e-4),
        Stage("last block", epochs=5, unfreeze=1, learning_rate=1e-5),
    ),
    layers=("block5_conv3", "block4_conv3"),
)


def main(words: Sequence[str] | None = None) -> int:
    """Train with the options of the command line; return the exit code."""
    return run(help_text(__doc__), DATA, TRAINING, words)


if __name__ == "__main__":
    sys.exit(main())
