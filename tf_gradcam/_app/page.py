"""The controls of the web page, and their handlers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from tf_gradcam._app import gallery
from tf_gradcam._app.combobox import combobox
from tf_gradcam._app.controls import QUESTION, method_choices, settings, task_choices
from tf_gradcam._app.events import FIRST, READY, Events
from tf_gradcam._app.html import progress_html
from tf_gradcam._app.model import DETECT, AppModel, headline
from tf_gradcam._app.question import POINT
from tf_gradcam._app.session import MAX_SESSIONS, Sessions
from tf_gradcam._app.trail import SCRIPT as TRAIL_SCRIPT
from tf_gradcam._app.trail import trail_html
from tf_gradcam._app.view import view_of
from tf_gradcam._app.viewer import SCRIPT as VIEWER
from tf_gradcam._files.find import SUFFIXES
from tf_gradcam._models.file_kinds import MODEL_SUFFIXES
from tf_gradcam._models.loading import model_names
from tf_gradcam._models.preprocessing import MODES, PREPROCESSOR
from tf_gradcam.image.overlay import HEAT

COLORMAPS = (HEAT, "jet", "turbo", "viridis", "inferno", "magma", "hot", "bone", "PuOr", "coolwarm")
_COMPARED = ("gradcam", "gradcam_pp", "xgradcam", "hirescam", "layercam", "eigencam")
_MAX_HANDLERS = 32  # that wait for a model at the same time; each model runs one job
_HIDDEN = {"show_progress": "hidden", "api_visibility": "private"}
# Handlers that run a model begin in the order of their events. Gradio otherwise keeps a queue for each handler and
# takes from any of them first: on a busy machine the answer to an older choice would replace the newer one.
_IN_ORDER = {**_HIDDEN, "concurrency_id": "model"}
_HEADING = '<h2 class="tg-unseen">{}</h2>'  # for screen readers, which go from heading to heading


class Page:
    """The page of a set of sessions, made of the module `gradio`; `blocks` is its `gradio.Blocks`."""

    def __init__(self, gradio: ModuleType, sessions: Sessions):
        self._gr = gradio
        self._sessions = sessions
        self._events = Events(sessions, gradio.update)
        self.blocks = gradio.Blocks(title="tf-gradcam", analytics_enabled=False, delete_cache=(600, 3600))
        with self.blocks:
            self._build(sessions.model)
            self._wire()
        self.blocks.queue(max_size=MAX_SESSIONS, default_concurrency_limit=_MAX_HANDLERS)
        # Gradio keeps the state of 10,000 windows, and the unread answers of 2,000, each with the pictures in it.
        self.blocks.state_session_capacity = MAX_SESSIONS
        self.blocks._queue.pending_messages_per_session.max_size = MAX_SESSIONS

    def _html(self, value: str = "", **options: Any) -> Any:
        """Create HTML that only our own style sheet applies to."""
        return self._gr.HTML(value, apply_default_css=False, **options)

    def _build(self, model: AppModel) -> None:
        gr = self._gr
        self._settings = settings(model, model.default_question)
        with gr.Column(elem_id="tg-head"):
            self._html("<h1>tf-gradcam</h1><p>See what a prediction rests on. Nothing leaves this machine.</p>")
            self.headline = self._html(headline(model))
            self._build_model(model)
        with gr.Row(elem_id="tg-main"):
            with gr.Column(elem_id="tg-pick"):
                self._html(_HEADING.format("Picture"))
                self._build_picture()
            with gr.Column(elem_id="tg-set"):  # before the results, as it is read and reached by the Tab key
                self._html(_HEADING.format("Question"))
                self._build_question()
                self._build_look()
            with gr.Column(elem_id="tg-out"):
                self._html(_HEADING.format("Result"))
                self._build_results(model)

    def _build_picture(self) -> None:
        gr = self._gr
        self.file = gr.File(label="Picture", file_types=list(SUFFIXES), height=120, elem_id="tg-file")
        self.samples = []
        if self._sessions.samples:
            self._html('<p class="tg-label">or a generated slice, with its true class:</p>')
            with gr.Row(elem_id="tg-samples"):
                self.samples = [
                    gr.Button(sample.label, icon=str(sample.path), size="sm", elem_id=f"tg-sample-{number}")
                    for number, sample in enumerate(self._sessions.samples)
                ]
        for button in self.samples:  # Gradio removes other old files while the page runs
            button.keep_in_cache.add(button.icon["path"])

    def _build_question(self) -> None:
        gr, own = self._gr, self._settings
        self.layer = combobox(gr, **own["layer"], label="Layer", elem_id="tg-layer")
        methods = [(choice.label, choice.name) for choice in method_choices()]
        about = self._events.about("gradcam")
        self.method = combobox(gr, methods, "gradcam", "Method", info=about, elem_id="tg-method")
        self.target = combobox(gr, **own["target"], elem_id="tg-class")
        self.against = combobox(gr, **own["against"], label="Against", elem_id="tg-against")
        self.above = gr.Slider(0, 1, step=0.01, **own["above"], elem_id="tg-above")
        near = "Near (a value to compare with, or nothing)"
        self.near = gr.Textbox(**own["near"], label=near, max_length=40, elem_id="tg-near")
        self.where = gr.Radio(**own["where"], label="Where", elem_id="tg-where")
        with gr.Row(elem_id="tg-point"):
            limits = {"minimum": 0, "maximum": 99.99, "step": 0.01, "min_width": 80}
            self.across = gr.Number(**own["across"], **limits, label="Across, %", elem_id="tg-across")
            self.down = gr.Number(**own["down"], **limits, label="Down, %", elem_id="tg-down")

    def _build_look(self) -> None:
        gr = self._gr
        with gr.Accordion("Opacity, threshold, colours", elem_id="tg-look"):  # the script closes it on a narrow screen
            self.alpha = gr.Slider(0, 1, 0.4, step=0.05, label="Opacity of the map", elem_id="tg-alpha")
            threshold = "Threshold, relative to the map's maximum"
            self.threshold = gr.Slider(0, 0.95, 0, step=0.05, label=threshold, elem_id="tg-threshold")
            colors = [(name, name) for name in COLORMAPS]
            self.colormap = combobox(gr, colors, HEAT, "Colours", elem_id="tg-colors")

    def _build_model(self, model: AppModel) -> None:
        gr, own = self._gr, self._settings
        names = [(f"{model.title} (at the start)", FIRST), *((name, name) for name in model_names())]
        with gr.Accordion("Change model", open=False, elem_id="tg-model"), gr.Row(elem_id="tg-model-parts"):
            with gr.Column():
                self.network = combobox(gr, names, FIRST, "Network of keras.applications", elem_id="tg-network")
                weights = [("ImageNet, downloaded once", "imagenet"), ("none (random)", "none")]
                self.weights = gr.Radio(weights, value="imagenet", label="Weights", elem_id="tg-weights")
                self.load = gr.Button("Load this network", elem_id="tg-load")
            with gr.Column():
                self.model_file = gr.File(
                    label="or your own model (.keras, .h5, .zip)",
                    file_types=[*MODEL_SUFFIXES, ".model", ".zip"],
                    height=130,
                    elem_id="tg-model-file",
                )
                self.names_file = gr.File(
                    label="Class names (.txt, .json)", file_types=[".txt", ".json"], height=130, elem_id="tg-names"
                )
            with gr.Column():
                modes = [(f"{mode}: {MODES[mode].meaning}", mode) for mode in MODES]
                modes.append(("preprocessor: as the model's own preprocessor makes them (keras_hub)", PREPROCESSOR))
                modes.append(("detect: find them from the picture, or from those of Batch", DETECT))
                self.mode = combobox(gr, modes, **own["mode"], label="Pixel values", elem_id="tg-mode")
                self.task = combobox(gr, task_choices(), **own["task"], label="Task", elem_id="tg-task")
                self.unit = gr.Textbox(**own["unit"], label="Unit, such as years", max_length=40, elem_id="tg-unit")
                decode = "Boxes are written as, such as center_xywh (empty: read from their values)"
                self.decode = gr.Textbox(**own["decode"], label=decode, max_length=80, elem_id="tg-decode")

    def _build_results(self, model: AppModel) -> None:
        gr = self._gr
        start = view_of(self._sessions.start)  # in the page itself, so that a map is there at once
        with gr.Row(elem_id="tg-bar-row"):
            self.status = self._html(READY, elem_id="tg-status")
            self.stop = gr.Button("Stop", size="sm", elem_id="tg-stop")
        with gr.Tabs() as self.tab_list:
            with gr.Tab("Explore", id="explore", elem_id="tg-tab-explore") as explore:
                self.judge = gr.Button("Judge this map", size="sm", elem_id="tg-judge")
            with gr.Tab("Compare", id="compare", elem_id="tg-tab-compare") as compare:
                methods = [(choice.label, choice.name) for choice in method_choices()]
                self.methods = gr.CheckboxGroup(methods, value=list(_COMPARED), label="Methods", elem_id="tg-methods")
                self.compare = gr.Button("Compare", variant="primary", elem_id="tg-compare")
            with gr.Tab("Layers", id="layers", elem_id="tg-tab-layers") as layers:
                self.layers = combobox(gr, **self._settings["layers"], label="Layers", elem_id="tg-layers")
                self.deepen = gr.Button("Explain these layers", variant="primary", elem_id="tg-deepen")
            with gr.Tab("Batch", id="batch", elem_id="tg-tab-batch") as batch:
                self.files = gr.File(
                    label="Pictures", file_count="multiple", file_types=list(SUFFIXES), height=160, elem_id="tg-files"
                )
                self.run = gr.Button("Explain all", variant="primary", elem_id="tg-run")
        self.tabs = {"explore": explore, "compare": compare, "layers": layers, "batch": batch}
        self.view = self._html(start.html, elem_id="tg-view", js_on_load=gallery.SCRIPT + VIEWER)
        self.trail = self._html(trail_html(self._sessions.start), elem_id="tg-trail", js_on_load=TRAIL_SCRIPT)
        with gr.Accordion("Python code for this picture", open=False):
            self.lines = gr.Code(
                start.lines,
                language="python",
                interactive=False,
                label="Python",
                buttons=["copy"],  # its file is among the downloads
                elem_id="tg-lines",
            )

    def _wire(self) -> None:
        events, own, showing = self._events, self._own, self._showing
        question = [getattr(self, name) for name in QUESTION]
        shown = [self.view, self.lines, self.trail]
        result = [self.status, *shown]
        working = {"trigger_mode": "multiple", **_IN_ORDER}  # a new job cancels the old one
        at_once = {"queue": False, **_HIDDEN}
        close = self._sessions.close_window
        self.blocks.unload(self._asking(lambda request: close(request.session_hash or "")))

        def explained(event: Any) -> None:
            event.then(own(events.boxes), self.target, self.target, **at_once)

        for control in (self.layer, self.method, self.target, self.against, self.mode, self.above, self.where):
            explained(control.input(showing(events.explain), question, result, **working))
        for control in (self.across, self.down):
            typed = control.submit(own(lambda token: POINT), None, self.where, **at_once)
            explained(typed.then(showing(events.explain), question, result, **working))
        explained(self.near.submit(showing(events.explain), question, result, **working))
        picked = self.view.select(
            self._own(events.pick, said=("pick", "x", "y")),
            self.target,
            [self.target, self.where, self.across, self.down, self.layer, self.tab_list],
            **at_once,
        )
        explained(picked.then(showing(events.explain), question, result, **working))
        opened = self.view.submit(own(events.open, said=("open",)), None, [*question, self.tab_list], **at_once)
        explained(opened.then(showing(events.again), question, result, **working))
        self.view.click(showing(events.place, said=("x", "y")), None, result, **working)
        self.judge.click(showing(events.judge), None, result, **working)
        self.method.change(own(events.describe), self.method, self.method, **at_once)
        explained(self.file.upload(showing(events.upload), [self.file, *question], [self.file, *result], **working))
        for number, button in enumerate(self.samples):
            button.click(showing(partial(events.sample, number)), question, result, **working)
        self.stop.click(own(events.stop), None, None, **at_once)
        self.compare.click(showing(events.compare), [self.methods, *question], result, **working)
        self.deepen.click(showing(events.layers), [self.layers, *question], result, **working)
        self.run.click(showing(events.batch), [self.files, *question], [self.files, *result], **working)
        for event in (self.files.upload, self.methods.input, self.layers.input):  # an error before is answered by it
            event(lambda: READY, None, self.status, **at_once)
        for control in (look := [self.alpha, self.threshold, self.colormap]):
            control.input(showing(events.paint), look, shown, trigger_mode="always_last", **at_once)
        for name, tab in self.tabs.items():
            tab.select(showing(partial(events.select, name)), None, shown, **at_once)
        named = {name: getattr(self, name) for name in self._settings}
        controls = [self.headline, *named.values()]

        gone = self.trail.select(
            self._own(events.go, said=("query", "session", "number")),
            None,
            [*controls, self.method, *look, self.tab_list],
            **at_once,
        )
        explained(gone.then(showing(events.resume), None, result, **working))

        def changing(event: Any, handler: Callable[..., Any], inputs: Any, outputs: list[Any]) -> None:
            """Show that the model is changed, change it, and explain the picture again."""
            loading = event(lambda: progress_html(None, "loading"), None, self.status, **at_once)
            changed = loading.then(own(handler), inputs, outputs, **_IN_ORDER)
            explained(changed.then(showing(events.again), question, result, **working))

        changing(self.load.click, events.load_network, [self.network, self.weights], controls)
        changing(self.model_file.upload, events.load_model, self.model_file, [self.model_file, *controls])
        changing(self.names_file.upload, events.name_classes, self.names_file, [self.names_file, *controls])
        said = [self.task, self.unit, self.decode]
        for event in (self.task.input, self.unit.submit, self.decode.submit):
            changing(event, events.say, said, controls)

    def _own(self, handler: Callable[..., Any], said: Sequence[str] = ()) -> Callable[..., Any]:
        """Wrap a handler: its first argument is the token of the window's own session; it refuses malformed values.

        Args:
            said: names of what an event of JavaScript says; the handler's second argument has them.
        """
        token_of, is_long = self._sessions.token_of, inspect.isgeneratorfunction(handler)

        def values_of(request: Any, *values: Any) -> Any:
            try:
                result = handler(token_of(request.session_hash or ""), *values)
                if is_long:
                    yield from result
                else:
                    yield result
            except ValueError as error:  # of a request that the page itself does not make
                raise self._gr.Error(str(error)) from None

        def value_of(request: Any, *values: Any) -> Any:
            return next(values_of(request, *values))

        def values_of_event(request: Any, event: Any, *values: Any) -> Any:
            yield from values_of(request, {name: _said_by(event, name) for name in said}, *values)

        def value_of_event(request: Any, event: Any, *values: Any) -> Any:
            return next(values_of_event(request, event, *values))

        if said:
            return self._asking(values_of_event if is_long else value_of_event)
        return self._asking(values_of if is_long else value_of)

    def _showing(self, handler: Callable[..., Any], said: Sequence[str] = ()) -> Callable[..., Any]:
        """Wrap a handler as `_own` does; the history follows what it shows."""
        trail = self._events.trail
        if not inspect.isgeneratorfunction(handler):
            return self._own(lambda token, *values: (*handler(token, *values), trail(token)), said)

        def with_trail(token: str, *values: Any) -> Iterator[Any]:
            for shown in handler(token, *values):
                yield (*shown, trail(token))

        return self._own(with_trail, said)

    def _asking(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Annotate a handler, so that Gradio passes it the request, which knows the window, and the event."""
        handler.__annotations__ = {"request": self._gr.Request, "event": self._gr.EventData}
        return handler


def _said_by(event: Any, name: str) -> Any:
    """Return a value of an event of JavaScript, None where it is missing."""
    try:
        return getattr(event, name, None)
    except TypeError:  # of a request that the page itself does not make
        return None
