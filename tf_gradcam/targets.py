"""What is explained: one score per image out of what the tail returns.

Axis legend: B images, K classes. Outputs are the scores before a final softmax or sigmoid (logits), float32; a model of
several outputs gives them in its own structure. Any callable `outputs -> (B,)` is a target; a class is the common one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Target = Callable[[Any], Any]
