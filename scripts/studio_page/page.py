"""The page: which handler answers to what."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import gradio as gr

from scripts.studio_page import markup
from scripts.studio_page.handlers import Edit, Handlers, any_seed
from scripts.studio_page.layout import TITLE, Layout
from scripts.studio_page.uploads import LARGEST, Uploads
from scripts.studio_page.workshop import LARGEST_SEED, Workshop

FILES_AT_ONCE = 4  # of all visitors together, as other things that change nothing
MOST_WAITING = 100
MOST_VISITORS = 500  # whose history is kept
UPLOADS = "uploads"  # opened one after the other
EDITS = "edits"  # they come one after the other, or one could start from what another is replacing
READY = "() => { document.body.dataset.studio = 'ready'; }"  # before, what is chosen would be set back
FETCHED = "() => window.studioFetched()"
SAVE = "(file) => { if (file) window.studioSave(file); }"


def launch(workshop: Workshop, uploads: Uploads, seed: int, host: str, port: int) -> gr.Blocks:
    """Serves the page in threads of their own; its `close` ends them."""
    with suppress(ImportError):
        import_module("matplotlib.pyplot")  # where it is installed, Gradio would at the first action: half a second
    page = build(workshop, uploads, seed)
    font = ("system-ui", "sans-serif")
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        inbrowser=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        max_file_size=LARGEST,
        state_session_capacity=MOST_VISITORS,
        theme=gr.themes.Base(
            primary_hue="indigo", neutral_hue="stone", font=font, font_mono=("ui-monospace", "monospace")
        ),
        css=markup.STYLE.read_text(encoding="utf-8") + markup.swatches(workshop),
    )
    return page


def build(workshop: Workshop, uploads: Uploads, seed: int) -> gr.Blocks:
    """The page, which begins with the face of a seed."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 600)) as page:
        layout = Layout(workshop, workshop.begin(seed), (seed + 1) % LARGEST_SEED)
        handlers = Handlers(layout, uploads)
        _wire_edits(layout, handlers)
        _wire_source(layout, handlers)
        _wire_uploads(layout, handlers)
        _wire_files(layout, handlers)
        fetched = _quietly(layout.fetch.click, lambda: None, [], [], trigger_mode="multiple")
        _quietly(fetched.success, None, [], [], js=FETCHED)
        _quietly(page.load, None, [], [], js=READY)
    page.queue(max_size=MOST_WAITING, default_concurrency_limit=FILES_AT_ONCE)
    return page


def _quietly(
    listener: Callable[..., Any],
    handler: Callable[..., Any] | None,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    **options: Any,
) -> Any:
    """Wires without covering anything while it works, and leaves it out of the programming interface."""
    options = {"show_progress": "hidden", "api_visibility": "private", **options}
    return listener(fn=handler, inputs=list(inputs), outputs=list(outputs), **options)


_in_turn = partial(_quietly, concurrency_id=EDITS, concurrency_limit=1)


def _wire_edits(layout: Layout, handlers: Handlers) -> None:
    workshop = layout.workshop
    clicks: dict[gr.Button, Edit] = {
        layout.undo: lambda form: form.session.undo(),
        layout.redo: lambda form: form.session.redo(),
        layout.resample: lambda form: workshop.resample(form.session, form.choice, any_seed()),
        layout.toggle: lambda form: workshop.toggle(form.session, form.part),
        layout.take: lambda form: workshop.take(form.session, form.choice, form.seed),
        layout.begin: lambda form: workshop.open(form.session, form.seed),
        layout.clear: lambda form: workshop.clear_behind(form.session),
    }
    wire = partial(_in_turn, inputs=layout.inputs, outputs=layout.outputs)
    for button, edit in clicks.items():
        wire(button.click, handlers.edit(edit), trigger_mode="multiple")
    look = handlers.edit(lambda form: form.session)
    wire(partial(gr.on, [layout.part.input, layout.kind.input]), look, trigger_mode="always_last")
    wire(layout.view.click, handlers.click)
    wire(layout.strip.click, handlers.go, trigger_mode="always_last")
    slid = handlers.edit(lambda form: workshop.slide(form.session, form.choice, form.strengths), keep=layout.sliders)
    wire(partial(gr.on, [slider.input for slider in layout.sliders]), slid, trigger_mode="always_last")
    placed = handlers.edit(lambda form: workshop.move(form.session, form.place), keep=layout.place)
    wire(partial(gr.on, [slider.input for slider in layout.place]), placed, trigger_mode="always_last")
    blent = handlers.edit(
        lambda form: workshop.blend(form.session, form.choice, form.seed, form.share), keep=[layout.blend]
    )
    wire(layout.blend.input, blent, trigger_mode="always_last")


def _wire_source(layout: Layout, handlers: Handlers) -> None:
    shown = [layout.blend, layout.source, layout.status]
    _quietly(layout.seed.input, handlers.show_source, layout.inputs, shown, trigger_mode="always_last")
    drawn = _quietly(layout.dice.click, any_seed, [], [layout.seed])
    _quietly(drawn.then, handlers.show_source, layout.inputs, shown)


def _wire_uploads(layout: Layout, handlers: Handlers) -> None:
    shown = [layout.received, layout.found, layout.view, layout.status, layout.stop]
    kinds = [(layout.upload, handlers.open, []), (layout.behind, handlers.open_background, layout.inputs)]
    works = []
    for button, handler, inputs in kinds:
        received = _quietly(button.upload, handlers.receive, [button], [layout.received, layout.status])
        taking = [layout.received, *inputs]
        work = _quietly(received.success, handler, taking, shown, concurrency_id=UPLOADS, concurrency_limit=1)
        _in_turn(work.success, handlers.open_found, [layout.found, *layout.inputs], [layout.found, *layout.outputs])
        works.append(work)
    stopped = _quietly(layout.stop.click, lambda: gr.update(visible=False), [], [layout.stop], cancels=works)
    _in_turn(stopped.then, handlers.edit(lambda form: form.session), layout.inputs, layout.outputs)


def _wire_files(layout: Layout, handlers: Handlers) -> None:
    for name, button in layout.files.items():
        made = _quietly(button.click, handlers.save(name), [layout.session], [layout.saved])
        _quietly(made.success, None, [layout.saved], [], js=SAVE)
