"""Event handlers of the page: each takes the values of components, and returns updates for components.

An error that the user can fix is shown as a warning, and the session stays as it was.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from scripts.studio_page import markup
from scripts.studio_page.downloads import DOWNLOADS, make_download
from scripts.studio_page.layout import PageLayout
from scripts.studio_page.model import MAX_SEED, CodeSelection
from scripts.studio_page.session import Placement, Session
from scripts.studio_page.uploads import UploadedFile, UploadProgress, UploadResult, Uploads
from utils.errors import EditError, UserError

Updates = dict[Any, Any]  # component -> new value, or gr.update(...)


def random_seed() -> int:
    """Return a random seed from 0 to 999,999."""
    return secrets.randbelow(1_000_000)


class Form(NamedTuple):
    """One user's session and the current values of the page's controls."""

    session: Session
    selection: CodeSelection
    seed_field: int | None  # None if empty
    blend: float
    placement: Placement
    strengths: tuple[float, ...]  # of the direction sliders

    @classmethod
    def from_values(cls, *values: Any) -> "Form":
        """Build a form from the values of `PageLayout.inputs`."""
        session, part, kind, seed, blend, zoom, right, down, *strengths = values
        placement = Placement(zoom, right, down)
        return cls(session, CodeSelection(part, kind), seed, blend, placement, tuple(strengths))

    @property
    def seed(self) -> int:
        """Seed of the card "Another face"; raises EditError if the field is empty."""
        if self.seed_field is None:
            raise EditError(f"the seed is empty: enter a whole number from 0 to {MAX_SEED:,}")
        return self.seed_field


class Handlers:
    """Event handlers, shared by all users; a user's own data is in the `Form`."""

    def __init__(self, layout: PageLayout, uploads: Uploads) -> None:
        self.layout = layout
        self.model = layout.model
        self.uploads = uploads

    def edit(self, edit: Callable[[Form], Session], keep: Sequence[Any] = ()) -> Callable[..., Updates]:
        """Return a handler that applies an edit. It does not update `keep`, the sliders that the user is moving."""

        def handler(*values: Any) -> Updates:
            form = Form.from_values(*values)
            try:
                updates = self._updates(form._replace(session=edit(form)))
            except UserError as error:
                return self._warn(error)
            return {component: update for component, update in updates.items() if component not in keep}

        return handler

    def select_part(self, event: gr.EventData, *values: Any) -> Updates:
        """Select the part at the clicked position of an image; `values` are those of the form."""
        form = Form.from_values(*values)
        part = self.model.part_at(form.session, float(event.x), float(event.y))
        updates = self._updates(form._replace(selection=form.selection._replace(part=part)))
        return {**updates, self.layout.part: gr.update(choices=self.layout.part_choices(form.session), value=part)}

    def go_to(self, event: gr.EventData, *values: Any) -> Updates:
        """Go to the step whose thumbnail was clicked."""
        step = int(event.step)
        return self.edit(lambda form: form.session.go_to(step))(*values)

    def show_source(self, *values: Any) -> Updates:
        """Show the face of the seed, and set the blend slider to how far the current image is blended toward it."""
        form = Form.from_values(*values)
        try:
            blend = self.model.blend_amount(form.session, form.selection, form.seed)
            return {self.layout.source: markup.source_face(self.model, form.seed), self.layout.blend: blend}
        except UserError as error:
            return self._warn(error)

    def receive(self, path: str) -> Updates:
        """Read an uploaded file, which then waits for its turn; if it is gone, gr.Error cancels opening it."""
        try:
            uploaded = self.uploads.receive(Path(path))
        except UserError as error:
            raise gr.Error(str(error)) from None
        return {self.layout.uploaded: uploaded, self.layout.status: markup.status("waiting for other uploads")}

    def open(self, uploaded: UploadedFile) -> Iterator[Updates]:
        """Load codes or invert a photo; yield updates with previews, then one with the result."""
        yield from self._show_progress(self.uploads.open(uploaded), f"inverting {uploaded.name}")

    def open_background(self, uploaded: UploadedFile, *values: Any) -> Iterator[Updates]:
        """Reconstruct a photo as the background; yield updates with previews, then one with the result."""
        results = self.uploads.open_background(uploaded, Form.from_values(*values).session.current)
        yield from self._show_progress(results, f"reconstructing {uploaded.name} as the background")

    def _show_progress(self, results: Iterator[UploadProgress | UploadResult], activity: str) -> Iterator[Updates]:
        """Yield updates that show previews and the Stop button, then one that stores the result, or None on failure."""
        layout, result = self.layout, None
        try:
            for result in results:
                if isinstance(result, UploadProgress):
                    status, stop = markup.status(f"{activity}: {result.fraction:.0%}"), gr.update(visible=True)
                    yield {layout.images: markup.progress_panels(result), layout.status: status, layout.stop: stop}
        except UserError as error:
            gr.Warning(str(error), duration=None)
            result = None
        yield {layout.result: result, layout.uploaded: None, layout.stop: gr.update(visible=False)}

    def apply_upload(self, result: UploadResult | None, *values: Any) -> Updates:
        """Add the result of an upload to the session; if there is none, show the session again instead of previews."""
        form = Form.from_values(*values)
        if result is None:
            return {self.layout.result: None, **self._updates(form)}
        if result.advice:
            gr.Warning(f"{result.name}: {result.advice}", duration=None)
        return {self.layout.result: None, **self._updates(form._replace(session=result.apply(form.session)))}

    def save(self, kind: str, session: Session) -> dict[str, str] | None:
        """Return name and content of one of DOWNLOADS for `studioSave` in studio.js; None after an error."""
        name, mime = DOWNLOADS[kind]
        try:
            return {"name": name, "href": markup.data_uri(make_download(kind, self.model, session), mime)}
        except UserError as error:
            gr.Warning(str(error))
            return None

    def _updates(self, form: Form) -> Updates:
        """Return updates for `PageLayout.outputs`; the selected part stays, as the user may have changed it since."""
        layout, model, session = self.layout, self.model, form.session
        part = form.selection.part
        toggle = "Switch off" if model.is_shown(session, part) else "Switch on"
        blend = 0.0 if form.seed_field is None else model.blend_amount(session, form.selection, form.seed_field)
        return {
            layout.session: session,
            layout.part: gr.update(choices=layout.part_choices(session)),
            layout.images: markup.image_panels(model, session, part),
            layout.history: markup.history(model, session),
            layout.status: markup.status(session.current.name),
            layout.undo: gr.update(interactive=session.can_undo),
            layout.redo: gr.update(interactive=session.can_redo),
            layout.toggle: gr.update(value=toggle, interactive=model.is_part(part)),
            layout.blend: blend,
            layout.remove_background: gr.update(interactive=session.current.background is not None),
            **dict(zip(layout.placement, session.current.placement, strict=True)),
            **dict(zip(layout.directions, model.strengths(session, form.selection), strict=True)),
        }

    def _warn(self, error: Exception) -> Updates:
        gr.Warning(str(error))
        return {self.layout.status: markup.status(str(error))}
