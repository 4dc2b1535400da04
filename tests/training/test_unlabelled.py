"""Images without masks beside the pairs: the mixed steps written out, both streams resumed, what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from configs import RunConfig
from datasets.augment import Augmentation
from datasets.celebamask import IMAGES
from datasets.class_files import celebamask13
from datasets.data_config import AugmentConfig, DataConfig
from datasets.lmdb_writer import LmdbWriter
from datasets.synthetic_faces import draw_face
from datasets.transforms import images_to_float, labels_to_one_hot
from losses.adversarial import relativistic_loss
from losses.gradient_penalty import gradient_penalties
from losses.loss_config import LossConfig
from losses.mask import mask_loss
from tests.datasets.folders import write_celebamask, write_pairs
from training.discriminator_inputs import ImageInputs, PairInputs
from training.state import build_state
from training.stats import Stats
from training.steps import TrainingSteps
from training.training_config import TrainingConfig
from utils.distributed import Process
from utils.errors import ConfigError, DataError

CPU = torch.device("cpu")
BATCH = 4
WEIGHT = 0.3


def build(model: Any, losses: LossConfig, augment: AugmentConfig | None = None, **training: Any) -> TrainingSteps:
    data, training_config = DataConfig(unlabelled=("images",)), TrainingConfig(batch_size=BATCH, **training)
    config = RunConfig(model=model, data=data, losses=losses, training=training_config)
    augmentation = Augmentation(augment, celebamask13(), CPU) if augment else None
    inputs = PairInputs(celebamask13(), CPU, augmentation), ImageInputs(augmentation)
    return TrainingSteps(build_state(config, Process(CPU)), losses, config.training, Stats(CPU), *inputs)


@pytest.fixture
def batch() -> tuple[Tensor, ...]:
    images, unlabelled = torch.randint(256, (2, BATCH, 3, 32, 32), dtype=torch.uint8)
    return images, torch.randint(13, (BATCH, 32, 32), dtype=torch.uint8), unlabelled


def gradients(module: torch.nn.Module) -> list[Tensor]:
    """All but those that are 0 but for rounding, such as the last bias's with relativistic losses."""
    return [p.grad.clone() for p in module.parameters() if p.grad is not None and p.grad.abs().max() > 1e-7]


def assert_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max() + 1e-7


@pytest.mark.parametrize("relativistic", [False, True])
@pytest.mark.parametrize("name", ["discriminator", "r1", "generator"])
def test_the_mixed_steps_written_out(tiny_config, batch, relativistic, name):
    losses = LossConfig(relativistic=relativistic, r1_every=1, r2_image=2, r2_segmentation=30, unlabelled=WEIGHT)
    steps = build(tiny_config, losses)
    state = steps.state
    generator, discriminator = state.generator, state.discriminator
    pair, alone = (images_to_float(batch[0]), labels_to_one_hot(batch[1], 13)), (images_to_float(batch[2]),)
    reals, weights = (pair, alone), (1, WEIGHT)
    network = generator if name == "generator" else discriminator

    torch.manual_seed(3)
    total = torch.zeros(())
    if name == "r1":
        for kind, gammas in (("real", (10, 1000)), ("fake", (2, 30))):
            for real, weight in zip(reals, weights, strict=True):
                inputs = real
                if kind == "fake":
                    with torch.no_grad():
                        fake = generator.synthesis(steps._codes(BATCH), noise="random")
                    inputs = (fake.image, fake.segmentation)[: len(real)]
                inputs = [x.detach().requires_grad_() for x in inputs]
                penalties = gradient_penalties(discriminator(*inputs), inputs)
                total = total + weight * sum(g / 2 * p for g, p in zip(gammas, penalties, strict=False))
    else:
        fake = generator.synthesis(steps._codes(BATCH), noise="random")
        for real, weight in zip(reals, weights, strict=True):
            fakes = (fake.image, fake.segmentation)[: len(real)]
            if name == "discriminator":
                fakes = [x.detach() for x in fakes]
            scores = discriminator(*real), discriminator(*fakes)
            if name == "generator":
                scores = scores[::-1]
            if relativistic:
                value = relativistic_loss(*scores)
            elif name == "generator":
                value = F.softplus(-scores[0]).mean()
            else:
                value = F.softplus(-scores[0]).mean() + F.softplus(scores[1]).mean()
            total = total + weight * value
        if name == "generator":
            total = total + 100 * mask_loss(fake.coarse, fake.segmentation)
    total.backward()
    expected = gradients(network)
    generator.zero_grad()
    discriminator.zero_grad()

    torch.manual_seed(3)
    for term in steps.schedule[name].terms:
        term(batch).backward()
    assert_close(gradients(network), expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_they_train_with_all_options(tiny_config, batch, precision):
    losses = LossConfig(relativistic=True, r2_image=1, r2_segmentation=1)
    steps = build(tiny_config, losses, AugmentConfig(probability=0.5, target=0.6), precision=precision)
    steps.iterate([tuple(x[:2] for x in batch), tuple(x[2:] for x in batch)])
    reports = steps.stats.tick()
    for name in ("discriminator", "generator", "score_real", "score_fake", "r1_image", "r2_image"):
        assert reports[f"losses/{name}"] != reports[f"losses/{name}_unlabelled"]
    assert "losses/r1_segmentation_unlabelled" not in reports


@pytest.fixture
def images_32(tmp_path) -> Path:
    with LmdbWriter(tmp_path / "images", 32, None, "test") as writer:
        for index in range(7):
            writer.add(*draw_face(1, index, 32))
    return tmp_path / "images"


def test_both_streams_resume_bit_for_bit(train, tmp_path, images_32):
    options = [f"data.unlabelled={images_32}", "data.mirror=true", "losses.r1_every=2"]
    train(*options, "training.total_images=16", output="whole")
    train(*options, "training.total_images=8", output="halves")
    train(*options, "training.total_images=16", output="halves")
    whole, halves = (
        torch.load(tmp_path / name / "checkpoints" / "images_000000016.pt", weights_only=True)
        for name in ("whole", "halves")
    )
    for network in ("generator", "discriminator", "generator_ema"):
        assert all(torch.equal(x, halves[network][name]) for name, x in whole[network].items())
    assert [origin["count"] for origin in whole["data"]][-1] == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, pairs: pairs, r"is also in data\.path; give images that are not among the pairs"),
        (lambda path, pairs: pairs.parent, r"contains .*faces_32, which is read for data\.path; give images that"),
        (
            lambda path, pairs: write_pairs(path / "set", count=4),
            r"set holds masks, such as .*set/masks/faces/0\.png; add it to data\.path, or give a folder of the images",
        ),
        (lambda path, pairs: path / "none", "none does not exist; give a folder of images, or an LMDB"),
        (lambda path, pairs: "['']", r"data\.unlabelled has an empty item; remove it"),
    ],
)
def test_unlabelled_data_that_are_refused(train, tmp_path, faces_32, make, message):
    with pytest.raises(DataError, match=message):
        train(f"data.unlabelled={make(tmp_path, faces_32)}")
    assert not (tmp_path / "run").exists()


def test_an_lmdb_of_pairs_is_refused(train, tmp_path):
    with LmdbWriter(tmp_path / "pairs", 32, celebamask13(), "test") as writer:
        writer.add(*draw_face(1, 0, 32))
    with pytest.raises(DataError, match=r"pairs holds masks; add it to data\.path"):
        train(f"data.unlabelled={tmp_path / 'pairs'}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.path=set", "data.unlabelled=set/images"], r"set/images is inside set, which is read for data\.path"),
        (["data.path=set", "data.unlabelled=set/masks/faces"], "set/masks/faces is inside set, which"),
        (["data.path=set", "data.unlabelled=link"], "link is inside set, which is read for"),
        (["data.path=set", "data.unlabelled=around"], "around/images is inside set, which is read for"),
        (
            ["data.path=masks_of_others", "data.images_folder={}/set/images", "data.masks={}/set/masks"],
            r"set/images is also in data\.path; give images that are not among the pairs",
        ),
    ],
)
def test_images_of_the_pairs_are_refused(train, tmp_path, monkeypatch, options, message):
    write_pairs(tmp_path / "set")
    (tmp_path / "link").symlink_to("set/images/faces")
    for name in ("around", "masks_of_others"):
        (tmp_path / name).mkdir()
    (tmp_path / "around" / "images").symlink_to("../set/images")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        train("data.unlabelled=set/images", *(option.format(tmp_path) for option in options))
    assert not (tmp_path / "run").exists()


def test_the_same_images_twice_are_refused(train, tmp_path, images_32, wide):
    with pytest.raises(DataError, match=r"images is also in data\.unlabelled; name each image once"):
        train(f"data.unlabelled=[{images_32},{images_32}]")
    (wide / "more").mkdir()
    (wide / "0.png").rename(wide / "more" / "0.png")
    with pytest.raises(DataError, match=r"more is inside .*wide, which is read for data\.unlabelled; name each image"):
        train(f"data.unlabelled=[{wide},{wide / 'more'}]", "data.crop=center")
    (tmp_path / "around").mkdir()
    (tmp_path / "around" / "images").symlink_to(wide)
    with pytest.raises(DataError, match=r"around/images is also in data\.unlabelled; name each image once"):
        train(f"data.unlabelled=[{wide},{tmp_path / 'around'}]", "data.crop=center")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("layout", ["two folders", "one folder", "CelebAMask-HQ"])
def test_masks_are_found_if_some_are_missing(train, tmp_path, layout):
    data = tmp_path / "set"
    if layout == "CelebAMask-HQ":
        write_celebamask(data)
        shutil.copy(data / IMAGES / "0.jpg", data / IMAGES / "9.jpg")
    else:
        write_pairs(data)
        (data / "masks" / "faces" / "3.png").unlink()
        (data / "class.yaml").write_text("not read")
    if layout == "one folder":
        for mask in (data / "masks" / "faces").iterdir():
            mask.rename(data / "images" / "faces" / f"{mask.stem}_mask.png")
        shutil.rmtree(data / "masks")
    with pytest.raises(
        DataError, match=r"set holds masks.*; add it to data\.path, or give a folder of the images alone"
    ):
        train(f"data.unlabelled={data}")
    assert not (tmp_path / "run").exists()


def test_masks_of_several_kinds_are_found(train, tmp_path, wide):
    for suffix in ("mask", "seg"):
        shutil.copy(wide / "0.png", wide / f"0_{suffix}.png")
    with pytest.raises(DataError, match=r"wide holds masks of several kinds, such as 0_mask\.png and 0_seg\.png;"):
        train(f"data.unlabelled={wide}", "data.crop=center")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_the_images_alone_is_accepted(train, tmp_path):
    images = write_pairs(tmp_path / "set") / "images"
    train(f"data.unlabelled={images}", "training.total_images=4")


def test_they_must_be_as_large_as_the_pairs(train, tmp_path, images_32):
    with LmdbWriter(tmp_path / "small", 16, None, "test") as writer:
        writer.add(*draw_face(1, 0, 16))
    with pytest.raises(DataError, match=r"small holds images of sizes .16., none of at least 32"):
        train(f"data.unlabelled={tmp_path / 'small'}")


def test_they_have_no_place_beside_images_only(train, images_32):
    with pytest.raises(ConfigError, match=r"data\.unlabelled has no effect with data\.images_only"):
        train(f"data.unlabelled={images_32}", "data.images_only=true")


@pytest.fixture
def wide(tmp_path) -> Path:
    """A folder of images that are not square."""
    (tmp_path / "wide").mkdir()
    for index in range(3):
        Image.fromarray(draw_face(1, index, 32)[0]).resize((48, 32)).save(tmp_path / "wide" / f"{index}.png")
    return tmp_path / "wide"


def test_the_crop_of_a_folder_beside_an_lmdb(train, tmp_path, wide):
    with pytest.raises(DataError, match=r"0\.png: is 32x48 \(height x width\), not square; give --crop center"):
        train(f"data.unlabelled={wide}")
    assert not (tmp_path / "run").exists()
    train(f"data.unlabelled={wide}", "data.crop=center", "training.total_images=4")


def test_the_crop_of_a_folder_beside_unlabelled_images_in_an_lmdb(train, tmp_path, images_32):
    pairs = write_pairs(tmp_path / "pairs")
    train(f"data.path={pairs}", f"data.unlabelled={images_32}", "data.crop=center", "training.total_images=4")


@pytest.mark.parametrize("options", [["data.crop=center"], ["data.read_by=color"]])
def test_options_of_a_folder_that_is_measured_against(train, tmp_path, faces_32, options):
    folder, measured = write_pairs(tmp_path / "pairs"), ["metrics.every_images=8", "training.total_images=4"]
    measured += ["metrics.names=[areas]", "metrics.samples=6"]
    train(f"metrics.reference={folder}", *options, *measured)
    train(f"data.path={folder}", f"metrics.reference={faces_32}", *options, *measured, output="other")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("data.crop=center", r"data\.path and data\.unlabelled have none \(.*faces_32, .*images\); remove data\.crop"),
        ("data.read_by=color", r"data\.path has none \(.*faces_32\); remove data\.read_by"),
    ],
)
def test_options_of_folders_without_a_folder(train, tmp_path, images_32, option, message):
    with pytest.raises(DataError, match=message):
        train(f"data.unlabelled={images_32}", option)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["losses.unlabelled=2"],
            r"losses\.unlabelled = 2: this weight has no effect without images in data\.unlabelled; name a folder or",
        ),
        (
            ["losses.unlabelled=0", "data.unlabelled=images"],
            r"losses\.unlabelled = 0: the images of data\.unlabelled have no effect .*; choose a weight above 0, or",
        ),
    ],
)
def test_weights_without_effect(train, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        train(*options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("weight", [0, 1])
def test_weights_that_need_no_images(weight):
    assert RunConfig(losses=LossConfig(unlabelled=weight)).data.unlabelled == ()
