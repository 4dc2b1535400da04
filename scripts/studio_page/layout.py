"""The components of the page, from top to bottom."""

from typing import Any

import gradio as gr

from editing.mixing import CODE_KINDS
from scripts.studio_page import markup
from scripts.studio_page.downloads import FILES
from scripts.studio_page.session import CENTRED, Session
from scripts.studio_page.uploads import ENDINGS, PICTURES
from scripts.studio_page.workshop import EVERYTHING, FACTORS, Workshop

TITLE = "SemanticStyleGAN Studio"
HINT = "Open a photo, or start from this face: click a part of it, then change it."
FARTHEST = 4.0  # of the directions, in standard deviations
RANGE_OF_ZOOM = 0.5, 1.5
FARTHEST_SHIFT = 1.0  # half the side
CARD = 240  # pixels


class Layout:
    """Made inside `gr.Blocks`; attributes are components that something happens to."""

    def __init__(self, workshop: Workshop, start: Session, source_seed: int) -> None:
        self.workshop = workshop
        self.session = gr.State(start)
        self.received = gr.State(None)  # an upload
        self.found = gr.State(None)  # what it came to
        self.fetch = gr.Button(visible="hidden", elem_id="studio-fetch")  # the page's script clicks it
        self.saved = gr.JSON(visible=False)  # a file on its way to the visitor
        with gr.Row(elem_id="studio-head"):
            gr.HTML(f"<h1>{TITLE}</h1><p>{HINT}</p>", elem_id="studio-title")
            self.upload = gr.UploadButton(
                "Open photo or codes", size="sm", file_types=list(ENDINGS), elem_id="studio-upload"
            )
        self._pictures(start)
        self._choice(start)
        with gr.Row(elem_id="studio-tools"):
            self._change_tools()
            self._source_tools(source_seed)
            self._scene_tools()
            self._file_tools()

    @property
    def inputs(self) -> list[Any]:
        """What `Form.of` takes."""
        return [self.session, self.part, self.kind, self.seed, self.blend, *self.place, *self.sliders]

    @property
    def outputs(self) -> list[Any]:
        """All that depends on the session and the form."""
        pictures = [self.view, self.strip, self.status]
        buttons = [self.undo, self.redo, self.toggle, self.clear]
        return [self.session, self.part, *pictures, *buttons, self.blend, *self.place, *self.sliders]

    def labels(self, session: Session) -> list[tuple[str, str]]:
        """Labels and values of the choice of a part."""
        names = self.workshop.choices
        return [(name if self.workshop.is_shown(session, name) else f"{name} (off)", name) for name in names]

    def _pictures(self, start: Session) -> None:
        script = markup.SCRIPT.read_text(encoding="utf-8")
        view = markup.view(self.workshop, start, EVERYTHING)
        self.view = gr.HTML(view, elem_id="studio-view", js_on_load=script, apply_default_css=False)
        with gr.Row(elem_id="studio-history"):
            self.undo = gr.Button("Undo", size="sm", interactive=False, elem_id="studio-undo")
            self.redo = gr.Button("Redo", size="sm", interactive=False, elem_id="studio-redo")
            gr.Button("Hold to compare", size="sm", elem_id="studio-compare")
            strip = markup.strip(self.workshop, start)
            self.strip = gr.HTML(strip, elem_id="studio-steps", js_on_load=script, apply_default_css=False)
        with gr.Row(elem_id="studio-now"):
            self.status = gr.HTML(markup.status(start.now.name), elem_id="studio-status", apply_default_css=False)
            self.stop = gr.Button("Stop", size="sm", visible=False, elem_id="studio-stop")

    def _choice(self, start: Session) -> None:
        with gr.Row(elem_id="studio-choice"):
            labels = self.labels(start)
            self.part = gr.Radio(labels, value=EVERYTHING, label="Part", show_label=False, elem_id="studio-part")
            self.kind = gr.Radio(CODE_KINDS, value="both", label="What of it", show_label=False, elem_id="studio-kind")

    def _change_tools(self) -> None:
        with gr.Column(min_width=CARD, elem_classes="studio-card"):
            gr.HTML("<h2>Change</h2>")
            with gr.Row():
                self.resample = gr.Button("Resample", variant="primary", min_width=90, elem_id="studio-resample")
                self.toggle = gr.Button("Switch off", min_width=90, interactive=False, elem_id="studio-toggle")
            self.sliders = [
                gr.Slider(-FARTHEST, FARTHEST, 0.0, step=0.1, label=f"Direction {rank}", buttons=[])
                for rank in range(1, FACTORS + 1)
            ]

    def _source_tools(self, seed: int) -> None:
        with gr.Column(min_width=CARD, elem_classes="studio-card"):
            gr.HTML("<h2>Another face</h2>")
            with gr.Row(elem_id="studio-from"):
                self.source = gr.HTML(markup.source(self.workshop, seed), apply_default_css=False)
                self.seed = gr.Number(seed, label="Seed", precision=0, min_width=80, elem_id="studio-seed")
                self.dice = gr.Button("Random", size="sm", min_width=60, elem_id="studio-dice")
            self.blend = gr.Slider(0, 1, 0.0, step=0.05, label="Move toward it", buttons=[], elem_id="studio-blend")
            with gr.Row():
                self.take = gr.Button("Take the part", min_width=90, elem_id="studio-take")
                self.begin = gr.Button("Start from it", min_width=90, elem_id="studio-begin")

    def _scene_tools(self) -> None:
        with gr.Column(min_width=CARD, elem_id="studio-scene", elem_classes="studio-card"):
            gr.HTML("<h2>Scene</h2>")
            with gr.Row():
                self.behind = gr.UploadButton(
                    "Photo behind", file_types=list(PICTURES), min_width=90, elem_id="studio-behind"
                )
                self.clear = gr.Button("Remove", min_width=60, interactive=False, elem_id="studio-clear")
            self.place = [
                gr.Slider(*RANGE_OF_ZOOM, CENTRED.zoom, step=0.05, label="Zoom", buttons=[], elem_id="studio-zoom"),
                *(
                    gr.Slider(-FARTHEST_SHIFT, FARTHEST_SHIFT, 0.0, step=0.05, label=label, buttons=[])
                    for label in ("Shift right", "Shift down")
                ),
            ]

    def _file_tools(self) -> None:
        with gr.Column(min_width=CARD, elem_classes="studio-card"):
            gr.HTML("<h2>Save</h2>")
            with gr.Row(elem_id="studio-save"):
                self.files = {name: gr.Button(name, size="sm", min_width=90) for name in FILES}
