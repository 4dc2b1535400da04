"""Domain adaptation: where a run starts, what it freezes, what it shows the discriminator, and how far masks drift."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from configs import load_config
from datasets.class_files import celebamask13
from datasets.lmdb_writer import LmdbWriter
from datasets.synthetic_faces import draw_face
from models import Discriminator, Generator
from models.checkpoint import Networks, bundled_model, load_networks
from tests.processes import ROOT
from tests.training.live import finish, start, text
from tests.training.test_trainer import assert_equal, contents
from train import main
from training.finetune import Pretrained, pretrained_config
from training.mask_drift import MaskDrift
from training.trainer import Trainer
from utils.cli import run
from utils.distributed import Process
from utils.errors import ConfigError

CPU = Process(torch.device("cpu"))
ADAPT = ROOT / "configs" / "adapt.yaml"
OPTIONS = [
    "training.batch_size=4",
    "training.total_images=12",
    "training.log_every_images=4",
    "training.preview_every_images=12",
    "training.preview_samples=2",
    "training.checkpoint_every_images=4",
    "training.device=cpu",
    "losses.r1_every=2",
    "losses.path_length_every=2",
    "data.workers=0",
    "ops=native",
]


@pytest.fixture(scope="module")
def sketches(tmp_path_factory) -> Path:
    """An LMDB of 12 sketches without masks."""
    path = tmp_path_factory.mktemp("data") / "sketches"
    with LmdbWriter(path, 32, None, "tests") as writer:
        for index in range(12):
            writer.add(*draw_face(1, index, 32, "sketch"))
    return path


@pytest.fixture
def origin(tiny_config, tmp_path) -> Path:
    """A checkpoint whose average differs from what was averaged, and whose masks vary."""
    generator, average = Generator(tiny_config), Generator(tiny_config)
    states = [network.state_dict() for network in (generator, average, Discriminator(tiny_config))]
    path = tmp_path / "origin.pt"
    torch.save(Networks(tiny_config, *states, celebamask13().to_dict()).to_dict(), path)
    return path


@pytest.fixture
def adapt(tmp_path, sketches, origin) -> Callable[..., Path]:
    """Runs train.py with configs/adapt.yaml in this process."""

    def adapt(*arguments: str, output: str = "run") -> Path:
        folder = tmp_path / output
        given = [f"model.init_from={origin}", f"data.path={sketches}", *OPTIONS]
        main(["--config", str(ADAPT), *given, "--output", str(folder), *arguments])
        return folder

    return adapt


@pytest.fixture
def build(sketches, origin) -> Callable[..., Trainer]:
    """A trainer with configs/adapt.yaml that has not begun."""

    def build(*arguments: str) -> Trainer:
        overrides = [f"model.init_from={origin}", f"data.path={sketches}", *OPTIONS, *arguments]
        return Trainer(load_config(ADAPT, overrides, pretrained_config), CPU)

    return build


def tensors(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    found = {name: value for name, value in state.items() if name.startswith(prefixes)}
    assert found
    return found


LOCAL = ("positions.", "local_generators.", "compositing.")


def test_what_is_frozen_keeps_every_bit(adapt, origin):
    before = load_networks(origin).generator_ema
    after = contents(adapt(), 12)
    for name in ("generator", "generator_ema"):
        assert_equal(tensors(after[name], *LOCAL), tensors(before, *LOCAL))
        for others in ("mapping.", "render_net.layers."):
            changed = tensors(after[name], others)
            assert any(not torch.equal(changed[key], before[key]) for key in changed), others
    numbers = [name for name, _ in Generator(load_networks(origin).config).named_parameters()]
    moments = {numbers[index] for index in after["training"]["generator_optimizer"]["state"]}
    assert moments
    assert not any(name.startswith(LOCAL) for name in moments)


@pytest.mark.parametrize(
    ("frozen", "kept", "changed"),
    [
        ("[mapping]", ("mapping.",), (*LOCAL, "render_net.layers.")),
        ("[render]", ("render_net.",), (*LOCAL, "mapping.")),
        ("[mapping,local]", ("mapping.", *LOCAL), ("render_net.layers.",)),
        ("[]", (), ("mapping.", *LOCAL, "render_net.layers.")),
    ],
)
def test_each_module_can_be_frozen(adapt, origin, frozen, kept, changed):
    before = load_networks(origin).generator_ema
    after = contents(adapt(f"training.freeze={frozen}", "training.total_images=4"), 4)["generator"]
    for prefix in kept:
        assert_equal(tensors(after, prefix), tensors(before, prefix))
    for prefix in changed:
        state = tensors(after, prefix)
        assert any(not torch.equal(state[key], before[key]) for key in state), prefix


def test_frozen_modules_get_no_gradient(build):
    trainer = build()
    trainer.steps.iterate(next(trainer.data.batches(trainer.state.images)))
    with_gradient = {name for name, p in trainer.state.generator.named_parameters() if p.grad is not None}
    assert with_gradient
    assert not any(name.startswith(LOCAL) for name in with_gradient)


def test_resuming_equals_never_stopping(adapt):
    augmented = ["augment.target=0.5"]
    whole = adapt(*augmented, output="whole")
    adapt(*augmented, "training.total_images=4", output="parts")
    parts = adapt(*augmented, output="parts")
    assert_equal(contents(parts, 12), contents(whole, 12))


def test_a_run_starts_from_the_average_and_the_discriminator(build, origin):
    before, trainer = load_networks(origin), build()
    started = trainer.state.networks(trainer.data.classes.to_dict()).to_dict()
    assert_equal(dict(started["generator"]), before.generator_ema)
    assert_equal(dict(started["generator_ema"]), before.generator_ema)
    assert_equal(dict(started["discriminator"]), before.discriminator)
    assert started["classes"] == celebamask13().to_dict()
    assert started["model"] == asdict(before.config)
    assert [data["count"] for data in trainer.data.dataset.provenance] == [12]


def test_no_segmentation_reaches_the_discriminator(adapt, origin, monkeypatch):
    seen: list[int] = []
    forward = Discriminator.forward

    def watched(self: Discriminator, *inputs: Tensor, batches: int = 1) -> Tensor:
        seen.append(len(inputs))
        return forward(self, *inputs, batches=batches)

    monkeypatch.setattr(Discriminator, "forward", watched)
    folder = adapt("losses.r2_image=1", "augment.probability=0.5", "losses.relativistic=true")
    assert set(seen) == {1}
    before, after = load_networks(origin).discriminator, contents(folder, 12)["discriminator"]
    assert_equal(tensors(after, "segmentation_trunk."), tensors(before, "segmentation_trunk."))
    assert not torch.equal(after["logits.weight"], before["logits.weight"])
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"losses/r1_image", "losses/r2_image", "adaptation/mask_drift"} < scalars
    assert not scalars & {"losses/r1_segmentation", "losses/r2_segmentation"}
    assert [event.step for event in events.Scalars("adaptation/mask_drift")] == [4, 8, 12]


def test_a_file_without_discriminator(adapt, origin, tmp_path, capsys):
    networks = load_networks(origin)
    bare = tmp_path / "bare.pt"
    torch.save(Networks(networks.config, None, networks.generator_ema, None).to_dict(), bare)
    folder = adapt(f"model.init_from={bare}", "training.total_images=4")
    assert f"starting from {bare}; it has no discriminator, which starts from random weights" in capsys.readouterr().out
    assert contents(folder, 4)["generator_ema"].keys() == networks.generator_ema.keys()


def test_files_in_other_precisions_start_runs_in_float32(build, origin):
    networks = load_networks(origin)
    states = [
        {name: x.double() for name, x in state.items()} for state in (networks.generator_ema, networks.discriminator)
    ]
    torch.save(Networks(networks.config, None, *states).to_dict(), origin)
    trainer = build()
    for ours, theirs in zip((trainer.state.generator, trainer.state.discriminator), states, strict=True):
        assert_equal(dict(ours.state_dict()), {name: x.float() for name, x in theirs.items()})
    trainer.steps.iterate(next(trainer.data.batches(trainer.state.images)))


def test_the_shipped_model_by_name():
    assert Pretrained("shipped").path == bundled_model()
    assert pretrained_config("shipped") == load_networks(bundled_model()).config
    assert load_config(ADAPT, (), pretrained_config).model.init_from == "shipped"


def test_drift_counts_what_moved(tiny_generator):
    original = tiny_generator.eval()
    drift = MaskDrift(original, batch_size=5)
    assert drift.measure(original) == 0
    labels = torch.cat(drift._labels)
    moved = Generator(original.config).eval()
    others = torch.cat([moved.synthesis(codes).segmentation.argmax(1) for codes in drift._codes])
    shares = []
    for k in labels.unique():
        ours, theirs = labels == k, others == k
        shares.append((ours & theirs).sum() / (ours | theirs).sum())
    assert drift.measure(moved) == pytest.approx(1 - torch.stack(shares).mean().item(), abs=1e-6)
    assert drift.measure(moved) > 0
    assert MaskDrift(original, batch_size=32).measure(moved) == pytest.approx(drift.measure(moved), abs=1e-3)


def test_drift_draws_no_random_numbers(tiny_generator):
    before = torch.get_rng_state()
    MaskDrift(tiny_generator.eval(), batch_size=8).measure(tiny_generator)
    assert torch.equal(torch.get_rng_state(), before)


DRIFTING = ["training.learning_rate=0.5", "training.ema_half_life_images=0"]


def test_too_much_drift_ends_the_run(adapt, capsys):
    limited = [*DRIFTING, "training.max_mask_drift=1e-6"]
    folder = adapt(*limited)
    told = capsys.readouterr().out
    assert "above training.max_mask_drift = 1e-06 at 4 of 12 images; earlier checkpoints have drifted less" in told
    assert [file.stem for file in (folder / "checkpoints").iterdir()] == ["images_000000004"]
    assert (folder / "previews" / "images_000000004.png").exists()
    adapt(*limited)
    assert "at 4 of 12 images" in capsys.readouterr().out
    assert [file.stem for file in (folder / "checkpoints").iterdir()] == ["images_000000004"]
    adapt(*DRIFTING, "training.max_mask_drift=0")
    assert_equal(contents(folder, 12)["generator"], contents(adapt(*DRIFTING, output="whole"), 12)["generator"])


def test_the_model_that_a_run_started_from_must_stay(adapt, origin, tiny_config):
    folder = adapt("training.total_images=4")
    state = Generator(tiny_config).state_dict()
    torch.save(Networks(tiny_config, state, state, None).to_dict(), origin)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*")}
    with pytest.raises(
        ConfigError, match=r"origin\.pt is not the model that the run started from .*: restore that file"
    ):
        adapt()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*")} == before


def test_pairs_can_start_from_a_checkpoint_too(adapt, origin, faces_32):
    folder = adapt(f"data.path={faces_32}", "data.images_only=false", "training.total_images=4")
    before, after = load_networks(origin).discriminator, contents(folder, 4)["discriminator"]
    key = "segmentation_trunk.0.bias"
    assert not torch.equal(after[key], before[key])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.resolution=64"], r"origin\.pt: .* has model.resolution = 32, not 64: remove .* command line"),
        (["model.transparent_classes=[1]"], r"has model.transparent_classes = \[10, 12\], not \[1\]: remove"),
        (["model.init_from=absent.pt"], "model.init_from: absent.pt: no such file"),
        (["model.init_from="], "data.images_only is for fine-tuning only: set model.init_from"),
        (["training.freeze=[lokal]"], "has an unknown module lokal: choose from mapping, local, render"),
        (["training.freeze=[local,mapping,render]"], "training.freeze lists all modules"),
        (["training.freeze=[local,render]"], "losses.path_length_every = 2: the path length penalty has no effect"),
        (["training.max_mask_drift=1"], "training.max_mask_drift = 1.0: must be at least 0 and below 1"),
        (["metrics.every_images=4"], "metrics.every_images = 4: metrics need masks, but data.images_only omits them"),
        (["data.path=empty"], "empty holds no images"),
        (["data.path=small"], "small holds images of sizes [16], none of at least 32"),
        (["data.images_only=false"], "configs/adapt.yaml adapts a trained model to images without masks"),
        (["data.masks=masks"], "data.masks has no effect with data.images_only, which ignores masks"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(adapt, tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    with LmdbWriter(tmp_path / "small", 16, None, "tests") as writer:
        writer.add(*(x[::2, ::2].copy() for x in draw_face(0, 0, 32)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        run(lambda: adapt(*arguments))
    assert exit_.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line or re.search(message, line)
    assert not (tmp_path / "run").exists()


def test_commands_that_do_not_start_from_checkpoints_say_so():
    with pytest.raises(
        ConfigError, match=r"model.init_from = shipped: .* starts from no checkpoint; remove .* from .*adapt\.yaml"
    ):
        load_config(ADAPT)


def test_two_processes(tmp_path, sketches, origin):
    """They stop together where masks have drifted too far."""
    folder = tmp_path / "run"
    options = [f"model.init_from={origin}", *OPTIONS, "training.batch_size=8", "training.total_images=24", *DRIFTING]
    processes = start(folder, sketches, *options, "training.max_mask_drift=1e-6", processes=2, config=ADAPT)
    assert finish(processes) == [0, 0]
    told = text(folder, 0) + text(folder, 1)
    assert told.count("at 8 of 24 images; earlier checkpoints") == 1
    assert told.count("starting from") == 1
    after = contents(tmp_path / "run", 8)
    assert len(after["training"]["random"]) == 2
    assert_equal(tensors(after["generator"], *LOCAL), tensors(load_networks(origin).generator_ema, *LOCAL))
