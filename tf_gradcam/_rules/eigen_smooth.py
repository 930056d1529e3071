"""Eigen smoothing: any rule that weighs activations, reduced to the strongest pattern in what it weighs."""

from __future__ import annotations

import functools

import tensorflow as tf

from tf_gradcam._rules.contract import Rule
from tf_gradcam._rules.eigen import first_component
from tf_gradcam._rules.table import MethodName, find_method, needs_of


def eigen_smooth(rule: MethodName | Rule) -> Rule:
    """A rule's products of weight and activation, reduced to their strongest common pattern.

        Explainer(model, method=eigen_smooth("gradcam_pp"))

    Args:
        rule: a key of `METHODS` or a callable of the same contract, that weighs activations.

    Returns:
        A rule of the same contract and needs: its weights times the first right singular vector, over channels, of
        weights * activations as a matrix of cells by channels, signed so that the map's sum is positive. Where it is
        first used it raises ValueError if `rule` returns the map itself.

    Raises:
        TypeError: neither a name nor a callable.
        ValueError: an unknown name; a rule that probes the model or the whole network.

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
                f"Expected a rule that weighs activations, received '{name}', which returns the map itself: it has no "
                "channels left to find a pattern in. Use it as it is."
            )
        return weights * first_component(weights * activations)

    smoothed.__name__ = f"eigen_smooth({name})"
    smoothed.__doc__ = f"The strongest common pattern of what {name} makes of the channels."
    return smoothed
