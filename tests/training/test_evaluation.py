"""The numbers depend on generator, data and options alone: not on processes, caches or what was drawn before."""

import math
import os
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from datasets import LmdbWriter, celebamask13, draw_face, encode_pair
from datasets.digest import content_digest
from datasets.errors import DataError
from datasets.loader import DataConfig
from datasets.opening import open_dataset
from metrics import cache, class_areas, image_quality, total_variation
from metrics.config import MetricConfig
from metrics.errors import MetricError
from metrics.registry import METRICS
from metrics.segmenter import SegmentationNetwork, Segmenter, SegmenterFacts, segmenter_path
from models import Generator, ModelConfig
from training import probes
from training.distributed import Process, session
from training.drawings import Drawings
from training.evaluation import Evaluation

PROCESS = Process(torch.device("cpu"))
CHEAP = MetricConfig(names=("areas", "locality"), samples=10, edit_samples=5, batch_size=4)
ALL = replace(CHEAP, names=tuple(METRICS), path_samples=5)


@pytest.fixture
def dataset(faces_32):
    return open_dataset(DataConfig(path=(str(faces_32),)), 32, 13)


@pytest.fixture
def generator(tiny_config):
    return made_generator(tiny_config)


def made_generator(config: ModelConfig) -> Generator:
    torch.manual_seed(3)
    return Generator(config).eval()


def test_numbers(generator, dataset):
    report = Evaluation(CHEAP, dataset, PROCESS).measure(generator, 1000)
    assert report.images == 1000
    drawn = class_areas((d.labels for _, d in drawings(generator).samples(10)), 13)
    real = class_areas((dataset[i][1][None] for i in range(len(dataset))), 13)
    assert report.values["area_distance"] == pytest.approx(total_variation(drawn, real))
    assert report.tables["area_real"] == pytest.approx(dict(zip(dataset.classes.names, real.tolist(), strict=True)))
    for kind in ("shape", "texture"):
        rows = [row for row in report.matrices[f"locality_{kind}"] if None not in row]
        assert rows
        assert all(math.isclose(sum(row), 1) for row in rows)
    assert report.facts["drawings"] == 10
    assert report.facts["data_sha256"] in report.text()


def drawings(generator: Generator) -> Drawings:
    return Drawings(generator, PROCESS, batch_size=4)


def test_random_streams_stay_as_they_are(generator, dataset):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    Evaluation(CHEAP, dataset, PROCESS).measure(generator)
    assert torch.equal(torch.rand(3), expected)


def test_seed_and_truncation_count(generator, dataset):
    values = [
        Evaluation(config, dataset, PROCESS).measure(generator).values
        for config in (CHEAP, CHEAP, replace(CHEAP, seed=1), replace(CHEAP, truncation=0.5))
    ]
    assert values[0] == values[1]
    assert values[0] != values[2] != values[3] != values[0]


def test_two_processes_measure_what_one_does(faces_32, tiny_config, tmp_path, monkeypatch):
    for world_size in (1, 2):  # all of them new ones: operators that other tests chose here differ in the last bits
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache_{world_size}"))
        mp.spawn(_measure_spawned, args=(world_size, faces_32, tiny_config, tmp_path, port), nprocs=world_size)
    one = torch.load(tmp_path / "0_of_1.pt")
    assert len(one["values"]) == 13
    assert one["left_out"] == {}
    for rank in range(2):
        two = torch.load(tmp_path / f"{rank}_of_2.pt")
        assert two["values"] == one["values"]
        assert two["tables"] == one["tables"]
        assert two["matrices"] == one["matrices"]


def _measure_spawned(rank: int, world_size: int, faces: Path, config: ModelConfig, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dataset = open_dataset(DataConfig(path=(str(faces),)), 32, 13)
    probes.PART_MINIMUM = image_quality.MINIMUM["parts"] = 2
    facts = SegmenterFacts(dataset.classes.names, 32, content_digest(dataset), 0, 0, (0.5,) * 13, 0.5)
    torch.manual_seed(0)
    with session("cpu") as process:
        if process.is_main:
            segmenter_path(facts.data).parent.mkdir(parents=True)
            Segmenter(SegmentationNetwork(13), facts).save(segmenter_path(facts.data))
        report = Evaluation(ALL, dataset, process).measure(made_generator(config))
        torch.save(report.to_dict(), folder / f"{rank}_of_{world_size}.pt")


def test_changed_data_get_new_statistics(generator, faces_32, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shutil.copytree(faces_32, tmp_path / "data")

    def areas() -> dict[str, float]:
        dataset = open_dataset(DataConfig(path=(str(folder),)), 32, 13)
        return Evaluation(replace(CHEAP, names=("areas",)), dataset, PROCESS).measure(generator).tables["area_real"]

    first = areas()
    stored = list((cache.cache_folder() / "statistics").iterdir())
    assert areas() == first
    assert list((cache.cache_folder() / "statistics").iterdir()) == stored
    shutil.rmtree(folder)
    with LmdbWriter(folder, 32, celebamask13(), "tests") as writer:
        for index in range(48):
            writer.add_encoded(*encode_pair(*draw_face(9, index, 32)))
    assert areas() != first


def test_what_cannot_be_measured(dataset):
    with pytest.raises(MetricError, match="is needs 10 samples or more"):
        Evaluation(replace(CHEAP, names=("is",), samples=5), dataset, PROCESS)
    with pytest.raises(DataError, match="32"):
        Evaluation(CHEAP, open_dataset(DataConfig(path=(str(dataset.path),)), 64, 13), PROCESS)
    inception = replace(CHEAP, names=("fid", "areas"), extractor="inception", weights="missing.pth")
    with pytest.raises(MetricError, match=r"missing.pth: no such file: fetch"):
        Evaluation(inception, dataset, PROCESS)
    with pytest.raises(MetricError, match=r"missing\.pth"):  # what the user gave is not left out without a word
        Evaluation(inception, dataset, PROCESS, skip_missing=True)
    few = replace(CHEAP, names=("kid", "is", "areas"), samples=5)
    assert list(Evaluation(few, dataset, PROCESS, skip_missing=True).left_out) == ["is"]


def test_a_missing_package_is_told_before_anything_is_drawn(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(MetricError, match=r"requirements-evaluation.txt"):
        Evaluation(replace(CHEAP, names=("areas", "fid")), dataset, PROCESS)
    assert list(Evaluation(replace(CHEAP, names=("areas", "fid")), dataset, PROCESS, skip_missing=True).left_out) == [
        "fid"
    ]


def test_a_runs_precision_is_switched_off_and_comes_back(generator, dataset, monkeypatch):
    seen = []
    draw = Drawings.samples

    def watched(self: Drawings, count: int):
        cudnn = torch.backends.cudnn
        seen.append((torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark))
        return draw(self, count)

    monkeypatch.setattr(Drawings, "samples", watched)
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    torch.set_float32_matmul_precision("high")
    try:
        Evaluation(CHEAP, dataset, PROCESS).measure(generator)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [("highest", False, False)]
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.benchmark
