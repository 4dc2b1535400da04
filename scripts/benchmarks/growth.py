"""How the cost of training an image grows with the number of parts and with the resolution."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import torch

from configs import ModelOptions, RunConfig
from datasets import DataConfig
from scripts.benchmarks.report import Column, Table
from scripts.benchmarks.timing import Spread, in_turn, ratios
from scripts.benchmarks.trainers import drawn_data, our_trainer

_WARM_UP = 1
_METHOD = "discriminator and generator step, no penalties"


def with_parts(model: ModelOptions, parts: int) -> ModelOptions:
    """The same model with other parts, all of them opaque."""
    return replace(model, num_classes=parts, transparent_classes=())


def with_resolution(model: ModelOptions, resolution: int) -> ModelOptions:
    """The same model with other pictures."""
    return replace(model, resolution=resolution)


def compare_parts(config: RunConfig, parts: Sequence[int], batch: int, device: torch.device, rounds: int) -> Table:
    """Seconds an image for each number of parts."""
    models = {str(k): with_parts(config.model, k) for k in parts}
    seconds = seconds_per_image(config, models, batch, device, rounds)
    rows = [
        {"parts": k, "seconds": Spread.of(seconds[str(k)]), "ratio": ratios(seconds[str(k)], seconds[str(parts[0])])}
        for k in parts
    ]
    columns = [
        Column("parts", heading="K"),
        Column("seconds", "{0.median:.3f}", "s an image"),
        Column("ratio", "{:.2f}", "to the first"),
    ]
    title = (
        f"growth with the parts at {config.model.resolution} pixels, batch {batch}: {_METHOD}, {rounds} rounds\n"
        "target: at most 1.5 from K = 2 to K = 26 at 256 pixels"
    )
    return Table(title, columns, rows, {"batch": batch, "model": config.model})


def compare_resolutions(
    config: RunConfig, resolutions: Sequence[int], batch: int, device: torch.device, rounds: int
) -> Table:
    """Seconds an image and a pixel for each resolution."""
    models = {str(side): with_resolution(config.model, side) for side in resolutions}
    seconds = seconds_per_image(config, models, batch, device, rounds)
    per_pixel = {side: [each / side**2 for each in seconds[str(side)]] for side in resolutions}
    first = resolutions[0]
    rows = [
        {
            "resolution": side,
            "seconds": Spread.of(seconds[str(side)]),
            "ratio": ratios(seconds[str(side)], seconds[str(first)]),
            "microseconds_per_pixel": Spread.of([1e6 * each for each in per_pixel[side]]),
            "pixel_ratio": ratios(per_pixel[side], per_pixel[first]),
        }
        for side in resolutions
    ]
    columns = [
        Column("resolution", heading="pixels"),
        Column("seconds", "{0.median:.3f}", "s an image"),
        Column("ratio", "{:.2f}", "to the first"),
        Column("microseconds_per_pixel", "{0.median:.2f}", "µs a pixel"),
        Column("pixel_ratio", "{:.2f}", "to the first"),
    ]
    title = (
        f"growth with the resolution, K = {config.model.num_classes}, batch {batch}: {_METHOD}, {rounds} rounds\n"
        "target: no more a pixel than at the first"
    )
    return Table(title, columns, rows, {"batch": batch, "model": config.model})


def seconds_per_image(
    config: RunConfig, models: Mapping[str, ModelOptions], batch: int, device: torch.device, rounds: int
) -> dict[str, list[float]]:
    """Of the real loop's iterations, without penalties, in every round; data are loaded beforehand."""
    with ExitStack() as stack:
        calls = {name: _iteration(replace(config, model=model), batch, device, stack) for name, model in models.items()}
        seconds = in_turn(calls, device, rounds=rounds, warm_up=_WARM_UP)
    return {name: [each / batch for each in values] for name, values in seconds.items()}


def _iteration(config: RunConfig, batch: int, device: torch.device, stack: ExitStack) -> Callable[[], None]:
    path = stack.enter_context(drawn_data(config.model))
    trainer = our_trainer(
        replace(
            config,
            data=DataConfig(path=(str(path),), workers=0),
            losses=replace(config.losses, r1_every=0, path_length_every=0),
            training=replace(config.training, batch_size=batch, max_batch_per_device=batch),
        ),
        device,
    )
    return partial(trainer.phases.iterate, next(trainer.batches.after(trainer.state.images)), batch)
