"""The fine-tuning of EfficientNetV2-S for four classes of brain MRI slices.

    python -m training.brain_mri --data DIR --out RUN

DIR holds glioma/, meningioma/, notumor/ and pituitary/ (Kaggle: masoudnickparvar/brain-tumor-mri-dataset). The
published run, which this one repeats: 384 pixels, ImageNet's weights, batch 32, Adam at 1e-4, weight decay 5e-4, 25
epochs in 16 bit, everything frozen except stage 6, the top and the head; validation accuracy 0.9656, loss 0.1259 on a
split with twins. It needs a GPU and has not been run on one yet. Measured on 2 CPU cores with MobileNet (0.75, 224
pixels, float32, 10 epochs) instead: 5.6 minutes, accuracy 0.948 (0.931 to 0.966 over three seeds) on a clean split;
docs/training.md has the commands and more. Offline, and in a minute on a CPU:

    python -m training.brain_mri --data phantom --out RUN
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import help_text
from .config import DataConfig, Stage, TrainingConfig
from .options import main as run

DATA = DataConfig(data="", image_size=384)
TRAINING = TrainingConfig(
    backbone="EfficientNetV2S",
    stages=(Stage("fine-tuning", epochs=25, unfreeze=2, learning_rate=1e-4),),
    precision="mixed_float16",
    layers=("top_activation", "block6f_add"),  # features.6.5 of torchvision: the sixth of 15 blocks of stage 6
)


def main(words: Sequence[str] | None = None) -> int:
    """Train with the options of the command line; return the exit code."""
    return run(help_text(__doc__), DATA, TRAINING, words)


if __name__ == "__main__":
    sys.exit(main())
