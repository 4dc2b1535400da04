"""Trains an encoder, which finds codes of a picture at once: scripts.invert --init encoder starts from these.

    python -m scripts.train_encoder --config configs/encoders/faces_64.yaml                    for the bundled model
    python -m scripts.train_encoder --config configs/encoders/faces_64.yaml --checkpoint CK data.path=LMDB --output DIR

It learns from the model's own samples and, where there are data, from all real pairs but the last tenth; `data.path=[]`
leaves them out. Options of the file are given anew as section.option=value. DIR gets encoder.pt, which is small, and
training.pt, from which the same command goes on after an interruption.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import ops
from configs import changed_options
from configs.loader import load_options, to_yaml
from datasets.opening import first_difference, open_dataset
from editing.direction_files import fingerprint
from editing.encoder import Encoder, encode, save_encoder
from editing.encoder_training import EncoderRun, EncoderTrainer, Pairs, held_out, own_samples
from editing.inversion import Target
from editing.loading import load_model
from editing.reconstruction_quality import psnr
from metrics.agreement import confusion, mean_iou
from metrics.features import EFFICIENTNET_SIZE
from metrics.perceptual import EfficientNetDistance
from models import Generator
from models.bundled import bundled_model
from utils import cli
from utils.errors import ConfigError, EditError
from utils.files import make_folder, replacing
from utils.progress import progress
from utils.reading.plain import parse_yaml
from utils.reading.tensors import load_tensors

ENCODER, STATE = "encoder.pt", "training.pt"
_SHOWN_EVERY = 20  # steps; showing a number waits for the device


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="a YAML file, such as configs/encoders/faces_64.yaml")
    add("--checkpoint", type=Path, help="of the generator (default the bundled model)")
    add("--output", type=Path, help="folder to write to (default runs/encoder_NAME of the configuration)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    add("overrides", nargs="*", metavar="section.option=value", help="options in place of the file's")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, from where an earlier call was interrupted, and measures.

    Raises:
        ConfigError, EditError: if an option makes no sense, or the folder holds another training.
        DataError: if the data cannot be read.
        MetricError: if a package is missing.
    """
    args = parse(argv)
    run = load_options(EncoderRun, args.config, args.overrides)
    device = cli.usable_device(args.device)
    checkpoint = args.checkpoint or bundled_model()
    generator, classes = load_model(checkpoint, device)
    resolution = generator.config.resolution
    pairs = open_dataset(run.data, resolution, classes.num_classes) if run.data.path else None
    if pairs and pairs.classes.names != classes.names:
        why = first_difference(classes, pairs.classes)
        raise ConfigError(
            f"{checkpoint} has other classes than {', '.join(run.data.path)}: {why}; give data of its own"
        )
    ops.set_mode(args.ops, device.type)
    folder = args.output or Path("runs") / f"encoder_{args.config.stem}"
    identity = {"config": to_yaml(run), "made_for": fingerprint(generator)}
    trainer = prepare(run, generator, pairs, device)
    make_folder(folder)
    resume(trainer, folder, run)
    train(trainer, folder, identity)
    facts = {"steps": run.training.steps, "data": list(run.data.path), **measure(trainer.encoder, generator, pairs)}
    with replacing(folder / ENCODER) as partial, partial.open("wb") as file:
        save_encoder(trainer.encoder, generator, facts, file)
    print("\n".join(f"{name:<24} {value}" for name, value in facts.items()))
    print(f"wrote {folder / ENCODER}: scripts.invert --init encoder --encoder {folder / ENCODER}")


def prepare(run: EncoderRun, generator: Generator, pairs: Pairs | None, device: torch.device) -> EncoderTrainer:
    """A training at its first step."""
    with torch.random.fork_rng():
        torch.manual_seed(run.training.seed)
        encoder = Encoder(run.encoder, generator.config).to(device).to(memory_format=torch.channels_last)
    encoder.fit_to(generator)
    distance = EfficientNetDistance(min(EFFICIENTNET_SIZE, generator.config.resolution)).to(device)
    distance.to(memory_format=torch.channels_last)
    return EncoderTrainer(encoder, generator, distance.toward, run.training, pairs, run.data.workers)


def resume(trainer: EncoderTrainer, folder: Path, run: EncoderRun) -> None:
    """Goes on from the state that an earlier call left, if it did.

    Raises:
        ConfigError: if the state has options that this version does not know.
        EditError: if that one trained something else, or the file is damaged, or an encoder from elsewhere is there.
    """
    path = folder / STATE
    if not os.path.exists(path):
        if os.path.exists(folder / ENCODER):
            raise EditError(f"{folder / ENCODER} exists, but no {STATE} to go on from; choose another --output")
        return
    try:
        state = load_tensors(path)
        changed = changed_options(parse_yaml(state["config"], as_text=True), run)
        if state["made_for"] != fingerprint(trainer.generator):
            changed.append("--checkpoint")
        if not changed:
            trainer.load_state_dict(state)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:  # the optimiser raises whatever damage it trips over
        raise EditError(f"{path} is no state of a training, or damaged; choose another --output") from error
    if changed:
        raise EditError(f"{path} is of a training with other {', '.join(changed)}; choose another --output")
    print(f"going on at step {trainer.step}")


def train(trainer: EncoderTrainer, folder: Path, identity: Mapping[str, str]) -> None:
    """To the end, storing the state now and then."""
    smooth = None
    with progress(total=trainer.config.steps, initial=trainer.step, unit="step", desc="training the encoder") as bar:
        for error in trainer.run():
            smooth = error if smooth is None else 0.98 * smooth + 0.02 * error
            bar.update()
            if trainer.step % _SHOWN_EVERY == 0:
                bar.set_postfix(mse=f"{smooth:.4f}")
            if trainer.is_checkpoint_due():
                with replacing(folder / STATE) as partial, partial.open("wb") as file:
                    torch.save({**trainer.state_dict(), **identity}, file)


@torch.no_grad()
def measure(encoder: Encoder, generator: Generator, pairs: Pairs | None) -> dict[str, Any]:
    """Of pictures that the training did not see: PSNR of colours and mean IoU of masks, without labels and with."""
    encoder.eval()
    kinds = {"own": own_samples(generator)} | ({"real": held_out(pairs)} if pairs else {})
    found: dict[str, Any] = {}
    for kind, batches in kinds.items():
        targets = list(batches)
        for guided in (False, True):
            decibels, miou = _fit(encoder, generator, targets, guided)
            name = f"{kind}_guided" if guided else kind
            found |= {f"{name}_psnr": round(decibels, 2), f"{name}_miou": round(miou, 3)}
    return found


def _fit(encoder: Encoder, generator: Generator, targets: Sequence[Target], guided: bool) -> tuple[float, float]:
    device, classes = encoder.mean.device, generator.config.num_classes
    counts, ratios = torch.zeros(classes, classes, dtype=torch.long), list[float]()
    for target in targets:
        assert target.labels is not None
        images = target.images.to(device)
        codes = encode(encoder, generator, Target(images, target.labels.to(device) if guided else None))
        drawn = generator.synthesis(codes)
        errors = (drawn.image.clamp(-1, 1) - images).square().mean((1, 2, 3)) / 4  # of colours in [0, 1]
        ratios += map(psnr, errors.tolist())
        counts += confusion(drawn.segmentation.argmax(1).to(torch.uint8).cpu(), target.labels.cpu(), classes)
    return mean(ratios), mean_iou(counts)


if __name__ == "__main__":
    cli.run(main)
