"""Images without masks, of whatever source, for domain adaptation.

Shapes: R resolution.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.crop_and_resize import Crop, crop_and_resize
from datasets.decoding import Record
from datasets.sources import Source, refuse_problems
from utils.errors import DataError


class ImagesAlone(Dataset[tuple[Tensor]]):
    """The images of several sources, one source after the other; masks are ignored.

    Args:
        sources: LMDBs or folders, with masks or without.
        resolution: side length R of what is returned; larger pictures are reduced, smaller ones refused.
        crop: what becomes of pictures that are not square, see `datasets.crop_and_resize.crop_and_resize`.

    Attributes:
        provenance: where the images come from (source, count, tool), plain data.

    Raises:
        DataError: if a source has problems in its list of files; and on access: a file that cannot be used. The
            message names it.
    """

    def __init__(self, sources: Sequence[Source], resolution: int, crop: Crop) -> None:
        for source in sources:
            refuse_problems(source)
        self.sources = sources
        self.resolution = resolution
        self.crop = crop
        self.ends = list(accumulate(map(len, sources)))
        self.provenance = [
            {
                "source": source.meta.get("source", str(source.path)),
                "count": len(source),
                "tool": source.meta.get("tool", ""),
            }
            for source in sources
        ]

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> tuple[Tensor]:
        """Image uint8 [3, R, R] of one record, alone in a tuple."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        place = bisect_right(self.ends, index)
        source = self.sources[place]
        number = index - self.ends[place] + len(source)
        picture = source.read(number).picture
        try:
            image = crop_and_resize(Record(picture, None), self.resolution, self.crop).image
        except DataError as error:
            raise DataError(f"{source.name(number)}: {error}") from None
        return (torch.tensor(image).permute(2, 0, 1).contiguous(),)
