"""Clusters of a class's heatmaps: spectral relevance analysis.

Source: Lapuschkin et al. 2019, "Unmasking Clever Hans predictors", https://doi.org/10.1038/s41467-019-08987-4.
Deviations: heatmaps are compared at 16 x 16 cells by the Hellinger distance of their shares of heat, not by the
Euclidean distance of their values, so that the place of the heat counts and not its strength. The number of clusters,
at most 6, has the best mean silhouette and is not read from the eigenvalues; heatmaps that no number divides well stay
in one cluster.

Axis legend: N maps, H x W cells.
"""

from __future__ import annotations

import numpy as np

from tf_gradcam._errors import require
from tf_gradcam.image.opencv import opencv

_GRID_SIDE = 16  # cells per side at which heatmaps are compared
_MAX_CLUSTERS = 6
_SAMPLED_MAPS = 800  # heatmaps that are clustered; further ones join the nearest cluster
_MIN_MAPS = 10  # fewer heatmaps are one cluster
_MIN_SILHOUETTE = 0.3  # mean silhouette below which clusters are only a cut through one cloud
_NEIGHBOURS = 10  # nearest heatmaps that are connected in the graph, as in the paper's experiments


def heat_shares(heatmaps: np.ndarray) -> np.ndarray:
    """Divide each heatmap of (N, H, W) by the sum of its absolute values; a blank one stays zero."""
    maps = np.asarray(heatmaps, np.float32)
    total = np.abs(maps).sum(axis=(1, 2), keepdims=True)
    return np.divide(maps, total, out=np.zeros_like(maps), where=total > 0)


def repetition(heatmaps: np.ndarray) -> float:
    """Return the mean correlation of each heatmap with the mean of the others, in image coordinates.

    Args:
        heatmaps: (N, H, W), may be signed.

    Returns:
        float in [-1, 1]; NaN if fewer than two heatmaps have a pattern.
    """
    shares = heat_shares(heatmaps).reshape(len(heatmaps), -1)
    shares = shares[shares.max(axis=1) > shares.min(axis=1)]
    if len(shares) < 2:
        return float("nan")
    rest = (shares.sum(axis=0) - shares) / (len(shares) - 1)
    a, b = (part - part.mean(axis=1, keepdims=True) for part in (shares, rest))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.divide((a * b).sum(axis=1), norms, out=np.zeros_like(norms), where=norms > 0).mean())


def cluster(heatmaps: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Divide heatmaps into clusters, the cluster most unlike the rest first.

    Args:
        heatmaps: (N, H, W), at least 0; blank ones belong to no cluster.
        seed: of the sample and of k-means.

    Returns:
        Arrays of positions, one per cluster; a single one for fewer than 10 heatmaps.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    positions = np.flatnonzero(np.asarray(heatmaps).max(axis=(1, 2)) > 0)
    if len(positions) < _MIN_MAPS:
        return [positions] if len(positions) else []
    features = _features(np.asarray(heatmaps)[positions])
    generator = np.random.default_rng(seed)
    sample = np.sort(generator.permutation(len(features))[:_SAMPLED_MAPS])
    # Threads that wait for one another cost more than these few rows: 12 times as much, where cores are shared.
    with require("threadpoolctl", "audit").threadpool_limits(1):
        labels = _spectral(features[sample], seed)
    centres = np.stack([features[sample][labels == label].mean(axis=0) for label in np.unique(labels)])
    nearest = ((features[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
    nearest[sample] = np.unique(labels, return_inverse=True)[1]
    groups = [np.flatnonzero(nearest == label) for label in range(len(centres))]
    groups.sort(key=lambda group: -_unlikeness(features, group))
    return [positions[group] for group in groups if len(group)]


def _features(heatmaps: np.ndarray) -> np.ndarray:
    """Return (N, 256) roots of the shares of heat, so that Euclidean distances are Hellinger distances."""
    cv2 = opencv()
    grids = [
        cv2.resize(one.astype(np.float32), (_GRID_SIDE, _GRID_SIDE), interpolation=cv2.INTER_AREA) for one in heatmaps
    ]
    soft = [cv2.GaussianBlur(grid, (0, 0), 0.7) for grid in grids]
    return np.sqrt(heat_shares(np.stack(soft))).reshape(len(heatmaps), -1)


def _spectral(features: np.ndarray, seed: int) -> np.ndarray:
    """Return a label per heatmap, by k-means on the graph's first eigenvectors (Ng, Jordan & Weiss 2002)."""
    sklearn_cluster, sklearn_metrics = require("sklearn.cluster", "audit"), require("sklearn.metrics", "audit")
    eigenvectors = _eigenvectors(_affinity(features))
    best, labels = _MIN_SILHOUETTE, np.zeros(len(features), np.int64)
    for count in range(2, _MAX_CLUSTERS + 1):
        rows = eigenvectors[:, :count]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        found = sklearn_cluster.KMeans(count, n_init=5, random_state=seed).fit_predict(rows)
        if len(np.unique(found)) == count:
            silhouette = float(sklearn_metrics.silhouette_score(features, found))
            if silhouette > best:
                best, labels = silhouette, found
    return labels


def _affinity(features: np.ndarray) -> np.ndarray:
    """Return (N, N) symmetric: 1 for mutual neighbours, 1/2 for one-sided ones, a trace for all others."""
    distances = ((features[:, None] - features[None]) ** 2).sum(axis=-1)
    count = min(_NEIGHBOURS, len(features) - 1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : count + 1]
    graph = np.zeros_like(distances)
    np.put_along_axis(graph, nearest, 1.0, axis=1)
    return (graph + graph.T) / 2 + 1e-3 / len(features)


def _eigenvectors(affinity: np.ndarray) -> np.ndarray:
    """Return (N, 6) eigenvectors of the normalised Laplacian's smallest eigenvalues."""
    degree = 1 / np.sqrt(affinity.sum(axis=1))
    laplacian = np.eye(len(affinity)) - degree[:, None] * affinity * degree
    return np.linalg.eigh(laplacian)[1][:, :_MAX_CLUSTERS]


def _unlikeness(features: np.ndarray, group: np.ndarray) -> float:
    """Return the distance between the cluster's mean and the mean of the rest."""
    rest = np.setdiff1d(np.arange(len(features)), group)
    if not len(rest) or not len(group):
        return 0.0
    return float(np.linalg.norm(features[group].mean(axis=0) - features[rest].mean(axis=0)))
