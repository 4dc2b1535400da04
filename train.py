"""Train SemanticStyleGAN: `python train.py --config configs/faces_64_cpu.yaml [section.option=value ...]`.

On several GPUs: `torchrun --nproc_per_node=8 train.py --config ...`. Rerun the same command to resume a run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from configs.loader import add_overrides, check_data, load_config
from utils import cli
from utils.errors import ConfigError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__, prog="python train.py")
    parser.add_argument("--config", required=True, help="YAML file with the options that differ from the defaults")
    add_overrides(parser)
    output = "folder of the run (default: runs/NAME for --config NAME.yaml)"
    parser.add_argument("--output", type=cli.folder, help=output)
    parser.add_argument(
        "--resume",
        default="auto",
        help="auto (default): resume from the newest checkpoint in --output, if any; none: start in a new or empty "
        "folder; or the path of a checkpoint to resume from",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the data files, run one iteration with every penalty, print time and memory; write nothing",
    )
    return parser.parse_intermixed_args(argv)


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from datetime import timedelta

from training.finetune import pretrained_config
from training.run.run_folder import RunFolder
from training.run.stop import Preemption
from training.trainer import Trainer
from utils import distributed


def main(argv: Sequence[str] | None = None) -> int:
    """Train, or do a dry run; return the exit code: 0, or 75 (`ExitCode.PREEMPTED`) if a signal stopped training."""
    args = parse(argv)
    config = load_config(args.config, args.overrides, pretrained_config)
    check_data(args.config, config.data.path)
    path, run = Path(args.config), Path(args.config).parent
    if not (args.output or args.dry_run) and path.name == "config.yaml" and (run / "checkpoints").is_dir():
        raise ConfigError(
            f"--config {path} is the stored configuration of a run: add --output {run} to resume it, or --output FOLDER"
        )
    folder = RunFolder(args.output or Path("runs") / Path(args.config).stem)
    if not args.dry_run:
        folder.check(args.resume)
    timeout = timedelta(minutes=config.training.collective_minutes)
    with Preemption() as preemption, distributed.process_group(config.training.device, timeout) as process:
        trainer = Trainer(config, process)
        if not args.dry_run:
            return trainer.train(folder, args.resume, preemption)
        report = trainer.dry_run()
        if process.is_main:
            print(report)
        return 0


if __name__ == "__main__":
    cli.run(main)
