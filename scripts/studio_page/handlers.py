"""What happens when something on the page is used: from the form to new values of components.

A mistake is shown as a warning, and the page stays as it is.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from scripts.studio_page import markup
from scripts.studio_page.downloads import FILES
from scripts.studio_page.form import Form
from scripts.studio_page.layout import Layout
from scripts.studio_page.session import Session
from scripts.studio_page.uploads import Behind, Found, Received, Uploads, View
from scripts.studio_page.workshop import LARGEST_SEED
from utils.errors import UserError

Updates = dict[Any, Any]  # values, or updates, of components
Edit = Callable[[Form], Session]


def any_seed() -> int:
    """For what shall come as chance will have it."""
    return secrets.randbelow(min(1_000_000, LARGEST_SEED))


class Handlers:
    """Of one page, for all visitors: whatever is a visitor's own comes with the form."""

    def __init__(self, layout: Layout, uploads: Uploads) -> None:
        self.layout = layout
        self.workshop = layout.workshop
        self.uploads = uploads

    def edit(self, edit: Edit, keep: Sequence[Any] = ()) -> Callable[..., Updates]:
        """A handler that makes an edit; what is in `keep` is being used and stays as it is."""

        def handler(*values: Any) -> Updates:
            form = Form.of(*values)
            try:
                updates = self._updates(form._replace(session=edit(form)))
            except UserError as error:
                return self._refuse(error)
            return {component: update for component, update in updates.items() if component not in keep}

        return handler

    def click(self, event: gr.EventData, *values: Any) -> Updates:
        """Chooses the part that is seen where the picture was clicked."""
        form = Form.of(*values)
        part = self.workshop.part_at(form.session, float(event.x), float(event.y))
        updates = self._updates(form._replace(part=part))
        labels = self.layout.labels(form.session)
        return {**updates, self.layout.part: gr.update(choices=labels, value=part)}

    def go(self, event: gr.EventData, *values: Any) -> Updates:
        """Looks at the step whose picture was clicked."""
        step = int(event.step)
        return self.edit(lambda form: form.session.go(step))(*values)

    def show_source(self, *values: Any) -> Updates:
        """The face of the seed, before anything is taken from it."""
        form = Form.of(*values)
        layout = self.layout
        try:
            share = self.workshop.share(form.session, form.choice, form.seed)
            return {layout.source: markup.source(self.workshop, form.seed), layout.blend: share}
        except UserError as error:
            return self._refuse(error)

    def receive(self, path: str) -> Updates:
        """Takes an upload, which has to wait while others are worked on.

        Raises:
            gr.Error: if it is gone.
        """
        try:
            received = self.uploads.receive(Path(path))
        except UserError as error:
            raise gr.Error(str(error)) from None
        return {self.layout.received: received, self.layout.status: markup.status("waiting for a turn")}

    def open(self, received: Received) -> Iterator[Updates]:
        """Opens an upload: codes at once, photos while it is shown what they have come to."""
        with received.on_disk() as path:
            yield from self._look(self.uploads.open(path), f"looking for codes of {path.name}")

    def open_background(self, received: Received, *values: Any) -> Iterator[Updates]:
        """Puts an upload behind the face, while it is shown what that has come to."""
        with received.on_disk() as path:
            views = self.uploads.open_background(path, Form.of(*values).session.now)
            yield from self._look(views, f"putting {path.name} behind")

    def _look(self, views: Iterator[View | Found | Behind], doing: str) -> Iterator[Updates]:
        """Shows how far the work is, and at last keeps what it came to."""
        layout = self.layout
        try:
            for view in views:
                if not isinstance(view, View):
                    yield {layout.found: view, layout.received: None, layout.stop: gr.update(visible=False)}
                    return
                told, stop = markup.status(f"{doing}: {view.share:.0%}"), gr.update(visible=True)
                yield {layout.view: markup.progress(view), layout.status: told, layout.stop: stop}
        except UserError as error:
            gr.Warning(str(error), duration=None)
            yield {layout.found: None, layout.received: None, layout.stop: gr.update(visible=False)}

    def open_found(self, found: Found | Behind | None, *values: Any) -> Updates:
        """Puts what an upload came to into the session; without it all is as it was."""
        form = Form.of(*values)
        if found is None:
            return {self.layout.found: None, **self._updates(form)}
        if found.advice:
            gr.Warning(f"{found.name}: {found.advice}", duration=None)
        return {self.layout.found: None, **self._updates(form._replace(session=found.put_into(form.session)))}

    def save(self, name: str) -> Callable[[Session], dict[str, str] | None]:
        """A handler that makes a file."""

        def handler(session: Session) -> dict[str, str] | None:
            try:
                return markup.file_data(FILES[name](self.workshop, session))
            except UserError as error:
                gr.Warning(str(error))
                return None

        return handler

    def _updates(self, form: Form) -> Updates:
        """All that is shown of a session; the part stays chosen, which may be another one by now."""
        layout, workshop, session = self.layout, self.workshop, form.session
        is_shown = workshop.is_shown(session, form.part)
        share = 0.0 if form.number is None else workshop.share(session, form.choice, form.number)
        return {
            layout.session: session,
            layout.part: gr.update(choices=layout.labels(session)),
            layout.view: markup.view(workshop, session, form.part),
            layout.strip: markup.strip(workshop, session),
            layout.status: markup.status(session.now.name),
            layout.undo: gr.update(interactive=session.can_undo),
            layout.redo: gr.update(interactive=session.can_redo),
            layout.toggle: gr.update(
                value="Switch off" if is_shown else "Switch on", interactive=workshop.is_part(form.part)
            ),
            layout.blend: share,
            layout.clear: gr.update(interactive=session.now.background is not None),
            **dict(zip(layout.place, session.now.place, strict=True)),
            **dict(zip(layout.sliders, workshop.strengths(session, form.choice), strict=True)),
        }

    def _refuse(self, error: Exception) -> Updates:
        gr.Warning(str(error))
        return {self.layout.status: markup.status(str(error))}
