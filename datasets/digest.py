"""A data set's content in one string: what was computed from it belongs to it, and to no other."""

import hashlib
import json

from datasets.image_mask import ImageMaskDataset
from datasets.layouts import record_keys
from datasets.lmdb_reading import read
from datasets.opening import ShardedDataset, Single
from utils.progress import progress


def content_digest(dataset: Single | ShardedDataset) -> str:
    """sha256, in hex, of all records in their order, the classes and the resolution.

    Records of an LMDB are taken as stored, without being decoded; it may lie anywhere. Others are decoded.
    """
    digest = hashlib.sha256()
    if isinstance(dataset, ShardedDataset):
        for shard in dataset.shards:
            digest.update(content_digest(shard).encode())
        return digest.hexdigest()
    digest.update(json.dumps([dataset.classes.to_dict(), dataset.resolution, len(dataset)]).encode())
    for index in progress(range(len(dataset)), desc="reading all data", unit="pair", delay=1):
        if isinstance(dataset, ImageMaskDataset):
            parts = [read(dataset.path, key) or b"" for key in record_keys(index)]
        else:
            parts = [x.numpy().tobytes() for x in dataset[index]]
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()
