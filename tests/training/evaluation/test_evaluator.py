"""The numbers depend on generator, data and options alone: not on processes, caches or what was generated before."""

import math
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datasets.class_files import celebamask13
from datasets.data_config import DataConfig
from datasets.lmdb_writer import LmdbWriter, encode_pair
from datasets.opening import content_digest, open_dataset
from datasets.synthetic_faces import draw_face
from metrics import cache, parts, registry
from metrics.areas import pixel_counts
from metrics.features import FeatureExtractor, Features
from metrics.metric_config import MetricConfig
from metrics.registry import Metric, Number, Result, Samples, State, number_names, register, registered
from metrics.segmenter import SegmentationNetwork, Segmenter, SegmenterFacts, segmenter_path
from models import Generator, ModelConfig
from tests.processes import spawn
from training.evaluation.evaluator import Evaluation
from training.evaluation.generated_samples import GeneratedSamples
from training.evaluation.real_statistics import RealStatistics
from utils.distributed import Process, process_group
from utils.errors import DataError, MetricError

PROCESS = Process(torch.device("cpu"))
CHEAP = MetricConfig(names=("areas", "locality"), samples=10, edit_samples=5, batch_size=4)
ALL = replace(CHEAP, edit_samples=2, names=tuple(registered()), path_samples=5)


@pytest.fixture
def dataset(faces_32):
    return open_dataset(DataConfig(path=(str(faces_32),)), 32, 13)


@pytest.fixture
def generator(tiny_config):
    return made_generator(tiny_config)


def write_faces(folder: Path, count: int, first: int) -> None:
    with LmdbWriter(folder, 32, celebamask13(), "tests") as writer:
        for index in range(first, first + count):
            writer.add_encoded(*encode_pair(*draw_face(0, index, 32)))


def made_generator(config: ModelConfig) -> Generator:
    torch.manual_seed(3)
    return Generator(config).eval()


def test_numbers(generator, dataset):
    report = Evaluation(CHEAP, dataset, PROCESS).measure(generator, 1000)
    assert report.images == 1000
    generated = sum(pixel_counts(d.labels, 13) for _, d in samples(generator).samples(10)).double()
    real = sum(pixel_counts(dataset[i][1], 13) for i in range(len(dataset))).double()
    generated, real = generated / generated.sum(), real / real.sum()
    assert report.values["area_distance"] == pytest.approx((generated - real).abs().sum().item() / 2)
    assert report.tables["area_real"] == pytest.approx(dict(zip(dataset.classes.names, real.tolist(), strict=True)))
    for kind in ("shape", "texture"):
        rows = [row for row in report.matrices[f"locality_{kind}"] if None not in row]
        assert rows
        assert all(math.isclose(sum(row), 1) for row in rows)
    assert report.facts["drawings"] == 10
    assert report.facts["data_sha256"] in report.text()


def samples(generator: Generator) -> GeneratedSamples:
    return GeneratedSamples(generator, PROCESS, MetricConfig(batch_size=4))


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


def test_two_processes_measure_what_one_does(tiny_config, tmp_path, monkeypatch):
    write_faces(tmp_path / "faces", count=14, first=0)
    for world_size in (1, 2):  # all of them new ones: operators that other tests chose here differ in the last bits
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        spawn(_measure_spawned, world_size, tmp_path / "faces", tiny_config, tmp_path, port, processes=world_size)
    one = torch.load(tmp_path / "0_of_1.pt")
    assert one["left_out"] == {}
    for name, metric in registered().items():  # a metric that gives no number is not finished
        numbers = number_names(metric, "efflite0", lpips=False)
        assert {numbers[raw] for raw, better in metric.numbers.items() if better} <= one["values"].keys(), name
        assert set(numbers.values()) & one["values"].keys(), name
    for rank in range(2):
        two = torch.load(tmp_path / f"{rank}_of_2.pt")
        assert two["values"] == one["values"]
        assert two["tables"] == one["tables"]
        assert two["matrices"] == one["matrices"]


def _measure_spawned(rank: int, world_size: int, faces: Path, config: ModelConfig, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["XDG_CACHE_HOME"] = str(folder / f"cache_{world_size}")
    dataset = open_dataset(DataConfig(path=(str(faces),)), 32, 13)
    parts.MINIMUM = parts.PartQuality.minimum = 2
    facts = SegmenterFacts(dataset.classes.names, 32, content_digest(dataset), 0, 0, (0.5,) * 13, 0.5)
    torch.manual_seed(0)
    with process_group("cpu") as process:
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
    write_faces(folder, count=48, first=1000)
    assert areas() != first


def test_what_cannot_be_measured(dataset):
    with pytest.raises(MetricError, match="is needs 10 or more images"):
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


@pytest.fixture
def make(monkeypatch):
    """Registers a metric whose numbers the test chooses."""
    monkeypatch.setattr(registry, "_REGISTERED", dict(registered()))

    def make(better: object, compute: Callable[[State, State], Result], **attributes: object) -> MetricConfig:
        def update(self: Metric, batch: Samples) -> State:
            return {"sizes": torch.tensor([len(batch.images)])}

        methods = {"update": update, "compute": lambda self, generated, real: compute(generated, real)}
        register("mine", better=better)(type("Mine", (Metric,), {**methods, **attributes}))
        return replace(CHEAP, names=("mine", "areas"))

    return make


def refused(*states: State) -> Result:
    raise MetricError("no such thing")


@pytest.mark.parametrize(
    ("compute", "name", "why"),
    [
        (refused, "mine", "no such thing"),
        (lambda *states: Result({}), "mine", "compute returned no number"),
        (
            lambda *states: Result({"other": Number(1)}),
            "mine",
            "compute returned other, which @register does not declare",
        ),
        (lambda *states: Result({"mine": Number(math.nan, "of 2")}), "mine", r"not a number \(of 2\)"),
        (lambda *states: Result({"mine": Number(None, "too dark")}), "mine", "too dark"),
    ],
)
def test_a_metric_without_a_number_is_reported_and_the_others_are_kept(generator, dataset, make, compute, name, why):
    report = Evaluation(make("lower", compute), dataset, PROCESS).measure(generator)
    assert list(report.values) == ["area_distance", "classes_in_proportion"]
    assert re.fullmatch(why, report.left_out[name])


def test_states_of_real_data_and_of_generated_samples(generator, dataset, make):
    seen = []

    def compute(generated: State, real: State) -> Result:
        seen.append((generated["sizes"].tolist(), real["sizes"].tolist()))
        return Result({"mine": Number(torch.tensor(0.5))})

    evaluation = Evaluation(make("lower", compute, needs=("real",)), dataset, PROCESS)
    reports = [evaluation.measure(generator) for _ in range(2)]
    assert seen == [([4, 4, 2], [4] * 12)] * 2
    assert type(reports[0].values["mine"]) is float
    Evaluation(make("lower", compute, needs=("real",), limit=7, reduce="sum"), dataset, PROCESS).measure(generator)
    assert seen[-1] == ([7], [7])


def test_real_data_are_read_once(generator, dataset, make, monkeypatch):
    config = make("lower", lambda *states: Result({"mine": Number(1)}), needs=("real",))
    evaluation = Evaluation(config, dataset, PROCESS)
    evaluation.measure(generator)
    monkeypatch.setattr(RealStatistics, "_batches", None)
    assert evaluation.measure(generator).values["mine"] == 1


def test_features_are_computed_once_for_all_metrics(generator, dataset, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no statistics of real data are there yet
    counts = []
    features = FeatureExtractor.features

    def counted(self: FeatureExtractor, images: torch.Tensor) -> Features:
        counts.append(len(images))
        return features(self, images)

    monkeypatch.setattr(FeatureExtractor, "features", counted)
    config = replace(CHEAP, names=("fid", "kid", "precision_recall", "is"))
    Evaluation(config, dataset, PROCESS).measure(generator)
    assert sum(counts) == 10 + len(dataset)


def test_a_missing_package_is_reported_before_anything_is_generated(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(MetricError, match=r"requirements-evaluation.txt"):
        Evaluation(replace(CHEAP, names=("areas", "fid")), dataset, PROCESS)
    assert list(Evaluation(replace(CHEAP, names=("areas", "fid")), dataset, PROCESS, skip_missing=True).left_out) == [
        "fid"
    ]


def test_a_runs_precision_is_switched_off_and_comes_back(generator, dataset, monkeypatch):
    seen = []
    generate = GeneratedSamples.samples

    def watched(self: GeneratedSamples, count: int):
        cudnn = torch.backends.cudnn
        seen.append((torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark))
        return generate(self, count)

    monkeypatch.setattr(GeneratedSamples, "samples", watched)
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
