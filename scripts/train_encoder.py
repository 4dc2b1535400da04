"""Train an encoder, which predicts the codes of an image; scripts.invert --init encoder starts from these.

    python -m scripts.train_encoder --config configs/encoders/faces_64.yaml                    for the bundled model
    python -m scripts.train_encoder --config configs/encoders/faces_64.yaml --checkpoint CK data.path=LMDB --output DIR

Training uses the generator's own samples and the real pairs of data.path, of which the last tenth is held out; with
data.path=[] it uses only samples. Options section.option=value override those of the file. Two files are written to
DIR: encoder.pt, and training.pt, from which the same command resumes after an interruption.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from configs.loader import add_overrides, check_data, load_options, to_yaml
from editing.encoder_config import EncoderRun
from utils import cli


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="a YAML file, such as configs/encoders/faces_64.yaml")
    add("--checkpoint", type=Path, help="a checkpoint of train.py, or a released one (default the bundled model)")
    add("--output", type=cli.folder, help="folder to write to (default runs/encoder_NAME for --config NAME.yaml)")
    add("--device", help="such as cpu or cuda:1 (default cuda where there is a GPU, else cpu)")
    add("--ops", choices=("auto", "native", "compiled"), default="auto", help="kernels (default auto)")
    add_overrides(parser, EncoderRun)
    return parser.parse_intermixed_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import torch

import ops
from configs import changed_options
from datasets.opening import first_difference, open_dataset
from editing.direction_files import fingerprint
from editing.encoder import Encoder, encode, save_encoder
from editing.encoder_training import EncoderData, EncoderTrainer, generated_batches, held_out_batches
from editing.inversion import Target, psnr
from editing.loading import checkpoint_or_bundled, load_model
from metrics.agreement import confusion, mean_iou
from metrics.features import EFFICIENTNET_SIZE
from metrics.perceptual import EfficientNetDistance
from models import Generator
from training.precision import check_precision
from utils.errors import ConfigError, EditError
from utils.files import make_folder, replacing
from utils.progress import progress
from utils.reading.plain import parse_yaml
from utils.reading.tensors import load_tensors

ENCODER, STATE = "encoder.pt", "training.pt"
_SHOWN_EVERY = 20  # steps between updates of the error in the progress bar; each waits for the device


def main(argv: Sequence[str] | None = None) -> None:
    """Train, from the last training state if there is one, then measure and save the encoder."""
    args = parse(argv)
    run = load_options(EncoderRun, args.config, args.overrides)
    check_data(args.config, run.data.path)
    device = cli.usable_device(args.device)
    check_precision(run.training.precision, device, "float32")
    checkpoint = checkpoint_or_bundled(args.checkpoint)
    generator, classes = load_model(checkpoint, device)
    data = open_dataset(run.data, generator.config.resolution, classes.num_classes) if run.data.path else None
    if data and data.classes.names != classes.names:
        difference = first_difference(classes, data.classes)
        raise ConfigError(
            f"{checkpoint} has other classes than {', '.join(run.data.path)}: {difference}; give data with the classes "
            "of the former"
        )

    ops.set_mode(args.ops, device.type)
    folder = args.output or Path("runs") / f"encoder_{args.config.stem}"
    trainer = make_trainer(run, generator, data, device)
    make_folder(folder)
    resume(trainer, folder, run)
    train(trainer, folder, {"config": to_yaml(run), "made_for": fingerprint(generator)})

    facts = {"steps": run.training.steps, "data": list(run.data.path), **measure(trainer.encoder, generator, data)}
    with replacing(folder / ENCODER) as partial, partial.open("wb") as file:
        save_encoder(trainer.encoder, generator, facts, file)
    print("\n".join(f"{name:<24} {value}" for name, value in facts.items()))
    print(f"wrote {folder / ENCODER}: scripts.invert --init encoder --encoder {folder / ENCODER}")


def make_trainer(
    run: EncoderRun, generator: Generator, data: EncoderData | None, device: torch.device
) -> EncoderTrainer:
    """Return a trainer with a new encoder, initialized from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(run.training.seed)
        encoder = Encoder(run.encoder, generator.config).to(device).to(memory_format=torch.channels_last)
    encoder.set_code_statistics(generator)
    distance = EfficientNetDistance(min(EFFICIENTNET_SIZE, max(generator.config.image_size))).to(device)
    distance.to(memory_format=torch.channels_last)
    return EncoderTrainer(encoder, generator, distance.toward, run.training, data, run.data.workers)


def resume(trainer: EncoderTrainer, folder: Path, run: EncoderRun) -> None:
    """Restore the training state in the folder, if there is one.

    Raises:
        ConfigError: if the state has options that this version does not know.
        EditError: if it is damaged or differs in options, or if the folder contains an encoder but no training state.
    """
    path = folder / STATE
    if not os.path.exists(path):
        if os.path.exists(folder / ENCODER):
            raise EditError(f"{folder / ENCODER} exists, but no {STATE} to resume from; choose another --output")
        return
    try:
        state = load_tensors(path)
        changed = list(changed_options(parse_yaml(state["config"], as_text=True), run))
        if state["made_for"] != fingerprint(trainer.generator):
            changed.append("--checkpoint")
        if not changed:
            trainer.load_state_dict(state)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}; or choose another --output") from None
    except Exception as error:  # the optimizer raises many types of errors for damaged states
        raise EditError(f"{path} is not an encoder's training state, or is damaged; choose another --output") from error
    if changed:
        raise EditError(f"{path} was written with another {', '.join(changed)}; choose another --output")
    print(f"resuming at step {trainer.step}")


def train(trainer: EncoderTrainer, folder: Path, identity: Mapping[str, str]) -> None:
    """Train to the end; write training states, which also contain `identity` for `resume` to compare."""
    smooth_error = None
    with progress(total=trainer.config.steps, initial=trainer.step, unit="step", desc="training the encoder") as bar:
        for error in trainer.run():
            smooth_error = error if smooth_error is None else 0.98 * smooth_error + 0.02 * error
            bar.update()
            if trainer.step % _SHOWN_EVERY == 0:
                bar.set_postfix(mse=f"{smooth_error:.4f}")
            if trainer.is_checkpoint_due():
                with replacing(folder / STATE) as partial, partial.open("wb") as file:
                    torch.save({**trainer.state_dict(), **identity}, file)


@torch.no_grad()
def measure(encoder: Encoder, generator: Generator, data: EncoderData | None) -> dict[str, Any]:
    """Return mean PSNR (dB) and mIoU on samples and real images not trained on; "guided": encoded with labels."""
    encoder.eval()
    device, classes = encoder.mean.device, generator.config.num_classes
    sources = {"own": generated_batches(generator)} | ({"real": held_out_batches(data)} if data else {})
    results: dict[str, Any] = {}
    for source, batches in sources.items():
        targets = list(batches)
        for name, guided in ((source, False), (f"{source}_guided", True)):
            counts, ratios = torch.zeros(classes, classes, dtype=torch.long), list[float]()
            for target in targets:
                assert target.labels is not None
                images = target.images.to(device)
                codes = encode(encoder, generator, Target(images, target.labels.to(device) if guided else None))
                out = generator.synthesis(codes)
                errors = (out.image.clamp(-1, 1) - images).square().mean((1, 2, 3)) / 4  # / 4: to colours in [0, 1]
                ratios += map(psnr, errors.tolist())
                counts += confusion(out.segmentation.argmax(1).to(torch.uint8).cpu(), target.labels.cpu(), classes)
            results |= {f"{name}_psnr": round(mean(ratios), 2), f"{name}_miou": round(mean_iou(counts), 3)}
    return results


if __name__ == "__main__":
    cli.run(main)
