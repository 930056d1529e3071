"""How good a heatmap is: localisation, faithfulness, similarity of maps, confidence intervals."""

from tf_gradcam.metrics.faithfulness import deletion_auc, drop_percent, increase_percent, insertion_auc, road_score
from tf_gradcam.metrics.intervals import bootstrap_interval, wilson_interval
from tf_gradcam.metrics.localisation import (
    box_region,
    box_share,
    energy_in_box,
    energy_in_region,
    iou_at,
    pointing_hit,
    pointing_hit_in_region,
    sparsity,
)
from tf_gradcam.metrics.similarity import rank_correlations, structural_similarities

__all__ = [
    "bootstrap_interval",
    "box_region",
    "box_share",
    "deletion_auc",
    "drop_percent",
    "energy_in_box",
    "energy_in_region",
    "increase_percent",
    "insertion_auc",
    "iou_at",
    "pointing_hit",
    "pointing_hit_in_region",
    "rank_correlations",
    "road_score",
    "sparsity",
    "structural_similarities",
    "wilson_interval",
]
