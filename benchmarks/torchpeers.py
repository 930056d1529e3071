"""Libraries for PyTorch, relative to PyTorch's forward pass of torchvision's model with random weights.

Layouts are PyTorch's: images (B, 3, H0, W0) float32. PyTorch is imported when one of these is built.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from benchmarks.pairs import Call

FORWARD = "F of PyTorch"
CLASS = 3


def model_and_layer(name: str, path: str, images: np.ndarray) -> tuple[Any, Any]:
    """Return torchvision's model for inference, normalised like the Keras models, and the explained layer.

    As it comes, values fade from block to block, and gradients of numbers next to zero take another time.
    """
    import torch
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).train()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momentums = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # what one pass finds is taken as it is
    with torch.no_grad():
        model(torch.from_numpy(images))
    for norm, momentum in zip(norms, momentums, strict=True):
        norm.momentum = momentum
    return model.eval(), model.get_submodule(path)


def forward(model: Any, images: np.ndarray) -> Call:
    import torch

    tensor = torch.from_numpy(images)

    def call() -> np.ndarray:
        with torch.inference_mode():
            return model(tensor).numpy()

    return call


def grad_cam(model: Any, layer: Any, images: np.ndarray) -> Call:
    """Return a call of pytorch-grad-cam; it always upsamples to the image."""
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    explainer, tensor = GradCAM(model, [layer]), torch.from_numpy(images)
    targets = [ClassifierOutputTarget(CLASS)] * len(images)
    return lambda: explainer(tensor, targets)


def torchcam(model: Any, layer: Any, images: np.ndarray) -> Call:
    import torch
    from torchcam.methods import GradCAM

    tensor = torch.from_numpy(images)

    def call() -> np.ndarray:
        # Its hooks are laid anew each time: left in place they would slow down the others on this model.
        with GradCAM(model, layer) as extractor:
            outputs = model(tensor)
            return extractor([CLASS] * len(images), outputs)[0].numpy()

    return call


def captum(model: Any, layer: Any, images: np.ndarray) -> Call:
    import torch
    from captum.attr import LayerGradCam

    explainer, tensor = LayerGradCam(model, layer), torch.from_numpy(images)
    targets = torch.full((len(images),), CLASS)
    return lambda: explainer.attribute(tensor, target=targets, relu_attributions=True).detach().numpy()


def ablation_cam(model: Any, layer: Any, images: np.ndarray) -> Call:
    """Return a call of pytorch-grad-cam's Ablation-CAM, without its progress bar."""
    import torch
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    explainer, tensor = AblationCAM(model, [layer]), torch.from_numpy(images)
    targets = [ClassifierOutputTarget(CLASS)] * len(images)

    def call() -> np.ndarray:
        with contextlib.redirect_stderr(io.StringIO()):
            return explainer(tensor, targets)

    return call


PEERS = {
    "pytorch-grad-cam": ("pytorch_grad_cam", grad_cam),
    "torchcam": ("torchcam", torchcam),
    "captum": ("captum", captum),
}
