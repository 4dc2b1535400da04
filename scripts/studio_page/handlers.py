"""Event handlers of the page: each takes the values of components, and returns updates for components.

An error that the user can fix is shown as a warning, and the session stays as it was.
"""

import base64
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from scripts.studio_page import markup
from scripts.studio_page.downloads import Size, make_download
from scripts.studio_page.layout import PageLayout, copy_label, resample_label
from scripts.studio_page.long_edits import LongEdits
from scripts.studio_page.model import MAX_SEED, NUM_DIRECTIONS, CodeSelection, Source, name_of, part_label
from scripts.studio_page.session import Placement, Session
from scripts.studio_page.session_file import SESSION_SUFFIX, pack, unpack
from scripts.studio_page.turns import Finished, Preview, Waiting
from scripts.studio_page.uploads import UploadedFile, Uploads
from utils.errors import EditError, UserError

NUM_VARIATIONS = 8
Steps = Iterator[Waiting | Preview | Finished]

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
    amounts: tuple[float, ...]  # of the sliders of named controls

    @classmethod
    def from_values(cls, *values: Any) -> "Form":
        """Build a form from the values of `PageLayout.inputs`."""
        session, part, kind, seed, blend, zoom, right, down, *sliders = values
        strengths, amounts = tuple(sliders[:NUM_DIRECTIONS]), tuple(sliders[NUM_DIRECTIONS:])
        return cls(session, CodeSelection(part, kind), seed, blend, Placement(zoom, right, down), strengths, amounts)

    @property
    def source(self) -> Source:
        """The face of the card "Another face"; raises EditError if none was chosen and the seed is empty."""
        source = self.session.other if self.seed_field is None else self.seed_field
        if source is None:
            raise EditError(f"the seed is empty: enter a whole number from 0 to {MAX_SEED:,}")
        return source

    def with_session(self, session: Session) -> "Form":
        """Return a form with another session; the seed field is emptied if that has another face to take parts from."""
        is_new = session.other is not None and session.other is not self.session.other
        return self._replace(session=session, seed_field=None if is_new else self.seed_field)


class Handlers:
    """Event handlers, shared by all users; a user's own data is in the `Form`."""

    def __init__(self, layout: PageLayout, uploads: Uploads, first_seed: int) -> None:
        self.layout = layout
        self.model = layout.model
        self.uploads = uploads
        self.long_edits = LongEdits(layout.model, uploads.turns)
        self.first_seed = first_seed
        self.tools = (layout.crop, layout.variations)  # shown until the image changes

    def edit(self, edit: Callable[[Form], Session], keep: Sequence[Any] = ()) -> Callable[..., Updates]:
        """Return a handler that applies an edit. It does not update `keep`, the sliders that the user is moving."""

        def handler(*values: Any) -> Updates:
            form = Form.from_values(*values)
            try:
                updates, kept = self._updates(form.with_session(edit(form))), keep
            except UserError as error:  # sliders go back to their values
                updates, kept = {**self._updates(form), **self._warn(error)}, self.tools
            return {component: update for component, update in updates.items() if component not in kept}

        return handler

    def select_part(self, event: gr.EventData, *values: Any) -> Updates:
        """Select the part at the clicked position of an image; `values` are those of the form."""
        form = Form.from_values(*values)
        part = self.model.part_at(form.session, float(event.x), float(event.y))
        updates = self._updates(form._replace(selection=form.selection._replace(part=part)))
        return {**updates, self.layout.part: gr.update(choices=self.layout.part_choices(form.session), value=part)}

    def click_thumbnail(self, event: gr.EventData, *values: Any) -> Updates:
        """Go to the step or the pinned step whose thumbnail was clicked, or take the part of a variation's face."""
        value, is_variation = int(event.value), event.kind == "seed"

        def edit(form: Form) -> Session:
            if is_variation:
                return self.model.copy(form.session, form.selection, value)
            return form.session.take_pin(value) if event.kind == "pin" else form.session.go_to(value)

        return self.edit(edit, keep=[self.layout.variations] * is_variation)(*values)

    def vary(self, *values: Any) -> Updates:
        """Show variations of the selected part."""
        form = Form.from_values(*values)
        seeds = [random_seed() for _ in range(NUM_VARIATIONS)]
        try:
            return {self.layout.variations: markup.variations(self.model, form.session, form.selection, seeds)}
        except UserError as error:
            return self._warn(error)

    def keep(self, sent: float, session: Session) -> tuple[float, str]:
        """Return the session for the browser to keep, after the time at which it was asked for."""
        return sent, base64.b64encode(pack(session, self.model.generator)).decode()

    def restore(self, kept: str, *values: Any) -> Updates:
        """Restore the session that the browser kept, if there is one."""
        form = Form.from_values(*values)
        if not kept:
            return {self.layout.session: form.session}
        try:
            with UploadedFile(f"kept{SESSION_SUFFIX}", base64.b64decode(kept)).on_disk() as path:
                session = unpack(path, self.model.generator)
            updates = self._updates(form.with_session(session))
        except (UserError, ValueError):  # of another model
            return {self.layout.session: form.session}
        return {**updates, self.layout.status: markup.status(f"restored from this browser: {session.summary}")}

    def begin(self, *values: Any) -> Updates:
        """Begin a new session; pinned steps stay."""
        form = Form.from_values(*values)
        session = self.model.begin(self.first_seed)
        new = Session(session.steps, pins=form.session.pins, other=form.session.other)
        return self._updates(form._replace(session=new))

    def choose_seed(self, *values: Any) -> Updates:
        """Make the face of the seed the one to take parts from; if the field is empty, keep the one there is."""
        form = Form.from_values(*values)
        if form.seed_field is not None:
            form = form._replace(session=replace(form.session, other=None))
        try:
            self.model.codes(form.source)
        except UserError as error:
            return self._warn(error)
        return {self.layout.session: form.session, **self._source_updates(form)}

    def receive(self, edit: str, path: str) -> Updates:
        """Read an uploaded file, which then waits for its turn; if it is gone, gr.Error cancels opening it."""
        try:
            uploaded = self.uploads.receive(Path(path))
        except UserError as error:
            raise gr.Error(str(error)) from None
        return {self.layout.uploaded[edit]: uploaded, self.layout.status: markup.status(f"Reading {uploaded.name}")}

    def open(self, uploaded: UploadedFile) -> Iterator[Updates]:
        """Load a session or codes, or invert a photo; yield updates with previews, then one with the result."""
        yield from self._show_progress("open", self.uploads.open(uploaded), f"Matching {uploaded.name}")

    def open_background(self, uploaded: UploadedFile, *values: Any) -> Iterator[Updates]:
        """Reconstruct a photo as the background; yield updates with previews, then one with the result."""
        results = self.uploads.open_background(uploaded, Form.from_values(*values).session.current)
        yield from self._show_progress("background", results, f"Matching {uploaded.name} as the background")

    def paint(self, event: gr.EventData, *values: Any) -> Iterator[Updates]:
        """Make the mask follow a painting; yield updates with previews, then one with the result."""
        form = Form.from_values(*values)
        steps = self.long_edits.paint(form.session, form.selection.part, str(event.labels), str(event.base))
        yield from self._show_progress("paint", steps, "Following the painting")

    def show_crop(self, session: Session) -> Updates:
        """Show the photo of the current step, and its crop to move."""
        photo, (height, width) = session.current.photo, self.model.config.image_size
        if photo is None:
            return {self.layout.crop: ""}
        try:
            automatic = self.uploads.automatic_square(session.original.name, photo)
        except UserError as error:
            return self._warn(error)
        return {self.layout.crop: markup.crop_tool(photo, automatic, height / width)}

    def recrop(self, event: gr.EventData, *values: Any) -> Iterator[Updates]:
        """Invert another crop of the current step's photo; yield updates with previews, then one with the result."""
        session = Form.from_values(*values).session
        photo, name = session.current.photo, session.original.name
        if photo:
            yield from self._show_progress("crop", self.uploads.recrop(name, photo, event.square), f"Matching {name}")

    def copy(self, *values: Any) -> Iterator[Updates]:
        """Take the selected part from the other face; yield updates with previews, if any, then the result."""
        form, name = Form.from_values(*values), ""
        try:
            steps = self.long_edits.copy(form.session, form.selection, form.source)
            name = name_of(form.source)
        except UserError as error:
            steps = iter([Finished("", lambda session: session, str(error))])
        yield from self._show_progress("copy", steps, f"Taking {part_label(form.selection.part)} from {name}")

    def _show_progress(self, edit: str, steps: Steps, activity: str) -> Iterator[Updates]:
        """Yield updates that show previews and the Cancel button, then one that stores the result of a long edit."""
        layout, stop = self.layout, gr.update(visible=True)
        result: Finished | None = None
        try:
            for step in steps:
                if isinstance(step, Finished):
                    result = step
                elif isinstance(step, Waiting):
                    yield {layout.status: markup.status(f"In the queue ({step.ahead} ahead)"), layout.stop: stop}
                else:
                    status = markup.status(f"{activity}: {step.fraction:.0%}")
                    images = markup.progress_panels(step)
                    yield {layout.images: images, layout.crop: "", layout.status: status, layout.stop: stop}
        except UserError as error:
            result = Finished("", lambda session: session, str(error))
        yield {layout.results[edit]: result, layout.uploaded[edit]: None, layout.stop: gr.update(visible=False)}

    def apply(self, edit: str, result: Finished | None, *values: Any) -> Updates:
        """Add the result of a long edit to the session; without one, show the session again instead of previews."""
        form, warning, stored = Form.from_values(*values), "", self.layout.results[edit]
        if result is None:
            return {stored: None, **self._updates(form)}
        name = form.session.current.name
        try:
            form, warning = form.with_session(result.apply(form.session)), result.advice
            name = result.name or name
        except UserError as error:
            warning = str(error)
        warning = warning or self.model.reason_missing(form.session, form.selection.part)
        return {stored: None, **self._updates(form), self.layout.status: markup.status(name, warning)}

    def save(self, kind: str, size: Size, session: Session) -> Updates:
        """Return name and content of one of DOWNLOADS for `studioSave` in page.js; None after an error."""
        layout = self.layout
        try:
            name, content = make_download(kind, size, self.model, session)
        except UserError as error:
            return {layout.download: None, **self._warn(error)}
        href = markup.data_uri(content, "application/octet-stream")
        return {layout.download: {"name": name, "href": href}, layout.status: markup.status(f"saved {name}")}

    def _updates(self, form: Form) -> Updates:
        """Return updates for `PageLayout.outputs`; the selected part stays, as the user may have changed it since."""
        layout, model, session = self.layout, self.model, form.session
        part = form.selection.part
        toggle = "Switch off" if model.is_shown(session, part) else "Switch on"
        lock = "Unlock" if model.is_locked(session, part) else "Lock"
        return {
            layout.session: session,
            layout.part: gr.update(choices=layout.part_choices(session)),
            layout.images: markup.image_panels(model, session, part),
            layout.crop: "",
            layout.history: markup.history(model, session),
            layout.variations: "",
            layout.status: markup.status(session.current.name, model.reason_missing(session, part)),
            layout.undo: gr.update(interactive=session.can_undo),
            layout.redo: gr.update(interactive=session.can_redo),
            layout.pin: "Unpin" if session.is_pinned else "Pin",
            layout.move_crop: gr.update(visible=session.current.photo is not None),
            layout.toggle: gr.update(value=toggle, interactive=model.is_part(part)),
            layout.lock: gr.update(value=lock, interactive=model.is_part(part)),
            layout.resample: resample_label(part),
            layout.copy: copy_label(part),
            layout.remove_background: gr.update(interactive=session.current.background is not None),
            **dict(zip(layout.placement, session.current.placement, strict=True)),
            **dict(zip(layout.directions, model.strengths(session, form.selection), strict=True)),
            **dict(zip(layout.controls, self._control_updates(session, part), strict=True)),
            **self._source_updates(form),
        }

    def _source_updates(self, form: Form) -> Updates:
        """Return updates for the card "Another face"; the face shown stays if the seed is not valid."""
        layout, session = self.layout, form.session
        seed = None if session.other and form.seed_field is None else gr.skip()
        try:
            face = markup.source_face(self.model, form.source)
            blend = self.model.blend_amount(session, form.selection, form.source)
        except EditError:
            face, blend = gr.skip(), 0.0
        return {layout.seed: seed, layout.source: face, layout.blend: blend}

    def _control_updates(self, session: Session, part: str) -> list[Any]:
        """Return an update for each control slider; those without a control are hidden."""
        controls, amounts = self.model.controls_of(part), self.model.amounts(session, part)
        shown = [
            gr.update(visible=True, label=control.name, value=amount)
            for control, amount in zip(controls, amounts, strict=True)
        ]
        return shown + [gr.update(visible=False, value=0.0)] * (len(self.layout.controls) - len(shown))

    def _warn(self, error: Exception) -> Updates:
        return {self.layout.status: markup.status("", str(error))}
