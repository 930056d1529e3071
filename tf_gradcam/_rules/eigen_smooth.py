"""Eigen smoothing of a rule: the strongest common pattern of its weighted activations."""

from __future__ import annotations

import functools

import tensorflow as tf

from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.eigen import first_component
from tf_gradcam._rules.table import MethodName, find_method, needs_of


def eigen_smooth(rule: MethodName | Rule) -> Rule:
    """Return a rule that reduces another rule's weighted activations to their strongest common pattern.

        Explainer(model, method=eigen_smooth("gradcam_pp"))

    Args:
        rule: a key of `METHODS`, or a callable of the same contract, that weighs activations.

    Returns:
        A rule of the same contract and needs: the weights times the first right singular vector, over channels, of
        weights * activations as a matrix of cells by channels, signed so that the map's sum is positive. On its first
        use it raises ValueError if `rule` returns the map itself.

    Raises:
        TypeError: neither a name nor a callable.
        ValueError: an unknown name; a rule that runs the model or the whole network.

    Source: implementation practice, https://github.com/jacobgil/pytorch-grad-cam. Deviation: not centred.
    Cost: as the rule, and the eigenvectors of the smaller of cells x cells and channels x channels.
    """
    name, plain = find_method(rule)
    if needs_of(plain) in ("probing", "network"):
        raise ValueError(
            f"Expected a rule of activations and gradients, received '{name}', which runs the model by itself. Average "
            "its maps with smooth(Explainer(model, method=...)) instead."
        )

    @functools.wraps(plain)
    def smoothed(activations: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        weights = plain(activations, *others)
        if weights.shape.rank < activations.shape.rank:
            raise ValueError(
                f"Expected a rule that weighs activations, received '{name}', which returns the map itself, without "
                "channels. Use it without eigen_smooth."
            )
        return weights * first_component(weights * activations)

    smoothed.__name__ = f"eigen_smooth({name})"
    smoothed.__doc__ = f"Reduce the weighted activations of {name} to their strongest common pattern."
    return smoothed
