"""Codes that a user names: by seeds, by files, or as parts of others.

Shapes: N codes, D latent width, M = B + 2K vectors of a W+ code.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from datasets.labels import ClassTable
from editing.codes import CODE_FILES, load_codes, seed_codes
from editing.mixing import code_index, swap
from editing.selection import parse_parts, parse_seeds
from models import Generator
from utils.errors import EditError


def stored_codes(path: Path, generator: Generator) -> Tensor:
    """Codes [N, D] or [N, M, D] from a file, on the generator's device.

    Raises:
        EditError: if the file cannot be used.
    """
    return load_codes(path, generator.config).to(generator.compositing.weight)


def source_codes(source: str, generator: Generator) -> Tensor:
    """Codes [N, D] or [N, M, D] of seeds such as "0-3,42", or from a file whose name ends in one of `CODE_FILES`.

    Raises:
        EditError: if it is neither.
    """
    if source.lower().endswith(CODE_FILES):
        return stored_codes(Path(source), generator)
    return seed_codes(generator, parse_seeds(source))


def take_parts(codes: Tensor, taken: Sequence[Sequence[str]], generator: Generator, classes: ClassTable) -> Tensor:
    """Codes [N, D] or [N, M, D] with parts of others, each of which is written like ("7", "hair,hat").

    Raises:
        EditError: if a source has not exactly one code, or there is no such part.
    """
    for source, parts in taken:
        others = source_codes(source, generator)
        if len(others) != 1:
            raise EditError(f"--take {source}: gives {len(others)} codes; name one seed, or a file of one code")
        index = code_index(generator.config, parse_parts(parts, classes.names))
        codes = swap(codes, others.expand(len(codes), *others.shape[1:]), index, generator.config)
    return codes
