"""Rollout, gradient rollout and LeGrad in NumPy float64, image by image."""

from __future__ import annotations

import numpy as np


def rollout_twin(scores: list[np.ndarray]) -> np.ndarray:
    results = []
    for image in range(len(scores[0])):
        arrived = np.eye(scores[0].shape[-1])
        for layer in scores:
            mixed = 0.5 * sum(layer[image].astype(np.float64)) / layer.shape[1] + 0.5 * np.eye(layer.shape[-1])
            for row in mixed:
                row /= row.sum()
            arrived = mixed @ arrived
        results.append(arrived)
    return np.array(results)


def gradient_twin(scores: list[np.ndarray], gradients: list[np.ndarray]) -> np.ndarray:
    results = []
    for image in range(len(scores[0])):
        relevance = np.eye(scores[0].shape[-1])
        for layer, gradient in zip(scores, gradients, strict=True):
            heads = layer[image].astype(np.float64) * gradient[image]
            relevance = relevance + np.where(heads > 0, heads, 0).mean(axis=0) @ relevance
        results.append(relevance - np.eye(len(relevance)))
    return np.array(results)


def legrad_twin(gradients: list[np.ndarray]) -> np.ndarray:
    """(B, T): each positive gradient adds its share to the token that is looked at."""
    images, heads, tokens, _ = gradients[0].shape
    relevance = np.zeros((images, tokens))
    for layer in gradients:
        for image, head, row, column in np.ndindex(*layer.shape):
            relevance[image, column] += max(0.0, float(layer[image, head, row, column]))
    return relevance / (len(gradients) * heads * tokens)
