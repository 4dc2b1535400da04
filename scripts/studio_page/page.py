"""The Gradio page: connect the events of its components to handlers, and serve it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import gradio as gr

from scripts.studio_page import markup
from scripts.studio_page.handlers import Form, Handlers, random_seed
from scripts.studio_page.layout import TITLE, PageLayout
from scripts.studio_page.model import MAX_SEED, StudioModel
from scripts.studio_page.session import Session
from scripts.studio_page.uploads import MAX_UPLOAD_BYTES, Uploads

CONCURRENT_EVENTS = 4  # limit for events that change no session, such as saving files, over all users
MAX_QUEUED_EVENTS = 100
MAX_SESSIONS = 500  # users whose history is kept
MAX_LONG_EDITS = 20  # of each kind that run or wait, over all users
EDIT_QUEUE = "edits"  # edits are applied one at a time, so that none starts from an outdated session
READY = "() => { document.body.dataset.studio = 'ready'; }"  # until then, Gradio may reset what the user chooses
KEPT = "async (_, ...values) => [await window.studioKept(), ...values]"
SENT = "(_, session) => [performance.now(), session]"
FETCHED = "(sent, content) => window.studioFetched(sent, content)"
PAINTED = "() => window.studioPainted()"
SAVE = "(file) => { if (file) window.studioSave(file); }"


def launch(model: StudioModel, uploads: Uploads, seed: int, host: str, port: int) -> gr.Blocks:
    """Serve the page from background threads, and return the page; `page.close()` stops the server."""
    with suppress(ImportError):
        import_module(
            "matplotlib.pyplot"
        )  # otherwise Gradio imports it during the first event, which takes half a second
    page = build(model, uploads, seed)
    font = ("system-ui", "sans-serif")
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        max_file_size=MAX_UPLOAD_BYTES,
        state_session_capacity=MAX_SESSIONS,
        theme=gr.themes.Base(
            primary_hue="indigo", neutral_hue="stone", font=font, font_mono=("ui-monospace", "monospace")
        ),
        css=markup.STYLE.read_text(encoding="utf-8") + markup.model_style(model),
        head=markup.page_head(model),
    )
    return page


def build(model: StudioModel, uploads: Uploads, seed: int) -> gr.Blocks:
    """Build the page; it starts with the face of `seed`, and offers that of the next seed as the other face."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 600)) as page:
        layout = PageLayout(model, model.begin(seed), (seed + 1) % MAX_SEED)
        handlers = Handlers(layout, uploads, seed)
        _connect_edits(layout, handlers)
        _connect_long_edits(layout, handlers)
        # Card "Another face"
        choose = partial(_connect_in_turn, handler=handlers.choose_seed, inputs=layout.inputs, outputs=layout.outputs)
        choose(partial(gr.on, [layout.seed.blur, layout.seed.submit]), trigger_mode="always_last")
        chosen = _connect(layout.random_seed.click, random_seed, [], [layout.seed])
        choose(chosen.then)
        _connect_in_turn(layout.vary.click, handlers.vary, layout.inputs, [layout.variations, layout.status])
        # Card "Save"
        for name, button in layout.save.items():
            inputs, outputs = [layout.size, layout.session], [layout.download, layout.status]
            made = _connect(button.click, partial(handlers.save, name), inputs, outputs)
            _connect(made.success, None, [layout.download], [], js=SAVE)
        # page.js triggers this event to keep the session in the browser, and to fetch answers that were lost.
        asked, answer = [layout.sent, layout.session], [layout.sent, layout.kept]
        kept = _connect(layout.fetch.click, handlers.keep, asked, answer, trigger_mode="multiple", js=SENT)
        _connect(kept.success, None, answer, [], js=FETCHED)
        restored = _connect_in_turn(page.load, handlers.restore, [layout.kept, *layout.inputs], layout.outputs, js=KEPT)
        _connect(restored.then, None, [], [], js=READY)
    page.queue(max_size=MAX_QUEUED_EVENTS, default_concurrency_limit=CONCURRENT_EVENTS)
    return page


def _connect(
    listener: Callable[..., Any],
    handler: Callable[..., Any] | None,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    **options: Any,
) -> Any:
    """Connect a handler to an event; show no progress overlay, and keep the event out of Gradio's public API."""
    options = {"show_progress": "hidden", "api_visibility": "private", **options}
    return listener(fn=handler, inputs=list(inputs), outputs=list(outputs), **options)


_connect_in_turn = partial(_connect, concurrency_id=EDIT_QUEUE, concurrency_limit=1)


def _connect_edits(layout: PageLayout, handlers: Handlers) -> None:
    model = layout.model
    connect = partial(_connect_in_turn, inputs=layout.inputs, outputs=layout.outputs)
    buttons: dict[gr.Button, Callable[[Form], Session]] = {
        layout.undo: lambda form: form.session.undo(),
        layout.redo: lambda form: form.session.redo(),
        layout.resample: lambda form: model.resample(form.session, form.selection, random_seed()),
        layout.toggle: lambda form: model.toggle(form.session, form.selection.part),
        layout.lock: lambda form: model.lock(form.session, form.selection.part),
        layout.pin: lambda form: form.session.pin(),
        layout.open_seed: lambda form: model.open(form.session, form.source),
        layout.use_current: lambda form: replace(form.session, other=form.session.current),
        layout.remove_background: lambda form: model.remove_background(form.session),
    }
    for button, edit in buttons.items():
        connect(button.click, handlers.edit(edit), trigger_mode="multiple")
    connect(layout.images.click, handlers.select_part)
    for thumbnails in (layout.history, layout.variations):
        connect(thumbnails.click, handlers.click_thumbnail, trigger_mode="always_last")
    connect(layout.new.click, handlers.begin)
    _connect(layout.move_crop.click, handlers.show_crop, [layout.session], [layout.crop, layout.status])
    select = handlers.edit(lambda form: form.session)
    connect(partial(gr.on, [layout.part.input, layout.kind.input]), select, trigger_mode="always_last")
    sliders: list[tuple[list[gr.Slider], Callable[[Form], Session]]] = [
        (layout.directions, lambda form: model.move_along(form.session, form.selection, form.strengths)),
        (layout.controls, lambda form: model.move_controls(form.session, form.selection.part, form.amounts)),
        (layout.placement, lambda form: model.place(form.session, form.placement)),
        ([layout.blend], lambda form: model.blend(form.session, form.selection, form.source, form.blend)),
    ]
    for group, edit in sliders:
        inputs = partial(gr.on, [slider.input for slider in group])
        connect(inputs, handlers.edit(edit, keep=group), trigger_mode="always_last")


def _connect_long_edits(layout: PageLayout, handlers: Handlers) -> None:
    """Connect uploads and edits that show previews, and the button that cancels them."""
    uploads = {"open": layout.open, "background": layout.background}
    received = {
        name: _connect(button.upload, partial(handlers.receive, name), [button], [layout.uploaded[name], layout.status])
        for name, button in uploads.items()
    }
    events: dict[str, tuple[Any, Any, list[Any]]] = {
        "open": (received["open"].success, handlers.open, [layout.uploaded["open"]]),
        "background": (
            received["background"].success,
            handlers.open_background,
            [layout.uploaded["background"], *layout.inputs],
        ),
        "crop": (layout.crop.submit, handlers.recrop, layout.inputs),
        "paint": (layout.images.submit, handlers.paint, layout.inputs),
        "copy": (layout.copy.click, handlers.copy, layout.inputs),
    }
    running = []
    for name, (listener, handler, inputs) in events.items():
        result = layout.results[name]
        outputs = [layout.uploaded[name], result, layout.images, layout.crop, layout.status, layout.stop]
        run = _connect(listener, handler, inputs, outputs, concurrency_limit=MAX_LONG_EDITS)
        apply = partial(handlers.apply, name)
        applied = _connect_in_turn(run.success, apply, [result, *layout.inputs], [result, *layout.outputs])
        if name == "paint":
            _connect(applied.then, None, [], [], js=PAINTED)
        running.append(run)
    stopped = _connect(layout.stop.click, lambda: gr.update(visible=False), [], [layout.stop], cancels=running)
    shown = _connect_in_turn(stopped.then, handlers.edit(lambda form: form.session), layout.inputs, layout.outputs)
    _connect(shown.then, None, [], [], js=PAINTED)
