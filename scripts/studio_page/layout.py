"""Components of the page: images on the left, tools on the right."""

from typing import Any

import gradio as gr

from scripts.studio_page import markup
from scripts.studio_page.downloads import DOWNLOADS, SIZES
from scripts.studio_page.model import EVERYTHING, KIND_LABELS, MAX_CONTROLS, NUM_DIRECTIONS, StudioModel, part_label
from scripts.studio_page.session import MAX_SHIFT, MAX_STRENGTH, MAX_ZOOM, MIN_ZOOM, Session
from scripts.studio_page.uploads import IMAGE_SUFFIXES, MAX_UPLOAD_BYTES, UPLOAD_SUFFIXES

TITLE = "SemanticStyleGAN Studio"
HINT = (
    f"Open or drop a photo, a session or codes (at most {MAX_UPLOAD_BYTES >> 20} MB)."
    " Click a part and edit it, or paint on the mask."
)
CARD_WIDTH = 240  # minimum width in pixels


LONG_EDITS = ("open", "background", "crop", "paint", "copy")


class PageLayout:
    """All components of the page, created inside `gr.Blocks`; attributes are those that handlers read or update."""

    def __init__(self, model: StudioModel, session: Session, source_seed: int) -> None:
        self.model = model
        self.session = gr.State(session)
        # For each long edit, the UploadedFile that it opens, if any, and the Finished to add to the session.
        self.uploaded = {name: gr.State(None) for name in LONG_EDITS}
        self.results = {name: gr.State(None) for name in LONG_EDITS}
        self.fetch = gr.Button(visible="hidden", elem_id="studio-fetch")  # clicked by page.js
        self.sent = gr.Number(visible=False)  # time of that click
        self.kept = gr.Textbox(visible=False)  # the session that the browser keeps, for page.js or from it
        self.download = gr.JSON(visible=False)  # link to the file that page.js saves next
        with gr.Row(elem_id="studio-head"):
            gr.HTML(f"<h1>{TITLE}</h1><p>{HINT}</p>", elem_id="studio-title")
            self.open = gr.UploadButton("Open...", size="sm", file_types=list(UPLOAD_SUFFIXES), elem_id="studio-upload")
            self.new = gr.Button("New session", size="sm", elem_id="studio-new")
        with gr.Row(elem_id="studio-body"):
            with gr.Column(elem_id="studio-left"):
                self._add_images(session)
            with gr.Column(elem_id="studio-right"):
                self._add_choice(session)
                with gr.Row(elem_id="studio-tools"):
                    with gr.Column(min_width=CARD_WIDTH):
                        self._add_part_tools()
                        self._add_scene_tools()
                    with gr.Column(min_width=CARD_WIDTH):
                        self._add_source_tools(source_seed)
                        self._add_save_tools()

    @property
    def inputs(self) -> list[Any]:
        """Components whose values `Form.from_values` takes, in its order."""
        first = [self.session, self.part, self.kind, self.seed, self.blend]
        return [*first, *self.placement, *self.directions, *self.controls]

    @property
    def outputs(self) -> list[Any]:
        """Components that an edit can update."""
        displays = [self.images, self.crop, self.history, self.status, self.variations, self.source, self.seed]
        buttons = [self.undo, self.redo, self.pin, self.move_crop, self.toggle, self.lock]
        buttons += [self.resample, self.copy]
        sliders = [self.blend, *self.placement, *self.directions, *self.controls]
        return [self.session, self.part, *displays, *buttons, self.remove_background, *sliders]

    def part_choices(self, session: Session) -> list[tuple[str, str]]:
        """Return (label, value) of the button of each part; the label shows if the part is switched off or locked."""
        model = self.model
        choices = []
        for name in model.part_names:
            states = ["off"] * (not model.is_shown(session, name)) + ["locked"] * model.is_locked(session, name)
            states += ["never"] * bool(not states and model.reason_missing(session, name))
            choices.append((f"{part_label(name)} ({', '.join(states)})" if states else part_label(name), name))
        return choices

    def _add_images(self, session: Session) -> None:
        html: dict[str, Any] = {"js_on_load": markup.SCRIPT.read_text(encoding="utf-8"), "apply_default_css": False}
        images = markup.image_panels(self.model, session, EVERYTHING)
        self.images = gr.HTML(images, elem_id="studio-view", **html)
        gr.HTML(markup.paint_tools(), elem_id="studio-paint-tools", apply_default_css=False)
        self.crop = gr.HTML("", elem_id="studio-crop", **html)
        with gr.Row(elem_id="studio-history"):
            self.undo = gr.Button("Undo", size="sm", interactive=False, elem_id="studio-undo")
            self.redo = gr.Button("Redo", size="sm", interactive=False, elem_id="studio-redo")
            self.pin = gr.Button("Pin", size="sm", elem_id="studio-pin")
            self.move_crop = gr.Button("Move crop", size="sm", visible=False, elem_id="studio-move-crop")
            self.history = gr.HTML(markup.history(self.model, session), elem_id="studio-steps", **html)
        with gr.Row(elem_id="studio-now"):
            self.status = gr.HTML(markup.status(session.current.name), elem_id="studio-status", apply_default_css=False)
            self.stop = gr.Button("Cancel", size="sm", visible=False, elem_id="studio-stop")
        self.variations = gr.HTML("", elem_id="studio-variations", **html)

    def _add_choice(self, session: Session) -> None:
        with gr.Row(elem_id="studio-choice"):
            parts, kinds = self.part_choices(session), list(KIND_LABELS.items())
            self.part = gr.Radio(parts, value=EVERYTHING, label="Part", show_label=False, elem_id="studio-part")
            self.kind = gr.Radio(kinds, value="both", label="Codes", show_label=False, elem_id="studio-kind")

    def _add_part_tools(self) -> None:
        with gr.Column(elem_classes="studio-card"):
            gr.HTML("<h2>Selected part</h2>")
            self.resample = gr.Button(
                resample_label(EVERYTHING), variant="primary", min_width=90, elem_id="studio-resample"
            )
            with gr.Row():
                self.toggle = gr.Button(
                    "Switch off", size="sm", min_width=70, interactive=False, elem_id="studio-toggle"
                )
                self.lock = gr.Button("Lock", size="sm", min_width=70, interactive=False, elem_id="studio-lock")
            self.controls = [
                gr.Slider(-1, 1, 0.0, step=0.05, label=f"Control {rank}", buttons=[], visible=False)
                for rank in range(1, MAX_CONTROLS + 1)
            ]
            with gr.Accordion("More", open=False, elem_id="studio-more"):
                self.directions = [
                    gr.Slider(-MAX_STRENGTH, MAX_STRENGTH, 0.0, step=0.1, label=f"Direction {rank}", buttons=[])
                    for rank in range(1, NUM_DIRECTIONS + 1)
                ]

    def _add_source_tools(self, seed: int) -> None:
        with gr.Column(elem_classes="studio-card"):
            gr.HTML("<h2>Another face</h2>")
            with gr.Row(elem_id="studio-from"):
                self.source = gr.HTML(markup.source_face(self.model, seed), apply_default_css=False)
                self.seed = gr.Number(seed, label="Seed", precision=0, min_width=80, elem_id="studio-seed")
                self.random_seed = gr.Button("Random", size="sm", min_width=60, elem_id="studio-random")
            self.use_current = gr.Button("Take parts from the current image", size="sm", elem_id="studio-use-current")
            self.blend = gr.Slider(
                0, 1, 0.0, step=0.05, label="Blend toward this face", buttons=[], elem_id="studio-blend"
            )
            with gr.Row():
                self.copy = gr.Button(copy_label(EVERYTHING), size="sm", min_width=90, elem_id="studio-copy")
                self.open_seed = gr.Button(
                    "Edit this face instead", size="sm", min_width=90, elem_id="studio-open-seed"
                )
            self.vary = gr.Button("Show 8 variations", size="sm", elem_id="studio-vary")

    def _add_scene_tools(self) -> None:
        with gr.Column(elem_id="studio-scene", elem_classes="studio-card"):
            gr.HTML("<h2>Background and position</h2>")
            with gr.Row():
                self.background = gr.UploadButton(
                    "Background photo...",
                    size="sm",
                    file_types=list(IMAGE_SUFFIXES),
                    min_width=90,
                    elem_id="studio-background",
                )
                self.remove_background = gr.Button(
                    "Remove", size="sm", min_width=60, interactive=False, elem_id="studio-remove-background"
                )
            zoom = gr.Slider(MIN_ZOOM, MAX_ZOOM, 1.0, step=0.05, label="Zoom", buttons=[], elem_id="studio-zoom")
            shifts = [
                gr.Slider(-MAX_SHIFT, MAX_SHIFT, 0.0, step=0.05, label=label, buttons=[])
                for label in ("Move horizontally", "Move vertically")
            ]
            self.placement = [zoom, *shifts]

    def _add_save_tools(self) -> None:
        with gr.Column(elem_classes="studio-card"):
            gr.HTML("<h2>Save</h2>")
            self.size = gr.Radio(SIZES, value=SIZES[0], label="Size", show_label=False, elem_id="studio-size")
            with gr.Row(elem_id="studio-save"):
                self.save = {name: gr.Button(name, size="sm", min_width=80) for name in DOWNLOADS}


def resample_label(part: str) -> str:
    """Return the label of the button that takes a part of a random face."""
    return f"New random {'face' if part == EVERYTHING else part_label(part)}"


def copy_label(part: str) -> str:
    """Return the label of the button that takes a part of the other face."""
    return "Use all of this face" if part == EVERYTHING else f"Use this face's {part_label(part)}"
