"""Extensions of Matplotlib's figure and colour norm; imported only where a figure is made."""

from __future__ import annotations

import base64
import html
import io
import os
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from tf_gradcam.image.overlay import DEFAULT_LOOK, Look, colors_of

_VECTOR = {"pdf", "svg", "svgz", "eps", "ps"}
_VECTOR_DPI = 300  # of the photos and maps in them, as journals ask for
_TEXT_AS_TEXT = {"svg.fonttype": "none", "pdf.fonttype": 42, "ps.fonttype": 42}
_CSS_PIXELS, _DOTS_PER_PIXEL = 96, 1.5  # of a page's inch; of the picture
_MAX_SIDE = 30_000  # pixels; renderers end at 65,536
_ALT_LENGTH = 400  # letters


class NotebookFigure(Figure):
    """A Matplotlib figure whose text stays text in .pdf, .svg and .eps, and that a notebook shows without pyplot."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure with Matplotlib's options; photos in vector files have 300 dpi by default."""
        ending = os.path.splitext(fname)[1] if isinstance(fname, (str, os.PathLike)) else ""
        if str(options.get("format") or ending).lower().lstrip(".") in _VECTOR:
            options.setdefault("dpi", _VECTOR_DPI)
        with rc_context(_TEXT_AS_TEXT):
            super().savefig(fname, **options)

    def _repr_html_(self) -> str:
        """Return the picture at its size on paper, with its texts for screen readers."""
        width, height = self.get_size_inches()
        stream = io.BytesIO()
        dpi = min(_CSS_PIXELS * _DOTS_PER_PIXEL, _MAX_SIDE / max(width, height))
        self.savefig(stream, format="png", dpi=dpi)
        picture = base64.b64encode(stream.getvalue()).decode("ascii")
        texts = "; ".join(text.get_text() for text in self.texts)
        return (
            f'<img alt="{html.escape(texts[:_ALT_LENGTH])}" width="{width * _CSS_PIXELS:.0f}" style="max-width: 100%" '
            f'src="data:image/png;base64,{picture}">'
        )


class NearestColor(Normalize):
    """A norm that rounds to the nearest colour, as overlays do; Matplotlib's own cuts its range into equal parts.

    The first of `count` colours has the value `lowest`, -1 or 0, the last has 1.
    """

    def __init__(self, lowest: float, count: int):
        super().__init__(lowest, 1.0)
        self._steps = count - 1

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        return np.round(super().__call__(value, clip) * self._steps) / self._steps


def color_scale(signed: bool, look: Look = DEFAULT_LOOK) -> tuple[ListedColormap, NearestColor]:
    """Return a colour map and a norm that give a value its colour in `colors_of`."""
    colors = colors_of(signed, look)
    return ListedColormap((colors / 255).tolist()), NearestColor(-1.0 if signed else 0.0, len(colors))
