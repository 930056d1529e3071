"""Weight rules of the CAM family: the weight of each activation for the score.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), C channels. A rule is one pure function
`(activations, gradients) -> weights` of float32 tensors (B, H, W, C); the gradients are those of the score before the
softmax. Its weights broadcast to the activations, and the map before relu is sum_k weights_k * activations_k; a rule
that is not a weighted sum returns that map itself, (B, H, W). A rule declares what it needs or requires beyond that;
one that needs activations alone receives None for the gradients, and gives every target the same map.
"""

from __future__ import annotations

import tensorflow as tf

from tf_gradcam._rules.contract import Rule as Rule
from tf_gradcam._rules.contract import declares

# A sum of activations below this fraction of the sum of their absolute values is unreliable: see xgradcam.
_CANCELLED = 0.1
_SEED_BITS = 31


@declares(requires="pooled linear tail")
def cam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each channel by its kernel entry in the Dense layer after global average pooling.

    The gradient there is the kernel entry divided by the number of cells, in every cell: its sum is the entry.

    Returns:
        (B, 1, 1, C) float32.

    Source: Zhou et al. 2016, eq. 2, https://arxiv.org/abs/1512.04150. Deviation: the kernel is read from the gradient,
    and the map passes a relu like all maps.
    Cost: 1 forward pass and the tail's backward pass.
    """
    del activations
    return tf.reduce_sum(gradients, axis=spatial_axes(gradients), keepdims=True)


def gradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each channel by its mean gradient over the cells.

    Returns:
        (B, 1, 1, C) float32.

    Source: Selvaraju et al. 2017, eq. 1, https://arxiv.org/abs/1610.02391. Deviation: none; per image, never pooled
    over the batch.
    Cost: 1 forward pass and the tail's backward pass.
    """
    del activations
    return tf.reduce_mean(gradients, axis=spatial_axes(gradients), keepdims=True)


def gradcam_pp(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each channel by its positive gradients, scaled down if many cells share the channel.

    The paper's a * relu(G) with a = G^2 / (2 G^2 + S G^3), S the channel's sum of activations, is relu(G) / (2 + S G):
    no power can overflow, and the denominator needs no epsilon. The map depends on the scale of the score.

    Returns:
        (B, 1, 1, C) float32.

    Source: Chattopadhay et al. 2018, eq. 19, https://arxiv.org/abs/1710.11063. Deviation: none; the factor exp(score)
    is left out, as it cancels when the map is normalised. Negative sums, which the paper's ReLU excludes, enter the
    same formula: it has a pole at S G = -2, and is 0 on the pole itself.
    Cost: 1 forward pass and the tail's backward pass.
    """
    axes = spatial_axes(gradients)
    sums = tf.reduce_sum(activations, axis=axes, keepdims=True)
    shares = tf.math.divide_no_nan(tf.nn.relu(gradients), 2.0 + sums * gradients)
    return tf.reduce_sum(shares, axis=axes, keepdims=True)


def xgradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each channel by the mean of its gradients, weighted by its activations.

    Returns:
        (B, 1, 1, C) float32.

    Source: Fu et al. 2020, https://arxiv.org/abs/2008.02312. Deviation: if a channel's activations nearly cancel,
    abs(sum A) at most a tenth of sum abs(A), Grad-CAM's plain mean is used. Activations of ReLU cannot cancel, those of
    SiLU and GELU do, and one channel divided by almost nothing would outweigh all others. So no weight exceeds ten
    times its channel's largest gradient, and gradients that are equal in all cells stay unchanged.
    Cost: 1 forward pass and the tail's backward pass.
    """
    axes = spatial_axes(gradients)
    sums = tf.reduce_sum(activations, axis=axes, keepdims=True)
    extents = tf.reduce_sum(tf.abs(activations), axis=axes, keepdims=True)
    weighted = tf.math.divide_no_nan(tf.reduce_sum(gradients * activations, axis=axes, keepdims=True), sums)
    plain = tf.reduce_mean(gradients, axis=axes, keepdims=True)
    return tf.where(tf.abs(sums) > _CANCELLED * extents, weighted, plain)


def hirescam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each activation by its own gradient: the map shows only cells that raise the score.

    Returns:
        (B, H, W, C) float32.

    Source: Draelos & Carin 2020, https://arxiv.org/abs/2011.08891. Deviation: none.
    Cost: 1 forward pass and the tail's backward pass.
    """
    del activations
    return gradients


def gradcam_elementwise(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Sum the positive products of activation and gradient: negative products do not lower a cell.

    Returns:
        (B, H, W) float32, the map itself.

    Source: implementation practice, https://github.com/jacobgil/pytorch-grad-cam. Deviation: none; there is no paper.
    Cost: 1 forward pass and the tail's backward pass.
    """
    return tf.reduce_sum(tf.nn.relu(gradients * activations), axis=-1)


def layercam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each activation by its own gradient if positive: sharp on shallow layers too.

    Returns:
        (B, H, W, C) float32.

    Source: Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943. Deviation: one layer; the paper's scaling of
    shallow layers belongs to their fusion.
    Cost: 1 forward pass and the tail's backward pass.
    """
    del activations
    return tf.nn.relu(gradients)


@declares(needs="curvature")
def shapleycam(activations: tf.Tensor, gradients: tf.Tensor, curvature: tf.Tensor) -> tf.Tensor:
    """Weigh each channel by its mean gradient less half of the curvature term of the activations.

    Args:
        activations: (B, H, W, C) float32, unused.
        gradients: (B, H, W, C) float32, of the score before the softmax.
        curvature: (B, H, W, C) float32, the Hessian of the score times the activations.

    Returns:
        (B, 1, 1, C) float32; Grad-CAM's for a piecewise linear tail, as with ReLU and logits.

    Source: Cai 2025, https://arxiv.org/abs/2501.06261. Deviation: the score is the logit; the paper's ReST utility is
    not built in, but can be a callable target.
    Cost: 1 forward pass and two backward passes of the tail.
    """
    del activations
    return tf.reduce_mean(gradients - 0.5 * curvature, axis=spatial_axes(gradients), keepdims=True)


@declares(needs="activations")
def fem(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Sum the means of the channels that are unusually strong in a cell, independent of the class.

    Returns:
        (B, H, W) float32, the map itself: sum_k mean_k where A_k > mean_k + 2 std_k (over all cells, not n - 1).

    Source: Fuad et al. 2020, https://doi.org/10.1109/IPTA50016.2020.9286629. Deviation: strictly above the threshold,
    so that a constant channel adds nothing.
    Cost: 1 forward pass.
    """
    del gradients
    axes = spatial_axes(activations)
    means = tf.reduce_mean(activations, axis=axes, keepdims=True)
    thresholds = means + 2.0 * tf.math.reduce_std(activations, axis=axes, keepdims=True)
    return tf.reduce_sum(tf.where(activations > thresholds, means, 0.0), axis=-1)


@declares(needs="activations")
def random(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each channel at random: the baseline that every method must beat.

    The seed of an image comes from its own activations (which of the first 31 channels is stronger than the channel
    before it), so it has the same weights in every batch and run. Other images have other weights, so that luck evens
    out: over 220 photographs with boxes the energy in the box varies by 0.01 from draw to draw, and by 0.04 if all
    images share one draw.

    Returns:
        (B, 1, 1, C) float32 in [-1, 1), uniform.

    Source: implementation practice, a baseline, https://github.com/jacobgil/pytorch-grad-cam. Deviation: seeded.
    Cost: 1 forward pass.
    """
    del gradients
    sums = tf.reduce_sum(activations, axis=spatial_axes(activations))
    # Comparisons, as the last digits of activations differ between batch sizes.
    stronger = tf.cast(sums > tf.roll(sums, 1, axis=-1), tf.int32)[:, :_SEED_BITS]
    powers = tf.constant([1 << bit for bit in range(_SEED_BITS)])[: tf.shape(stronger)[1]]
    channels = activations.shape[-1]

    def draw(seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform([channels], [seed, 0], -1.0, 1.0, alg="philox")

    weights = tf.map_fn(draw, tf.reduce_sum(stronger * powers, axis=-1), fn_output_signature=tf.float32)
    return tf.reshape(weights, [-1, *[1] * len(spatial_axes(activations)), channels])


@declares(needs="network")
def fullgrad(contributions: tf.Tensor) -> tf.Tensor:
    """Sum the contributions of the pixels and of the biases of every layer to the score, at their positions.

    Args:
        contributions: list of (B, H, W, C) float32: the pixels times their gradient first, then each spatial layer's
            bias times its gradient.

    Returns:
        (B, H0, W0) float32, the map itself, at the size of the pixels.

    Source: Srinivas & Fleuret 2019, https://arxiv.org/abs/1905.00780. Deviation: the absolute values of each layer are
    scaled to [0, 1] per image, as in the authors' code, without its epsilon; biases of layers without spatial
    axes (Dense after the pooling) have no position in the map.
    Cost: 1 forward pass and 1 backward pass of the whole model.
    """
    size = tf.shape(contributions[0])[1:-1]
    total = tf.zeros(())
    for terms in contributions:
        magnitudes = tf.abs(terms)
        axes = list(range(1, len(terms.shape)))
        low = tf.reduce_min(magnitudes, axis=axes, keepdims=True)
        span = tf.reduce_max(magnitudes, axis=axes, keepdims=True) - low
        scaled = tf.math.divide_no_nan(magnitudes - low, span)
        total += tf.image.resize(tf.reduce_sum(scaled, axis=-1, keepdims=True), size)[..., 0]
    return total


def spatial_axes(tensor: tf.Tensor) -> list[int]:
    """Return all axes but the first (images) and the last (channels)."""
    return list(range(1, len(tensor.shape) - 1))
