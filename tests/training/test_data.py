"""Folders of files as training data: checked as a run begins, and not written into."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from configs import load_config
from datasets.class_files import celebamask13
from datasets.lmdb_writer import LmdbWriter
from datasets.synthetic_faces import draw_face
from tests.conftest import TINY_OPTIONS
from tests.datasets.folders import write_pairs
from tests.training.live import finish, newest, start, text
from training.data import TrainingData
from utils.distributed import Process
from utils.errors import ConfigError, DataError


def test_every_file_of_a_folder_is_checked_first(train, tmp_path, capsys):
    """As scripts.prepare_data does, whose work a run on a folder does without."""
    data = write_pairs(tmp_path / "set", count=5)
    mask = data / "masks" / "faces" / "4.png"
    for path in data.glob("masks/faces/*.png"):
        picture = Image.open(path)
        picture.putdata([0 if index == 11 else index for index in picture.getdata()])
        picture.save(path)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(data / "images" / "faces" / "3.jpg").save(data / "images" / "faces" / "3.jpg", exif=exif)
    train(f"data.path={data}", "training.total_images=4", output="warned")
    told = capsys.readouterr().err
    assert f"warning: {data / 'images'}: classes that no mask shows and the model cannot learn: hat (11); to" in told
    assert f"warning: {data / 'images'}: of the images turned, 1 have a mask that fits" in told
    mask.write_bytes(b"")
    with pytest.raises(DataError, match=r"4\.png: is not an image; replace or remove it$"):
        train(f"data.path={data}", "training.total_images=4", output="refused")
    assert not (tmp_path / "refused").exists()


def test_a_small_set_among_several_is_refused_before_anything_is_written(train, tmp_path, faces_32):
    with LmdbWriter(tmp_path / "small", 16, celebamask13(), "test") as writer:
        writer.add(*draw_face(0, 0, 16))
    with pytest.raises(DataError, match=r"small: image-0000000 is 16x16 \(height x width\), too small for 32"):
        train(f"data.path=[{faces_32},{tmp_path / 'small'}]")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("soft_masks", [True, False])
def test_soft_masks_are_an_option_of_a_run(tmp_path, faces_32, soft_masks):
    (tmp_path / "config.yaml").write_text("")
    options = [*TINY_OPTIONS, f"data.path={faces_32}", f"data.soft_masks={str(soft_masks).lower()}"]
    config = load_config(tmp_path / "config.yaml", options)
    data = TrainingData(config, Process(torch.device("cpu")), None)
    _, segmentation = data.inputs[0].real(default_collate([data.dataset[0], data.dataset[1]]), torch.tensor(0.0))
    assert (len(segmentation.unique()) > 2) == soft_masks


def test_transparent_classes_other_than_the_table_s_are_told(train, capsys):
    train("training.total_images=4", "model.transparent_classes=[12,10]")
    assert "note:" not in capsys.readouterr().out
    train("training.total_images=4", "model.transparent_classes=[]", output="opaque")  # a choice, as in faces_64.yaml
    assert "note:" not in capsys.readouterr().out
    train("training.total_images=4", "model.transparent_classes=[1,10]", output="glass")
    printed = capsys.readouterr().out
    assert "note: the model treats earring as opaque, unlike the class table of " in printed
    assert "note: the model treats skin as transparent, unlike " in printed
    assert "because model.transparent_classes = [1, 10]" in printed


def test_what_is_left_out_of_a_folder_is_told(train, tmp_path, capsys):
    data = write_pairs(tmp_path / "set", count=5)
    (data / "masks" / "faces" / "0.png").rename(data / "masks" / "faces" / "0.tga")
    train(f"data.path={data}", "data.skip_unpaired=true", "training.total_images=4")
    told = capsys.readouterr().out
    assert f"{data / 'images'}: files that are no images, ignored: 1: .tga (1)" in told
    assert f"{data / 'images'}: left out without a partner: 1 (images 1, masks 0)" in told


@pytest.mark.parametrize(
    ("names", "is_mirrored", "said"),
    [
        ({"ear": "left_ear", "hat": "Eye Right"}, True, "left_ear, Eye Right"),
        ({"ear": "l_ear", "hat": "r_ear"}, True, "l_ear, r_ear"),
        ({"ear": "l_lip", "hat": "neck_l", "nose": "ear_r"}, True, ""),  # lower, necklace, ring
        ({"ear": "left_ear"}, False, ""),
    ],
)
def test_mirroring_of_sides_without_partners(train, tmp_path, capsys, names, is_mirrored, said):
    data = write_pairs(tmp_path / "set", count=5)
    table = Path("datasets/tables/celebamask13.yaml").read_text()
    for name, other in names.items():
        table = table.replace(f"name: {name},", f"name: {other},")
    (data / "classes.yaml").write_text(table.partition("remap:")[0])
    train(f"data.path={data}", f"data.mirror={str(is_mirrored).lower()}", "training.total_images=4")
    told = capsys.readouterr().err
    assert ("data.mirror" in told) == bool(said)
    assert not said or f"warning: data.mirror mixes left and right for {said}: name their" in told


@pytest.mark.parametrize("place", ["images/run", "masks/faces/run"])
def test_a_run_does_not_write_among_its_images(train, tmp_path, faces_32, place):
    """Its previews would be read as images when it goes on."""
    data = write_pairs(tmp_path / "set", count=4)
    with pytest.raises(DataError, match=r"run is inside .*set/\w+, which is read"):
        train(f"data.path=[{faces_32},{data}]", output=f"set/{place}")
    assert not (data / place).exists()
    train(f"data.path={data}", "training.total_images=4", output="set/run")
    train(f"data.path={data}", "training.total_images=8", output="set/run")


def test_files_are_checked_when_a_run_begins_and_not_when_it_goes_on(train, tmp_path):
    data = write_pairs(tmp_path / "set", count=4)
    spoilt = data / "masks" / "faces" / "3.png"
    kept = spoilt.read_bytes()
    train(f"data.path={data}", "training.total_images=4")
    spoilt.write_bytes(b"")
    train(f"data.path={data}", "training.total_images=4")  # has ended: no record is read
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    with pytest.raises(DataError, match=r"3\.png: is not an image"):
        train(f"data.path={data}", "--resume", str(checkpoint), output="other")
    spoilt.write_bytes(kept)
    train(f"data.path={data}", "--resume", str(checkpoint), output="other")


def test_problems_are_listed(train, tmp_path, capsys):
    data = write_pairs(tmp_path / "set", count=30)
    for number in range(1, 30):
        (data / "masks" / "faces" / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"is not an image; .* \(the first of 29 problems\)"):
        train(f"data.path={data}")
    assert capsys.readouterr().out.count(": is not an image") == 20


def test_an_output_that_cannot_be_written_is_refused_before_the_data_are_read(train, tmp_path, monkeypatch):
    monkeypatch.setattr("train.Trainer", None)
    with pytest.raises(ConfigError, match=r"--output /proc/run: /proc: .*; choose a writable folder"):
        train(output="/proc/run")


@pytest.mark.parametrize("options", [[], ["data.images_only=true", "model.init_from=pairs"]])
def test_pictures_of_a_folder_that_do_not_fit_name_the_options_of_a_run(train, tmp_path, options):
    if options:
        options[1] = f"model.init_from={train('training.total_images=4')}/checkpoints/images_000000004.pt"
    data = write_pairs(tmp_path / "set", count=5)
    data = data / "images" if options else data
    for path in [tmp_path / "set" / "images" / "faces" / "4.jpg", tmp_path / "set" / "masks" / "faces" / "4.png"]:
        Image.open(path).resize((64, 32), Image.Resampling.NEAREST).save(path)
    with pytest.raises(DataError, match=r"4\.jpg: is 32x64 \(height x width\), not square; .*\(in a run: data\.crop\)"):
        train(f"data.path={data}", *options, output="refused")
    assert not (tmp_path / "refused").exists()


def test_each_process_checks_a_share(tmp_path):
    data = write_pairs(tmp_path / "set", count=5)
    for number in (2, 3):
        (data / "masks" / "faces" / f"{number}.png").write_bytes(b"")
    assert finish(start(tmp_path / "run", data, "training.total_images=4", processes=2)) == [2, 2]
    told = [text(tmp_path / "run", rank) for rank in range(2)]
    problem = r"error: .*2\.png: is not an image; .* \(the first of 2 problems\)$"
    assert all(re.search(problem, each, re.MULTILINE) for each in told)
    assert [len(re.findall(r"^\S*3\.png: is not an image", each, re.M)) for each in told] == [1, 0]
    write_pairs(tmp_path / "whole", count=5)
    assert finish(start(tmp_path / "run", tmp_path / "whole", "training.total_images=4", processes=2)) == [0, 0]
    assert newest(tmp_path / "run") == 4
