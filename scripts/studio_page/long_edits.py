"""Edits that optimize codes for some seconds: painted masks, and parts of other faces with their shape.

Shapes: M vectors of a W+ code, D latent width, H x W images.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from editing.inversion import ProgressCallback
from editing.mixing import PartSelection, code_index
from editing.repainting import Repainted, repaint, touched_parts
from editing.transplant import transplant
from scripts.studio_page.model import CodeSelection, Source, StudioModel, name_of
from scripts.studio_page.session import Change, EditStep, Session
from scripts.studio_page.turns import Finished, Images, Preview, Turns, Waiting
from utils.errors import EditError
from utils.images import colorize

NEAR = 0.7  # below this IoU, a part does not look like its painting
FOLLOWED = 0.7  # share of the painted pixels below which a stroke was hardly followed, whatever the IoU of its part


class LongEdits:
    """Edits that take turns with the optimizations of other users."""

    def __init__(self, model: StudioModel, turns: Turns) -> None:
        self.model = model
        self.turns = turns

    def paint(self, session: Session, part: str, content: str, base: str) -> Iterator[Waiting | Preview | Finished]:
        """Make the mask follow a painting. Only pixels that differ from `base`, the mask that was painted on, count.

        Both are class ids, uint8 [H, W], as base64 of their bytes. The edit is named after `part`, the selected one, or
        after the painted parts if the painting leaves that alone.

        Raises:
            EditError: if the painting is not one of this model, or changes nothing.
        """
        model, step = self.model, session.current
        edited = model.generate(step)
        painted, painted_on = self._labels(content), self._labels(base)
        painted = np.where(painted == painted_on, edited.labels, painted)
        if not touched_parts(edited.labels, painted):
            raise EditError("the painting changes nothing: paint over another part")
        target = np.where(painted == edited.labels, edited.generated, painted)  # with the specks that are not shown
        mask = colorize(painted, model.classes.palette())

        def optimize(callback: ProgressCallback) -> Repainted:
            return repaint(
                model.generator,
                step.codes,
                target,
                shown=torch.tensor(step.shown),
                scene=model.scene(step),
                locked=tuple(session.locked),
                callback=callback,
            )

        def preview(images: np.ndarray) -> Images:
            return {"image": images[0], "mask": mask}

        result = yield from self.turns.run(optimize, preview)
        all_reached = {model.classes.names[id_]: iou for id_, iou in result.iou.items()}
        reached = {name: iou for name, iou in all_reached.items() if name == part} or all_reached
        numbers = ", ".join(f"{name} {iou:.2f}" for name, iou in reached.items())
        advice = ""
        if torch.equal(result.codes, step.codes.to(result.codes)):
            raise EditError("the model cannot follow this painting, so the face stays as it was: try another stroke")
        if result.followed < FOLLOWED or any(iou < NEAR for iou in reached.values()):
            advice = f"the model could follow the painting only in part (IoU: {numbers}); what it reached is kept"
        name = f"{', '.join(reached)}: painted"
        told = f"{name} ({result.followed:.0%} of the painted pixels follow)"
        yield Finished(told, self._application(name, session, result.codes), advice)

    def copy(
        self, session: Session, selection: CodeSelection, source: Source
    ) -> Iterator[Waiting | Preview | Finished]:
        """Take the selected codes from another face; a part with its shape, which other codes share.

        Raises:
            EditError: if the part is locked, or the seed is out of range.
        """
        copied = self.model.copy(session, selection, source)
        is_foreground = selection.part in self.model.classes.names[1:]
        if is_foreground and selection.kind != "texture":
            return self._transplant(session, selection, source, copied.current.name)
        return iter([Finished(copied.current.name, lambda now: self.model.copy(now, selection, source))])

    def _transplant(
        self, session: Session, selection: CodeSelection, source: Source, name: str
    ) -> Iterator[Waiting | Preview | Finished]:
        model, step = self.model, session.current
        part = model.classes.names.index(selection.part)
        codes_of_source, face = model.codes(source), model.image_of(source)

        def optimize(callback: ProgressCallback) -> Tensor:
            fixed = code_index(model.config, PartSelection(tuple(session.locked), base=False))
            if selection.kind == "shape":
                fixed = torch.cat([fixed, code_index(model.config, None, "texture")])
            return transplant(
                model.generator,
                step.codes,
                codes_of_source,
                part,
                callback=callback,
                fixed=fixed,
                shown=torch.tensor(step.shown),
                scene=model.scene(step),
            )

        def preview(images: np.ndarray) -> Images:
            return {"image": images[0], name_of(source): face}

        codes = yield from self.turns.run(optimize, preview)
        yield Finished(name, self._application(name, session, codes))

    def _application(self, name: str, start: Session, codes: Tensor) -> Callable[[Session], Session]:
        """Return a function that adds a result to a session, which may have changed since `start`.

        It raises EditError if another face was opened. Parts that were locked since then keep their codes.
        """

        def apply(now: Session) -> Session:
            if now.original is not start.original:
                raise EditError("another face was opened before this edit was finished: repeat it")
            locked = code_index(self.model.config, PartSelection(tuple(now.locked), base=False))
            return now.edit(name, _with_changes(start.current, codes, locked))

        return apply

    def _labels(self, content: str) -> np.ndarray:
        size, count = self.model.config.image_size, self.model.config.num_classes
        try:
            labels = np.frombuffer(base64.b64decode(content, validate=True), np.uint8).reshape(size)
        except ValueError:
            raise EditError("the painting is of another model: reload the page") from None
        if labels.max() >= count:
            raise EditError("the painting is of another model: reload the page")
        return labels


def _with_changes(start: EditStep, codes: Tensor, kept: Tensor) -> Change:
    """Return a change that replaces vectors of a step: those that differ between `start` and `codes` [1, M, D].

    The vectors at the positions `kept`, long [n], stay.
    """
    changed = (codes.to(start.codes) != start.codes).any(2)[0]
    changed[kept.to(changed.device)] = False

    def change(step: EditStep) -> EditStep:
        merged = step.codes.clone()
        merged[:, changed] = codes[:, changed].to(merged)
        return replace(step, codes=merged)

    return change
