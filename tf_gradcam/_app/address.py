"""The state of a window in the query of its address, and the query of an address read again.

Only what differs from the page's beginning is in it: "?sample=2&method=layercam&opacity=0.7".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from tf_gradcam._app.controls import NOTHING, TOP, class_choices, look_of, question_of, target_choices
from tf_gradcam._app.model import DETECT, AppModel
from tf_gradcam._app.question import EVERYWHERE, POINT, REGION, Question, box_number
from tf_gradcam._models.preprocessing import MODES, PREPROCESSOR
from tf_gradcam._rules.table import METHODS
from tf_gradcam.image.overlay import HEAT, Look

TABS = ("explore", "compare", "layers", "batch")
MAX_QUERY = 2000  # characters; a query of this page has 200
_NAMES = (
    *("sample", "picture", "layer", "method", "target", "against", "pixels", "above", "near", "where"),
    *("opacity", "threshold", "colours", "tab"),
)


class AddressState(NamedTuple):
    """The state that an address asks for.

    Attributes:
        sample: number of a sample, from 1, or None.
        picture: name of an uploaded picture in its session, or None.
        problem: what is wrong with it, and what is shown in its place; "" for nothing.
    """

    sample: int | None
    picture: str | None
    question: Question
    look: Look
    tab: str
    problem: str


def query_of(
    model: AppModel,
    question: Question,
    sample: int | None,
    picture: str | None,
    look: Look | None = None,
    tab: str = "",
) -> str:
    """Return the query of a state, "" for the page's beginning.

    Args:
        sample, picture: as in `AddressState`; the first sample is where the page begins.
        look, tab: None and "" for the usual ones.
    """
    usual, look, where = model.default_question, look or Look(), question.where
    point = "" if isinstance(where, str) else ",".join(f"{100 * share:g}" for share in where)
    values = {
        "sample": sample if sample != 1 else None,
        "picture": picture,
        "layer": _unless(question.layer, usual.layer),
        "method": _unless(question.method, usual.method),
        "target": question.target,
        "against": question.against,
        "pixels": _unless(question.mode, usual.mode),
        "above": _unless(question.above, model.threshold),
        "near": question.near,
        "where": point or _unless(where, REGION),
        "opacity": _unless(look.alpha, Look.alpha),
        "threshold": _unless(look.threshold, Look.threshold),
        "colours": _unless(look.colormap or HEAT, HEAT),
        "tab": _unless(tab or TABS[0], TABS[0]),
    }
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in values.items()}
    return urlencode({name: value for name, value in shown.items() if value is not None}, safe=",/")


def _unless(value: object, usual: object) -> object:
    return None if value == usual else value


def read_query(query: str, model: AppModel, samples: int) -> AddressState:
    """Read a query; what the page cannot do is left as it is at the beginning, and said.

    Args:
        samples: how many there are.
    """
    try:
        given = dict(parse_qsl(query[:MAX_QUERY].lstrip("?"), keep_blank_values=True, max_num_fields=len(_NAMES) + 6))
    except ValueError:  # more fields than there are names
        given = {"": query}
    given = {name: value for name, value in given.items() if not name.startswith("__")}  # Gradio's own
    wrong = {name: value for name, value in given.items() if name not in _NAMES}

    def chosen(name: str, offered: Mapping[str, object], usual: object) -> object:
        """Return what a text of the query means, of all that is offered."""
        text = given.get(name)
        if text is not None and text not in offered:
            wrong[name] = text
        return offered.get(text, usual) if text is not None else usual

    def number(name: str, most: float, usual: float) -> float:
        try:
            value = float(given.get(name, usual))
        except ValueError:
            value = -1.0
        if not 0 <= value <= most:
            wrong[name] = given[name]
        return value if 0 <= value <= most else usual

    usual = model.default_question
    sample = chosen("sample", {str(each): each for each in range(1, samples + 1)}, 1 if samples else None)
    layers = {row.path: row.path for row in model.layers}
    classes = {str(value): value for _, value in class_choices(model)}
    target = given.get("target", "")
    boxes = {target: target} if model.task.name == "detection" and box_number(target) is not None else {}
    targets = {str(value): value for _, value in target_choices(model) if value != TOP}
    modes = {mode: mode for mode in (*MODES, PREPROCESSOR, DETECT)}
    values = [
        chosen("layer", {**layers, usual.layer: usual.layer}, usual.layer),
        chosen("method", {method: method for method in METHODS}, usual.method),
        chosen("target", {**targets, **boxes}, TOP),
        chosen("against", classes, NOTHING),
        chosen("pixels", modes, usual.mode),
        number("above", 1, model.threshold),
    ]
    rest = [given.get("near"), *_where(given.get("where", REGION))]
    try:
        question = question_of(*values, *rest)  # type: ignore[arg-type]
    except ValueError:  # a reference or a place
        wrong.update({name: given[name] for name in ("near", "where") if name in given})
        question = question_of(*values)  # type: ignore[arg-type]
    colours = given.get("colours")
    alpha, threshold = number("opacity", 1, Look.alpha), number("threshold", 1, Look.threshold)
    try:
        look = look_of(alpha, threshold, colours)
    except ValueError:
        wrong["colours"] = str(colours)
        look = look_of(alpha, threshold, None)
    tab = chosen("tab", {tab: tab for tab in TABS}, TABS[0])
    picture = given.get("picture")
    return AddressState(None if picture else sample, picture, question, look, str(tab), _problem(wrong))  # type: ignore[arg-type]


def _where(text: str) -> tuple[str | None, float | None, float | None]:
    """Return the place, and its point in percent."""
    across, comma, down = text.partition(",")
    if not comma:
        return (text if text in (REGION, EVERYWHERE) else "?"), 50, 50
    try:
        return POINT, float(across), float(down)
    except ValueError:
        return POINT, None, None


def _problem(wrong: dict[str, str]) -> str:
    if not wrong:
        return ""
    named = ", ".join(f"{name} '{value if len(value) <= 40 else value[:37] + '...'}'" for name, value in wrong.items())
    return f"The address asks for what this model and page do not have: {named}. The usual is shown instead."
