"""Eigen-CAM and related rules, which follow the direction in which the activations are largest.

Axis legend: B batch, H x W cells of the layer (any number of spatial axes), Z = H * W cells in all, C channels. For a
rule's arguments see `_rules.gradients`.
"""

from __future__ import annotations

import tensorflow as tf

from tf_gradcam._rules.contract import declares

# Squared singular values this close to the first, relative to it, count as equal: float32 cannot separate them.
_DEGENERATE = 1e-6


@declares(needs="activations")
def eigencam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Weigh each channel by its part in the strongest common pattern, independent of the class.

    Returns:
        (B, 1, 1, C) float32, the first right singular vector of the activations as a Z x C matrix: `first_component`.

    Source: Muhammad & Yeasin 2020, https://arxiv.org/abs/2008.00299. Deviation: the sign, which a singular vector
    leaves open, gives the map a positive sum.
    Cost: 1 forward pass and the eigenvectors of the smaller of Z x Z and C x C.
    """
    del gradients
    return first_component(activations)


def eigengradcam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Reduce the products of activation and gradient to their strongest common pattern.

    Returns:
        (B, H, W, C) float32: the gradients times the first right singular vector of G * A as a Z x C matrix.

    Source: implementation practice, https://github.com/jacobgil/pytorch-grad-cam. Deviation: not centred, and signed so
    that the map's sum is positive, as in `eigencam`.
    Cost: 1 forward pass, the tail's backward pass and the eigenvectors of the smaller of Z x Z and C x C.
    """
    return gradients * first_component(gradients * activations)


def first_component(features: tf.Tensor) -> tf.Tensor:
    """Return the first right singular vector of each image's features: the channel direction in which they are largest.

    Args:
        features: (B, H, W, C) float32, not centred; any number of spatial axes.

    Returns:
        (B, 1, 1, C) float32 unit vectors. The sign gives sum_k vector_k * features_k a positive sum over the cells; of
        several equally large directions, the vector in their span with the largest such sum is returned. Zero for zero
        features and for a sum of exactly zero, which leaves the sign open; NaN for features that are not finite.
    """
    shape = tf.shape(features)
    # The smaller Gram matrix costs a twentieth of a singular value decomposition at 49 x 2048. It squares the
    # features: float64 holds the squares of 1e-45 and 1e38, and no digit of the float32 features is lost.
    matrix = tf.reshape(tf.cast(features, tf.float64), [shape[0], -1, shape[-1]])
    is_finite = tf.reduce_all(tf.math.is_finite(matrix), axis=[1, 2], keepdims=True)
    matrix = tf.where(is_finite, matrix, 0.0)

    def by_cells() -> tf.Tensor:
        gram = tf.linalg.matmul(matrix, matrix, transpose_b=True)
        ones = tf.ones_like(matrix[:, :, :1])
        return tf.linalg.matmul(matrix, _projected_on_leading(gram, ones), transpose_a=True)

    def by_channels() -> tf.Tensor:
        gram = tf.linalg.matmul(matrix, matrix, transpose_a=True)
        return _projected_on_leading(gram, tf.reduce_sum(matrix, axis=1)[:, :, None])

    direction = tf.cond(tf.shape(matrix)[1] <= shape[-1], by_cells, by_channels)
    direction = tf.math.divide_no_nan(direction, tf.norm(direction, axis=1, keepdims=True))
    direction = direction / tf.cast(is_finite, tf.float64)  # 0 / 0; tf.debugging stops at a constant of NaN
    ones = [1] * (len(features.shape) - 2)
    return tf.reshape(tf.cast(direction, tf.float32), [-1, *ones, features.shape[-1]])


def _projected_on_leading(gram: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """Project `vector` (B, n, 1) on the space of the largest eigenvalue of `gram` (B, n, n).

    With A the features, the map along v has the sum (A^T 1) . v. So A^T 1, projected on the first singular space, is
    the vector there with the largest sum, and no sign is left to choose; A^T times the projection of 1 is the same.
    """
    values, vectors = tf.linalg.eigh(gram)
    leads = values >= (1.0 - _DEGENERATE) * values[:, -1:]
    parts = tf.linalg.matmul(vectors, vector, transpose_a=True)
    return tf.linalg.matmul(vectors, tf.where(leads[:, :, None], parts, 0.0))
