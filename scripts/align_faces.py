"""Align faces: turn photos into images like those of FFHQ and CelebA-HQ, or like those of a model.

    python -m scripts.align_faces PHOTOS... --output DIR
    python -m scripts.align_faces PHOTOS... --output DIR --like CK --resolution 256

PHOTOS are image files, or folders of them (JPEG, PNG, BMP, TIFF, WebP; HEIC with pillow-heif). Each face is turned
upright and cut so that its eyes and mouth are where FFHQ and CelebA-HQ have them, or, with --like, where the images of
that model have them. Where the cut leaves the photo, it shows the photo's mirror image, blurred. A photo NAME with one
face becomes NAME.png in DIR; one with several becomes NAME_0.png, NAME_1.png, ..., the largest face first. DIR also
gets faces.json, with the square of each face. Photos without a face are named, and the exit code is then 2.

Needs pip install -r requirements-alignment.txt; nothing is downloaded when it runs.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from utils import cli
from utils.sizes import Resolution, format_resolution, image_size, parse_resolution

_RESOLUTION = 512
_SIDES = (16, 4096)  # smallest and largest side in pixels


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("photos", nargs="+", type=Path, metavar="PHOTOS", help="image files, or folders of them")
    add("--output", type=cli.folder, required=True, help="folder to write to; existing files are kept")
    add("--overwrite", action="store_true", help="replace files of the same name")
    add("--like", type=Path, metavar="CK", help="checkpoint whose images show how to place faces (default as in FFHQ)")
    size = f"side in pixels, or HEIGHTxWIDTH (default {_RESOLUTION}; with --like that of the model)"
    add("--resolution", type=_resolution, help=size)
    return parser.parse_args(argv)


def _resolution(text: str) -> Resolution:
    resolution = parse_resolution(text)
    if not all(_SIDES[0] <= side <= _SIDES[1] for side in image_size(resolution)):
        raise argparse.ArgumentTypeError(f"{text} is out of range; give sides of {_SIDES[0]} to {_SIDES[1]} pixels")
    return resolution


if __name__ == "__main__":
    cli.check_command_line(parse)  # before the imports that take seconds

import numpy as np
import torch

from datasets.decoding import read_image
from editing.alignment import FFHQ, Frame, Square, cut, frame_of, square_for
from editing.face_detection import find_faces
from editing.loading import checkpoint_or_bundled, limit_threads, load_model
from editing.photos import PHOTO_SUFFIXES, check_size, describe
from utils.errors import DataError, EditError, printable
from utils.files import check_free, make_folder, replacing
from utils.images import save_png
from utils.progress import progress

FACES = "faces.json"


class Cut(NamedTuple):
    """One face of a photo and the image it becomes."""

    photo: Path
    name: str
    square: Square


def main(argv: Sequence[str] | None = None) -> None:
    """Find all faces, check the files to write, then write an image of each face.

    Raise EditError, after all other faces are written, if a photo has no face or cannot be read.
    """
    args = parse(argv)
    photos = find_photos(args.photos)
    check_free(args.output, [], overwrite=args.overwrite)
    frame, resolution = find_frame(args.like, args.resolution)
    cuts, failed = find_cuts(photos, frame, resolution)
    doubled = [name for name, count in Counter(cut.name for cut in cuts).items() if count > 1]
    if doubled:
        first, second = (cut.photo for cut in cuts if cut.name == doubled[0])
        raise EditError(f"{first} and {second} would both become {doubled[0]}: rename one of them")
    check_free(args.output, [*(cut.name for cut in cuts), FACES], overwrite=args.overwrite)
    if cuts:
        make_folder(args.output)
        written = []
        for each in progress(cuts, unit="face", desc="writing"):
            try:
                image = cut(read_image(each.photo), each.square, resolution)
            except EditError as error:
                print(printable(f"{each.photo}: {error}"), flush=True)
                failed += 1
                continue
            save_png(np.asarray(image), args.output / each.name)
            written.append(each)
        _write_report(args.output / FACES, written, frame)
        size = format_resolution(resolution)
        print(f"wrote {len(written)} faces of {size} pixels to {printable(args.output)}")
    if failed:
        raise EditError(f"{failed} of {len(photos)} photos gave no face: see the lines above")


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """Return the given files and the images in the given folders; raise EditError if a folder has none."""
    photos: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in PHOTO_SUFFIXES)
            inside = [file for file in inside if not file.name.startswith(".")]
            if not inside:
                raise EditError(f"{path} holds no images; give files or another folder")
            photos += inside
        elif os.path.lexists(path):
            photos.append(path)
        else:
            raise EditError(f"{path} does not exist; give existing photos or folders")
    return list(dict.fromkeys(photos))


def find_frame(checkpoint: Path | None, resolution: Resolution | None) -> tuple[Frame, Resolution]:
    """Return the position of the faces and the resolution of the images to write."""
    if checkpoint is None:
        return FFHQ, resolution or _RESOLUTION
    path = checkpoint_or_bundled(checkpoint)
    generator, classes = load_model(path, torch.device("cpu"))
    limit_threads(generator)
    frame = frame_of(generator, classes)
    if frame is None:
        print(f"aligning as in FFHQ: the masks of images of {printable(path)} do not show where faces are")
    return frame or FFHQ, resolution or generator.config.resolution


def find_cuts(photos: Sequence[Path], frame: Frame, resolution: Resolution) -> tuple[list[Cut], int]:
    """Find the faces in photos, and print a line for each photo.

    Returns:
        all faces; and the number of photos without a face or that cannot be read.
    """
    cuts, failed = [], 0
    for path in progress(photos, unit="photo", desc="finding faces"):
        try:
            check_size(path)
            image = read_image(path)
        except (DataError, EditError) as error:
            faces, reason = [], str(error)
        else:
            faces = find_faces(image)
            reason = f"{path}: no face found; if there is one, turn the photo upright or cut it closer"
        if not faces:
            print(printable(reason), flush=True)
            failed += 1
            continue
        squares = [square_for(face, frame) for face in faces]
        for index, square in enumerate(squares):
            name = f"{path.stem}_{index}.png" if len(squares) > 1 else f"{path.stem}.png"
            cuts.append(Cut(path, name, square))
            print(f"{printable(path)}: {describe(square, resolution)}, {printable(name)}", flush=True)
    return cuts, failed


def _write_report(path: Path, cuts: Sequence[Cut], frame: Frame) -> None:
    faces = {each.name: {"source": str(each.photo), "square": each.square._asdict()} for each in cuts}
    with replacing(path) as partial:
        partial.write_text(json.dumps({"frame": frame._asdict(), "faces": faces}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
