"""Make the pictures of docs that show the bundled model.

    python -m scripts.make_docs                      all of them except curves
    python -m scripts.make_docs samples locality     some of them
    python -m scripts.make_docs curves --run runs/faces_64 --metrics runs/faces_64_metrics

The pictures are made by the commands that the documents give, in a temporary folder, and then replace those in docs.
What the commands print is shown; some of it is in tables of the documents. `curves` needs the checkpoints of the
training, and their metrics in a folder of scripts.evaluate --output; without --run it is left out. The others need
requirements-dev.txt, and `studio` needs Chromium.

Pictures:
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from utils import cli

PICTURES = {  # name: what it shows
    "samples": "image, mask and overlay of 16 samples",
    "components": "parts of four samples, added one at a time",
    "interpolation": "hair interpolated from one sample to another and back",
    "controls": "named controls at their ends; prints the table of the model card",
    "locality": "where the image changes when the shape of a part is exchanged",
    "curves": "metrics over the images seen in training, and samples at some stages",
    "own_picture": "a portrait, its reconstruction, and the hair of others on it",
    "repaint": "painted masks and what came of them; prints the table of results.md",
    "adaptation": "the model adapted to sketches, and an edited portrait in their style",
    "studio": "the studio on a computer, and on a phone (studio_phone.png)",
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__ + "\n".join(f"  {name:<15} {shows}" for name, shows in PICTURES.items()))
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="pictures to make (default: all that can be made)")
    add("--run", type=Path, help="folder of the run that trained the model, for curves")
    add("--metrics", type=Path, help="folder of scripts.evaluate --output with the metrics of its checkpoints")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in PICTURES]:
        parser.error(f"unknown picture {unknown[0]}: choose from {', '.join(PICTURES)}")
    if (args.run is None) != (args.metrics is None) or ("curves" in args.names and not args.run):
        parser.error("curves need both --run and --metrics")
    return args


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

from scripts.docs_pictures import commands
from scripts.docs_pictures.screenshots import make_studio
from scripts.docs_pictures.training_curves import make_curves
from utils.files import replacing

DOCS = Path(__file__).parents[1] / "docs"


def main(argv: Sequence[str] | None = None) -> None:
    """Make pictures one after the other; each replaces that in docs once it is complete."""
    args = parse(argv)
    makers: dict[str, Callable[[Path], None]] = {
        "samples": commands.make_samples,
        "components": commands.make_components,
        "interpolation": commands.make_interpolation,
        "controls": commands.make_controls,
        "locality": commands.make_locality,
        "curves": lambda folder: make_curves(args.run, args.metrics, folder / "curves.png"),
        "own_picture": commands.make_own_picture,
        "repaint": commands.make_repaint,
        "adaptation": commands.make_adaptation,
        "studio": make_studio,
    }
    for name in args.names or PICTURES:
        if name == "curves" and not args.run:
            print("left out curves: give --run and --metrics")
            continue
        with tempfile.TemporaryDirectory() as folder:
            makers[name](Path(folder))
            for picture in sorted(Path(folder).glob("*.png")):
                with replacing(DOCS / picture.name) as partial:
                    partial.write_bytes(picture.read_bytes())
                print(f"wrote {DOCS / picture.name}: {PICTURES[name]}", flush=True)


if __name__ == "__main__":
    cli.run(main)
