"""Generated data sets: which candidates are written, how they are ranked and balanced, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.data_config import DataConfig
from datasets.image_mask import ImageMaskDataset
from datasets.lmdb_reading import read_meta
from datasets.opening import open_dataset
from editing.codes import seed_codes
from editing.generation import generate
from editing.loading import load_model
from models.checkpoint import bundled_model
from scripts import make_pairs
from utils.errors import ConfigError, DataError, ModelError

CPU = torch.device("cpu")


@pytest.fixture
def make(tiny_checkpoint, tmp_path):
    def make(*options: str, name: str = "out") -> Path:
        arguments = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--ops", "native"]
        make_pairs.main([str(tmp_path / name), *arguments, *options])
        return tmp_path / name

    return make


def seeds_of(path: Path, checkpoint: Path, most: int) -> list[int]:
    """The seeds of the labels in a data set, found among the first `most`."""
    generator, _ = load_model(checkpoint, CPU)
    samples = [sample.labels for sample in generate(generator, seed_codes(generator, range(most)))]
    dataset = ImageMaskDataset(path)
    return [
        next(seed for seed, labels in enumerate(samples) if np.array_equal(labels, dataset[i][1].numpy()))
        for i in range(len(dataset))
    ]


def test_pairs_are_those_of_the_seeds(make, tiny_checkpoint):
    path = make("--count", "5", "--seed", "3")
    generator, classes = load_model(tiny_checkpoint, CPU)
    dataset = ImageMaskDataset(path)
    assert dataset.classes.names == classes.names
    for i, sample in enumerate(generate(generator, seed_codes(generator, range(3, 8)))):
        assert np.array_equal(dataset[i][1].numpy(), sample.labels)
        assert np.abs(dataset[i][0].permute(1, 2, 0).numpy().astype(int) - sample.image).mean() < 6  # JPEG
    assert "--count 5 --seed 3 --truncation 1 --candidates 5 --drop 0" in read_meta(path)["source"]


def test_files_hold_the_same_pairs(make):
    lmdb, files = make("--count", "3"), make("--count", "3", "--files", name="files")
    stored, opened = ImageMaskDataset(lmdb), open_dataset(DataConfig(path=(str(files),)), 32)
    assert (opened.classes.names, opened.classes.colors) == (stored.classes.names, stored.classes.colors)
    assert opened.classes.transparent == stored.classes.transparent
    assert all(torch.equal(opened[i][1], stored[i][1]) for i in range(3))


def test_truncation_brings_masks_together(make):
    full, mean = make("--count", "4"), make("--count", "4", "--truncation", "0", name="mean")
    labels = [torch.stack([ImageMaskDataset(path)[i][1] for i in range(4)]) for path in (full, mean)]
    assert (labels[1] == labels[1][0]).all()
    assert not (labels[0] == labels[0][0]).all()


@pytest.mark.parametrize("batch_size", ["2", "8"])
def test_the_least_credible_are_dropped(make, tiny_checkpoint, monkeypatch, batch_size):
    """Scores do not depend on the batch; of those left, the first are written."""
    scores: dict[bytes, float] = {}
    original = make_pairs.PairGenerator._scores

    def watched(self, output, images, labels):
        found = original(self, output, images, labels)
        scores.update({k.numpy().tobytes(): float(score) for k, score in zip(labels, found, strict=True)})
        return found

    monkeypatch.setattr(make_pairs.PairGenerator, "_scores", watched)
    options = ["--candidates", "8", "--drop", "0.5", "--rank-by", "discriminator", "--batch-size", batch_size]
    kept = seeds_of(make("--count", "3", *options), tiny_checkpoint, 8)
    by_seed = list(scores.values())
    best = sorted(sorted(range(8), key=lambda seed: -by_seed[seed])[:4])
    assert kept == best[:3]


def test_balance_prefers_rare_classes(make, monkeypatch):
    """Half of the chosen masks show a class that one in ten candidates shows."""

    def batches(self, numbers, desc):
        for number in numbers:
            labels = np.full((1, 32, 32), 1 if number % 10 == 0 else 0, np.uint8)
            labels[:, 0] = 0
            yield make_pairs.Pairs(np.zeros((1, 32, 32, 3), np.uint8), labels, torch.zeros(1))

    monkeypatch.setattr(make_pairs.PairGenerator, "batches", batches)
    dataset = ImageMaskDataset(make("--count", "20", "--candidates", "1000", "--balance"))
    rare = sum(bool((dataset[i][1] == 1).any()) for i in range(20))
    assert 5 <= rare <= 16
    again = ImageMaskDataset(make("--count", "20", "--candidates", "1000", "--balance", name="again"))
    assert all(torch.equal(dataset[i][1], again[i][1]) for i in range(20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--count", "9", "--candidates", "10", "--drop", "0.5", "--rank-by", "discriminator"],
            "only 5 candidates are",
        ),
        (["--count", "2", "--drop", "1", "--rank-by", "discriminator"], "--drop 1: give a share from 0 to below 1"),
        (["--count", "2", "--drop", "0.5"], "--drop and --rank-by belong together"),
        (["--count", "2", "--candidates", "4", "--drop", "0.5", "--rank-by", "segmenter"], "--segmenter FILE and"),
        (["--count", "2", "--candidates", "4"], "--candidates needs a way to choose among them"),
        (["--count", "2", "--seed", "-1"], "--seed -1: give 0 to"),
    ],
)
def test_mistakes(make, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        make(*options)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_a_discriminator(tmp_path):
    contents = torch.load(bundled_model(), weights_only=True)
    del contents["discriminator"]
    torch.save(contents, tmp_path / "generator.pt")
    options = ["--checkpoint", str(tmp_path / "generator.pt")]
    options += ["--count", "1", "--candidates", "2", "--drop", "0.5", "--rank-by", "discriminator"]
    with pytest.raises(ModelError, match="holds no discriminator"):
        make_pairs.main([str(tmp_path / "out"), *options])


def test_an_existing_folder_is_kept(make, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="out"):
        make("--count", "1")
    assert list((tmp_path / "out").iterdir()) == []
