"""Components of the page, from top to bottom."""

from typing import Any

import gradio as gr

from editing.choices import CODE_KINDS
from scripts.studio_page import markup
from scripts.studio_page.downloads import DOWNLOADS
from scripts.studio_page.model import EVERYTHING, NUM_DIRECTIONS, StudioModel
from scripts.studio_page.session import Session
from scripts.studio_page.uploads import IMAGE_SUFFIXES, UPLOAD_SUFFIXES

TITLE = "SemanticStyleGAN Studio"
HINT = "Open a photo or start with this face: click a part, then edit it."
MAX_STRENGTH = 4.0  # of a direction slider, in standard deviations
MIN_ZOOM, MAX_ZOOM = 0.5, 1.5
MAX_SHIFT = 1.0  # half the image's side
CARD_WIDTH = 240  # minimum width in pixels


class PageLayout:
    """All components of the page, created inside `gr.Blocks`; attributes are those that handlers read or update."""

    def __init__(self, model: StudioModel, session: Session, source_seed: int) -> None:
        self.model = model
        self.session = gr.State(session)
        self.uploaded = gr.State(None)  # UploadedFile that waits to be opened, or is being opened
        self.result = gr.State(None)  # UploadResult to add to the session
        self.fetch = gr.Button(visible="hidden", elem_id="studio-fetch")  # clicked by studio.js
        self.download = gr.JSON(visible=False)  # link to the file that studio.js saves next
        with gr.Row(elem_id="studio-head"):
            gr.HTML(f"<h1>{TITLE}</h1><p>{HINT}</p>", elem_id="studio-title")
            self.open = gr.UploadButton(
                "Open photo or codes", size="sm", file_types=list(UPLOAD_SUFFIXES), elem_id="studio-upload"
            )
        self._add_images(session)
        with gr.Row(elem_id="studio-choice"):
            parts = self.part_choices(session)
            self.part = gr.Radio(parts, value=EVERYTHING, label="Part", show_label=False, elem_id="studio-part")
            self.kind = gr.Radio(CODE_KINDS, value="both", label="Codes", show_label=False, elem_id="studio-kind")
        with gr.Row(elem_id="studio-tools"):
            self._add_part_tools()
            self._add_source_tools(source_seed)
            self._add_scene_tools()
            with gr.Column(min_width=CARD_WIDTH, elem_classes="studio-card"):
                gr.HTML("<h2>Save</h2>")
                with gr.Row(elem_id="studio-save"):
                    self.save = {name: gr.Button(name, size="sm", min_width=90) for name in DOWNLOADS}

    @property
    def inputs(self) -> list[Any]:
        """Components whose values `Form.from_values` takes, in its order."""
        return [self.session, self.part, self.kind, self.seed, self.blend, *self.placement, *self.directions]

    @property
    def outputs(self) -> list[Any]:
        """Components that an edit can update."""
        displays = [self.images, self.history, self.status]
        buttons = [self.undo, self.redo, self.toggle, self.remove_background]
        return [self.session, self.part, *displays, *buttons, self.blend, *self.placement, *self.directions]

    def part_choices(self, session: Session) -> list[tuple[str, str]]:
        """Return (label, value) of the button of each part; the label shows if the part is switched off."""
        names = self.model.part_names
        return [(name if self.model.is_shown(session, name) else f"{name} (off)", name) for name in names]

    def _add_images(self, session: Session) -> None:
        html: dict[str, Any] = {"js_on_load": markup.SCRIPT.read_text(encoding="utf-8"), "apply_default_css": False}
        images = markup.image_panels(self.model, session, EVERYTHING)
        self.images = gr.HTML(images, elem_id="studio-view", **html)
        with gr.Row(elem_id="studio-history"):
            self.undo = gr.Button("Undo", size="sm", interactive=False, elem_id="studio-undo")
            self.redo = gr.Button("Redo", size="sm", interactive=False, elem_id="studio-redo")
            gr.Button("Hold to compare", size="sm", elem_id="studio-compare")
            self.history = gr.HTML(markup.history(self.model, session), elem_id="studio-steps", **html)
        with gr.Row(elem_id="studio-now"):
            self.status = gr.HTML(markup.status(session.current.name), elem_id="studio-status", apply_default_css=False)
            self.stop = gr.Button("Stop", size="sm", visible=False, elem_id="studio-stop")

    def _add_part_tools(self) -> None:
        with gr.Column(min_width=CARD_WIDTH, elem_classes="studio-card"):
            gr.HTML("<h2>Selected part</h2>")
            with gr.Row():
                self.resample = gr.Button("Resample", variant="primary", min_width=90, elem_id="studio-resample")
                self.toggle = gr.Button("Switch off", min_width=90, interactive=False, elem_id="studio-toggle")
            self.directions = [
                gr.Slider(-MAX_STRENGTH, MAX_STRENGTH, 0.0, step=0.1, label=f"Direction {rank}", buttons=[])
                for rank in range(1, NUM_DIRECTIONS + 1)
            ]

    def _add_source_tools(self, seed: int) -> None:
        with gr.Column(min_width=CARD_WIDTH, elem_classes="studio-card"):
            gr.HTML("<h2>Another face</h2>")
            with gr.Row(elem_id="studio-from"):
                self.source = gr.HTML(markup.source_face(self.model, seed), apply_default_css=False)
                self.seed = gr.Number(seed, label="Seed", precision=0, min_width=80, elem_id="studio-seed")
                self.random_seed = gr.Button("Random", size="sm", min_width=60, elem_id="studio-random")
            self.blend = gr.Slider(0, 1, 0.0, step=0.05, label="Blend toward it", buttons=[], elem_id="studio-blend")
            with gr.Row():
                self.copy = gr.Button("Copy part", min_width=90, elem_id="studio-copy")
                self.open_seed = gr.Button("Edit this face", min_width=90, elem_id="studio-open-seed")

    def _add_scene_tools(self) -> None:
        with gr.Column(min_width=CARD_WIDTH, elem_id="studio-scene", elem_classes="studio-card"):
            gr.HTML("<h2>Background and position</h2>")
            with gr.Row():
                self.background = gr.UploadButton(
                    "Add photo", file_types=list(IMAGE_SUFFIXES), min_width=90, elem_id="studio-background"
                )
                self.remove_background = gr.Button(
                    "Remove", min_width=60, interactive=False, elem_id="studio-remove-background"
                )
            zoom = gr.Slider(MIN_ZOOM, MAX_ZOOM, 1.0, step=0.05, label="Zoom", buttons=[], elem_id="studio-zoom")
            shifts = [
                gr.Slider(-MAX_SHIFT, MAX_SHIFT, 0.0, step=0.05, label=label, buttons=[])
                for label in ("Shift right", "Shift down")
            ]
            self.placement = [zoom, *shifts]
