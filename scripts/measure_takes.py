"""Measure how well parts are taken over from other faces: plain copy, with the base codes, and by --take-shape.

    python -m scripts.measure_takes --parts hair,hat,cloth --pairs 50

Faces of the seeds 0, 1, ... take a part from those of 1000, 1001, ...; pairs whose source has little of it (less than
2 % of the image) are skipped. IoU compares the mask of the part with the source's. Outside is the mean change, in grey
levels, of the pixels that belong to the part neither before nor after the edit; kept is the share of these pixels whose
class stays. "Layer codes" is the image that --take-shape approximates: generated from the source's base codes for this
part alone, which no W+ code can do. Seconds are of one thread, for one pair at a time.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from utils import cli
from utils.cli import positive


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--parts", default="hair,hat,cloth", help="class names or ids (default hair,hat,cloth)")
    add("--pairs", type=positive, default=50, help="pairs of faces for each part (default 50)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch
from torch import Tensor

from datasets.transforms import float_to_images, segmentation_to_labels
from editing.codes import seed_codes
from editing.loading import checkpoint_or_bundled, load_model
from editing.mixing import PartSelection, code_index, mix_codes, parse_parts
from editing.transplant import hybrid_layer_codes, transplant
from models import Generator
from ops import set_mode
from utils.errors import EditError
from utils.progress import progress

FIRST_SOURCE = 1000
MIN_AREA = 0.02
MAX_TRIED = 40  # seeds per pair, before a part counts as too rare


class Images(NamedTuple):
    images: Tensor  # uint8 [1, 3, H, W]
    labels: Tensor  # uint8 [1, H, W]


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line of measurements for each part and way of taking it over."""
    args = parse(argv)
    device = cli.usable_device(args.device)
    generator, classes = load_model(checkpoint_or_bundled(args.checkpoint), device)
    parts = parse_parts(args.parts, classes.names)
    if parts.base:
        raise EditError(f"--parts {args.parts}: give classes, without base")
    set_mode(args.ops, device.type)
    torch.set_num_threads(1)
    print(f"{'part':<12} {'taken over by':<14} {'IoU':>6} {'outside':>8} {'kept':>6} {'seconds':>8}")
    for part in parts.ids:
        pairs = find_pairs(generator, part, args.pairs, classes.names[part])
        for name, values in measure(generator, part, pairs).items():
            iou, outside, kept, seconds = values.tolist()
            print(
                f"{classes.names[part]:<12} {name:<14} {iou:6.3f} {outside:8.2f} {kept:6.3f} {seconds:8.2f}", flush=True
            )


def find_pairs(generator: Generator, part: int, count: int, name: str) -> list[tuple[Tensor, Tensor]]:
    """Return pairs of W codes [1, D], face and source; raise EditError if too few sources have the part."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for seed in range(MAX_TRIED * count):
        source = seed_codes(generator, [FIRST_SOURCE + seed])
        if (synthesize(generator, generator.expand(source)).labels == part).float().mean() > MIN_AREA:
            pairs.append((seed_codes(generator, [seed]), source))
        if len(pairs) == count:
            return pairs
    raise EditError(
        f"{len(pairs)} of {MAX_TRIED * count} samples have enough {name}: choose other --parts or fewer --pairs"
    )


def measure(generator: Generator, part: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Return the means over all pairs of IoU, outside, kept and seconds, float [4], for each way of taking it over."""
    config = generator.config
    own, with_base = (code_index(config, PartSelection((part,), base=base)) for base in (False, True))
    ways: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "nothing": lambda codes, _: generator.expand(codes),
        "copy": lambda codes, source: generator.expand(mix_codes(codes, source, own, config)),
        "copy with base": lambda codes, source: generator.expand(mix_codes(codes, source, with_base, config)),
        "--take-shape": lambda codes, source: generator.expand(transplant(generator, codes, source, part)),
        "layer codes": lambda codes, source: hybrid_layer_codes(generator, codes, source, part),
    }
    sums = {name: torch.zeros(4) for name in ways}
    for codes, source in progress(pairs, total=len(pairs), desc="measuring", unit="pair"):
        before, wanted = (synthesize(generator, generator.expand(each)) for each in (codes, source))
        for name, way in ways.items():
            start = time.perf_counter()
            layer_codes = way(codes, source)
            if layer_codes.is_cuda:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
            sums[name] += torch.tensor([*compare(before, synthesize(generator, layer_codes), wanted, part), seconds])
    return {name: total / len(pairs) for name, total in sums.items()}


def compare(before: Images, after: Images, wanted: Images, part: int) -> tuple[float, float, float]:
    """Return the IoU of the part with the wanted one, the change outside in grey levels, and the share kept there."""
    now, target = after.labels == part, wanted.labels == part
    iou = (now & target).sum() / (now | target).sum().clamp(min=1)
    outside = ~(now | (before.labels == part))
    if not outside.any():  # the part fills the image
        return iou.item(), 0.0, 1.0
    change = (after.images.float() - before.images.float()).abs().mean(1)[outside].mean()
    kept = (after.labels == before.labels)[outside].float().mean()
    return iou.item(), change.item(), kept.item()


@torch.no_grad()
def synthesize(generator: Generator, layer_codes: Tensor) -> Images:
    """Generate image and labels of layer codes [1, K, L, D]."""
    out = generator.synthesis_from_layer_codes(layer_codes)
    return Images(float_to_images(out.image), segmentation_to_labels(out.segmentation))


if __name__ == "__main__":
    cli.run(main)
