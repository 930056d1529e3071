"""The controls of the web page, and their handlers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from tf_gradcam._app.events import READY, Events
from tf_gradcam._app.html import progress_html
from tf_gradcam._app.model import DETECT, NOTHING, TOP, AppModel, class_choices, headline, layer_choices, method_choices
from tf_gradcam._app.session import MAX_SESSIONS, Sessions
from tf_gradcam._app.view import view_of
from tf_gradcam._files.find import SUFFIXES
from tf_gradcam._models.file_kinds import MODEL_SUFFIXES
from tf_gradcam._models.preprocessing import MODES, PREPROCESSOR

COLORMAPS = ("jet", "turbo", "viridis", "inferno", "magma", "hot", "bone", "PuOr", "coolwarm")
_COMPARED = ("gradcam", "gradcam_pp", "xgradcam", "hirescam", "layercam", "eigencam")
_MAX_HANDLERS = 16  # that wait for a model at the same time; each model runs one job
_HIDDEN = {"show_progress": "hidden", "api_visibility": "private"}


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
        with gr.Column(elem_id="tg-head"):
            self._html("<h1>tf-gradcam</h1><p>See what a prediction rests on. Nothing leaves this machine.</p>")
            self.headline = self._html(headline(model))
        with gr.Row(elem_id="tg-main"):
            with gr.Column(elem_id="tg-pick"):
                self._build_picture()
            with gr.Column(elem_id="tg-out"):
                self._build_results(model)
            with gr.Column(elem_id="tg-set"):
                self._build_question(model)
                self._build_look()
                self._build_model(model)

    def _build_picture(self) -> None:
        gr = self._gr
        self.file = gr.File(label="Picture", file_types=list(SUFFIXES), height=130, elem_id="tg-file")
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

    def _build_question(self, model: AppModel) -> None:
        gr = self._gr
        self.layer = gr.Dropdown(layer_choices(model), value=model.default_layer, label="Layer", elem_id="tg-layer")
        methods = [(choice.label, choice.name) for choice in method_choices()]
        about = self._events.about("gradcam")
        self.method = gr.Dropdown(methods, value="gradcam", label="Method", info=about, elem_id="tg-method")
        classes, others = class_choices(model, "top class"), class_choices(model, "nothing")
        self.target = gr.Dropdown(classes, value=TOP, label="Class", elem_id="tg-class")
        self.against = gr.Dropdown(others, value=NOTHING, label="Against", elem_id="tg-against")

    def _build_look(self) -> None:
        gr = self._gr
        self.alpha = gr.Slider(0, 1, 0.4, step=0.05, label="Opacity of the map", elem_id="tg-alpha")
        threshold = "Threshold, relative to the map's maximum"
        self.threshold = gr.Slider(0, 0.95, 0, step=0.05, label=threshold, elem_id="tg-threshold")
        colors = [("jet (default)", ""), *((name, name) for name in COLORMAPS)]
        self.colormap = gr.Dropdown(colors, value="", label="Colours", elem_id="tg-colors")

    def _build_model(self, model: AppModel) -> None:
        gr = self._gr
        with gr.Accordion("Another model", open=False):
            self.model_file = gr.File(
                label="Model (.keras, .h5, .hdf5, .model, .zip)",
                file_types=[*MODEL_SUFFIXES, ".model", ".zip"],
                height=130,
                elem_id="tg-model-file",
            )
            self.names_file = gr.File(
                label="Class names (.txt, .json)", file_types=[".txt", ".json"], height=130, elem_id="tg-names"
            )
            modes = [(f"{mode}: {MODES[mode].meaning}", mode) for mode in MODES]
            modes.append(("preprocessor: as the model's own preprocessor makes them (keras_hub)", PREPROCESSOR))
            modes.append(("detect: find them from the picture, or from those of Batch", DETECT))
            self.mode = gr.Dropdown(modes, value=model.default_mode, label="Pixel values", elem_id="tg-mode")

    def _build_results(self, model: AppModel) -> None:
        gr = self._gr
        start = view_of(self._sessions.start)  # in the page itself, so that a map is there at once
        with gr.Row(elem_id="tg-bar-row"):
            self.status = self._html(READY, elem_id="tg-status")
            self.stop = gr.Button("Stop", size="sm", elem_id="tg-stop")
        with gr.Tabs():
            with gr.Tab("Explore", elem_id="tg-tab-explore") as explore:
                pass
            with gr.Tab("Compare", elem_id="tg-tab-compare") as compare:
                methods = [(choice.label, choice.name) for choice in method_choices()]
                self.methods = gr.CheckboxGroup(methods, value=list(_COMPARED), label="Methods", elem_id="tg-methods")
                self.compare = gr.Button("Compare", variant="primary", elem_id="tg-compare")
            with gr.Tab("Layers", elem_id="tg-tab-layers") as layers:
                self.layers = gr.Dropdown(
                    layer_choices(model), value=model.stages(), multiselect=True, label="Layers", elem_id="tg-layers"
                )
                self.deepen = gr.Button("Explain these layers", variant="primary", elem_id="tg-deepen")
            with gr.Tab("Batch", elem_id="tg-tab-batch") as batch:
                self.files = gr.File(
                    label="Pictures", file_count="multiple", file_types=list(SUFFIXES), height=160, elem_id="tg-files"
                )
                self.run = gr.Button("Explain all", variant="primary", elem_id="tg-run")
        self.tabs = {"explore": explore, "compare": compare, "layers": layers, "batch": batch}
        self.view = self._html(start.html, elem_id="tg-view")
        with gr.Accordion("Python code for this picture", open=False):
            self.lines = gr.Code(start.lines, language="python", interactive=False, label="Python", elem_id="tg-lines")

    def _wire(self) -> None:
        events, own, question = self._events, self._own, [self.layer, self.method, self.target, self.against, self.mode]
        shown = [self.view, self.lines]
        result = [self.status, *shown]
        working = {"trigger_mode": "multiple", **_HIDDEN}  # a new job cancels the old one
        at_once = {"queue": False, **_HIDDEN}
        close = self._sessions.close_window
        self.blocks.unload(self._asking(lambda request: close(request.session_hash or "")))
        for control in question:
            control.input(own(events.explain), question, result, **working)
        self.method.change(events.describe, self.method, self.method, **at_once)
        self.file.upload(own(events.upload), [self.file, *question], [self.file, *result], **working)
        for number, button in enumerate(self.samples):
            button.click(own(partial(events.sample, number)), question, result, **working)
        self.stop.click(own(events.stop), None, None, **at_once)
        self.compare.click(own(events.compare), [self.methods, *question], result, **working)
        self.deepen.click(own(events.layers), [self.layers, *question], result, **working)
        self.run.click(own(events.batch), [self.files, *question], [self.files, *result], **working)
        for control in (look := [self.alpha, self.threshold, self.colormap]):
            control.input(own(events.paint), look, shown, trigger_mode="always_last", **at_once)
        for name, tab in self.tabs.items():
            tab.select(own(partial(events.select, name)), None, shown, **at_once)
        controls = [self.headline, self.layer, self.target, self.against, self.mode, self.layers]
        for file, handler in ((self.model_file, events.load_model), (self.names_file, events.name_classes)):
            loading = file.upload(lambda: progress_html(None, "loading"), None, self.status, **at_once)
            changed = loading.then(own(handler), file, [file, *controls], **_HIDDEN)
            changed.then(own(events.again), question, result, **working)

    def _own(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a handler: its first argument is the token of the window's own session; it refuses malformed values."""
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

        return self._asking(values_of if is_long else value_of)

    def _asking(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Annotate a handler, so that Gradio passes it the request, which knows the window."""
        handler.__annotations__ = {"request": self._gr.Request}
        return handler
