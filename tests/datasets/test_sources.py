import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.celebamask import IMAGES, MASKS
from datasets.class_files import celebamask13, load_table
from datasets.crop_and_resize import crop_and_resize
from datasets.data_config import FolderOptions
from datasets.find import find_source
from datasets.inspection import inspect_source
from datasets.lmdb_writer import LmdbWriter
from datasets.sources import FileSource
from datasets.synthetic_faces import draw_face
from tests.datasets.folders import SIZE, full_label, write_celebamask, write_pairs
from utils.errors import DataError

ROOT = Path(__file__).parent.parent.parent
ALONE = FolderOptions(images_only=True)


def test_pairs_are_found_by_relative_path_without_extension(tmp_path: Path) -> None:
    source = find_source(write_pairs(tmp_path / "set", count=3))
    assert (len(source), source.problems) == (3, [])
    record = source.read(2)
    assert record.label is not None
    assert np.array_equal(record.label, full_label(2))
    assert source.name(2).endswith("images/faces/2.jpg")


def test_a_folder_of_masks_may_lie_elsewhere(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    source = find_source(tmp_path / "images", FolderOptions(masks=str(tmp_path / "masks")))
    assert source.classes == celebamask13()
    assert len(source) == 6


def test_neither_file_of_a_double_name_is_used(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "images" / "faces" / "1.png")
    Image.new("L", (SIZE, SIZE)).save(tmp_path / "masks" / "faces" / "2.bmp")
    source = find_source(tmp_path)
    assert [Path(source.name(i)).stem for i in range(len(source))] == ["0", "3", "4", "5"]
    assert len(source.problems) == 2
    assert len(find_source(tmp_path / "images", ALONE)) == 5


def test_what_is_no_image_is_counted_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    for name in (".thumbnails", "notes"):
        (tmp_path / "images" / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / ".thumbnails" / "0.png")
    for name in ("notes/a.txt", "notes/b.TXT", "notes/README", "c.gif", ".hidden.txt"):
        (tmp_path / "images" / name).write_text("")
    (tmp_path / "masks" / "faces" / "0.json").write_text("{}")
    source = find_source(tmp_path)
    assert (len(source), source.problems) == (6, [])
    assert "files that are no images, ignored: 5: .gif (1), .json (1), .txt (2), no extension (1)" in list(
        inspect_source(source, workers=0).lines()
    )


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    source = find_source(write_pairs(tmp_path))
    assert isinstance(source, FileSource)
    (tmp_path / "masks" / "faces" / "0.png").unlink()
    with pytest.raises(DataError, match=r"0\.png: cannot be read \(No such file"):
        source.state(0)


def test_images_alone(tmp_path: Path) -> None:
    source = find_source(write_pairs(tmp_path) / "images", ALONE)
    assert (len(source), source.classes, source.read(0).label) == (6, None, None)


def test_masks_in_a_folder_of_another_name_are_no_pictures(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "masks").rename(tmp_path / "segmentation")
    with pytest.raises(DataError, match=r"is no known layout .* it holds images/, segmentation/"):
        find_source(tmp_path)
    source = find_source(tmp_path, FolderOptions(masks="segmentation"))
    assert (len(source), source.problems) == (6, [])
    assert source.read(1).label is not None
    (tmp_path / "images").rename(tmp_path / "photos")
    (tmp_path / "classes.yaml").write_text(Path(ROOT, "datasets/tables/celebamask13.yaml").read_text())
    with pytest.raises(DataError, match=r"it holds photos/, segmentation/, files \.yaml \(1\)"):
        find_source(tmp_path)


def test_masks_without_their_images_are_no_pictures(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "images").rename(tmp_path / "photos")
    with pytest.raises(DataError, match=r"is no known layout .* it holds masks/, photos/"):
        find_source(tmp_path)
    with pytest.raises(DataError, match="holds masks, photos; name the folder of images with --images-folder"):
        find_source(tmp_path, ALONE)


def test_a_class_table_in_the_folder_is_used(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "classes.yaml").write_text("classes: [{id: 0, name: rest}, {id: 1, name: face}]\nignore: [7]\n")
    source = find_source(tmp_path)
    assert source.classes is not None
    assert source.classes.names == ("rest", "face")
    with pytest.raises(DataError, match=r"0\.png: has ids 2, 3"):
        source.read(0)


@pytest.mark.parametrize("table", ["celebamask13", "celebamask19"])
def test_celebamask_is_painted_in_order(tmp_path: Path, table: str) -> None:
    source = find_source(write_celebamask(tmp_path), FolderOptions(classes=table))
    assert source.kind == "CelebAMask-HQ, train"
    assert len(source) == 3
    record = source.read(1)
    assert record.label is not None
    assert source.classes is not None
    names = np.array(source.classes.names)[record.label]
    assert names[full_label(1) == 7].tolist() == ["hair"] * int((full_label(1) == 7).sum())
    if table == "celebamask13":
        assert np.array_equal(record.label, full_label(1))
        assert np.array_equal(crop_and_resize(record, SIZE, "error").label, full_label(1))
    else:
        assert {"l_eye", "r_eye"} & set(names[full_label(1) == 2])


def test_a_later_part_covers_an_earlier_one(tmp_path: Path) -> None:
    write_celebamask(tmp_path)
    everywhere = Image.new("L", (SIZE, SIZE), 255)
    for part in ("skin", "hair", "nose"):  # hair comes last of the three
        everywhere.save(tmp_path / MASKS / "0" / f"00000_{part}.png")
    label = find_source(tmp_path).read(0).label
    assert label is not None
    assert {1, 5}.isdisjoint(np.unique(label))
    assert 7 in label


def test_splits_of_celebamask(tmp_path: Path) -> None:
    write_celebamask(tmp_path)
    assert [len(find_source(tmp_path, split=split)) for split in ("train", "val", "all")] == [3, 2, 5]


def test_a_part_may_be_left_out(tmp_path: Path) -> None:
    text = (
        Path(ROOT, "datasets/tables/celebamask13.yaml").read_text().replace("  neck_l: neck\n", "")
        + "ignore: [neck_l]\n"
    )
    (tmp_path / "classes.yaml").write_text(text)
    write_celebamask(tmp_path)
    Image.new("L", (SIZE, SIZE), 255).save(tmp_path / MASKS / "0" / "00000_neck_l.png")
    assert np.array_equal(find_source(tmp_path).read(0).label, full_label(0))


def test_a_part_of_no_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("classes: [{id: 0, name: background}, {id: 1, name: skin}]")
    with pytest.raises(DataError, match="part eye_g is not in the class table"):
        find_source(write_celebamask(tmp_path / "set"), FolderOptions(classes=str(tmp_path / "t.yaml")))


def test_faces_without_masks_and_masks_without_an_image(tmp_path: Path) -> None:
    write_celebamask(tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / IMAGES / "100.jpg")
    (tmp_path / IMAGES / "1.jpg").unlink()
    source = find_source(tmp_path)
    assert (len(source), source.unpaired, len(source.problems)) == (2, 2, 2)
    assert re.search(r"100\.jpg: has no part masks in .*0; add them$", source.problems[0])
    assert re.search(r"00001_\w+\.png: has no image .*1\.jpg; add it, or remove", source.problems[1])
    skipping = find_source(tmp_path, FolderOptions(skip_unpaired=True))
    assert (len(skipping), list(skipping.problems)) == (2, [])
    assert list(skipping.notes) == ["left out without a partner: 2 faces"]
    assert find_source(tmp_path, split="val").problems == []


@pytest.mark.parametrize(
    "name",
    [
        "0/00001_Hair.png",
        "0/00001_hiar.png",
        "0/00001_tooth.png",
        "0/00001_nose.PNG",
        "0/00001_nose.jpg",
        "0/1_nose.png",
        "0/000001_nose.png",
        "0/00001_nose_1.png",
        "1/00001_nose.png",
        "01/00001_nose.png",
        "anno/0/00001_nose.png",
        "00001_nose.png",
        "0/00001_nose.png.part",
        "0/00001_nose.gif",
        "0/00001_nose",
    ],
)
def test_a_part_mask_of_an_unknown_name_is_a_problem(tmp_path: Path, name: str) -> None:
    """A part whose mask is misnamed would be painted over by the others without a word."""
    write_celebamask(tmp_path)
    assert list(find_source(tmp_path).problems) == []
    mask = tmp_path / MASKS / "0" / "00001_nose.png"
    moved = tmp_path / MASKS / name
    moved.parent.mkdir(parents=True, exist_ok=True)
    mask.rename(moved)
    source = find_source(tmp_path)
    (problem,) = source.problems
    assert problem.startswith(f"{moved}: is not ")
    assert [Path(source.name(index)).name for index in range(len(source))] == ["0.jpg", "2.jpg"]
    assert list(find_source(tmp_path, FolderOptions(images_only=True)).problems) == []


def test_what_lies_among_the_images_of_celebamask(tmp_path: Path) -> None:
    write_celebamask(tmp_path)
    for name in ("more/1.jpg", "00001.jpg", "1.png", "2.JPG"):
        (tmp_path / IMAGES / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 64)).save(tmp_path / IMAGES / name)
    (tmp_path / IMAGES / "Thumbs.db").touch()
    (tmp_path / IMAGES / "notes.txt").touch()
    for name in ("notes.txt", "2_notes.txt"):
        (tmp_path / MASKS / "0" / name).touch()
    source = find_source(tmp_path)
    assert [Path(problem.split(":")[0]).name for problem in source.problems] == ["00001.jpg", "1.png", "2.JPG", "1.jpg"]
    assert source.skipped == {".txt": 3}
    assert len(source) == 3


def test_a_misnamed_image_of_celebamask_is_one_problem(tmp_path: Path) -> None:
    write_celebamask(tmp_path)
    (tmp_path / IMAGES / "1.jpg").rename(tmp_path / IMAGES / "00001.jpg")
    for skip_unpaired in (True, False):
        source = find_source(tmp_path, FolderOptions(skip_unpaired=skip_unpaired))
        (problem,) = source.problems
        assert problem.endswith("00001.jpg: is not CelebA-HQ-img/<id>.jpg; rename, move or remove it")
        assert (len(source), list(source.notes)) == (2, [])


def test_the_state_of_a_face_changes_with_its_part_masks(tmp_path: Path) -> None:
    write_celebamask(tmp_path)
    before = [find_source(tmp_path).state(index) for index in range(3)]
    Image.new("L", (SIZE, SIZE), 255).save(tmp_path / MASKS / "0" / "00001_nose.png", compress_level=0)
    after = [find_source(tmp_path).state(index) for index in range(3)]
    assert [there == here for there, here in zip(before, after, strict=True)] == [True, False, True]


def test_part_masks_of_another_shape_than_the_image(tmp_path: Path) -> None:
    write_celebamask(tmp_path)
    for file in (tmp_path / MASKS / "0").glob("00001_*.png"):
        Image.open(file).resize((SIZE, SIZE // 2)).save(file)
    with pytest.raises(
        DataError, match=r"1\.jpg: is 64x64, but its part masks are 16x32 \(height x width\); give both the same"
    ):
        find_source(tmp_path).read(1)


def test_a_turned_image_of_celebamask(tmp_path: Path) -> None:
    """Nobody knows whether its masks were drawn on the stored or on the upright image."""
    write_celebamask(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(tmp_path / IMAGES / "1.jpg").save(tmp_path / IMAGES / "1.jpg", exif=exif)
    with pytest.raises(DataError, match=r"1\.jpg: has an EXIF orientation, but its part masks have none"):
        find_source(tmp_path).read(1)


def test_a_part_mask_with_transparency(tmp_path: Path) -> None:
    write_celebamask(tmp_path)
    Image.new("RGBA", (SIZE, SIZE), (255, 255, 255, 0)).save(tmp_path / MASKS / "0" / "00001_nose.png")
    with pytest.raises(DataError, match=r"00001_nose\.png: has transparent pixels"):
        find_source(tmp_path).read(1)


def test_a_face_that_shows_only_ignored_parts(tmp_path: Path) -> None:
    text = (
        Path(ROOT, "datasets/tables/celebamask13.yaml").read_text().replace("  neck_l: neck\n", "")
        + "ignore: [neck_l]\n"
    )
    (tmp_path / "classes.yaml").write_text(text)
    write_celebamask(tmp_path)
    for file in (tmp_path / MASKS / "0").glob("00001_*.png"):
        file.unlink()
    Image.new("L", (SIZE, SIZE), 255).save(tmp_path / MASKS / "0" / "00001_neck_l.png")
    label = find_source(tmp_path).read(1).label
    assert label is not None
    assert not label.any()


def test_lmdbs_of_both_kinds_are_sources(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "lmdb", SIZE, load_table("celebamask19"), "tests") as writer:
        writer.add(draw_face(0, 0, SIZE)[0], full_label(0))
    source = find_source(tmp_path / "lmdb")
    assert source.classes == load_table("celebamask19")
    assert np.array_equal(source.read(0).label, full_label(0))


@pytest.mark.parametrize("rule", ["remap: {77: 1}", "ignore: [255]", "ignore: ['#ffffff']"])
def test_rules_for_the_ids_of_an_lmdb(tmp_path: Path, rule: str) -> None:
    with LmdbWriter(tmp_path / "lmdb", SIZE, celebamask13(), "tests") as writer:
        writer.add(draw_face(0, 0, SIZE)[0], full_label(0))
    classes = ", ".join(f"{{id: {k}, name: n{k}}}" for k in range(13))
    (tmp_path / "t.yaml").write_text(f"classes: [{classes}]\n{rule}\n")
    with pytest.raises(DataError, match=r"is an LMDB, and its ids are not remapped; remove the rule for .* from the"):
        find_source(tmp_path / "lmdb", FolderOptions(classes=str(tmp_path / "t.yaml")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "absent"}, "absent does not exist"),
        ({"path": "set", "split": "val"}, "is not read as CelebAMask-HQ"),
        (
            {"path": "set/images", "classes": "celebamask13"},
            "is no known layout of images and masks",
        ),
        ({"path": "set/images", "masks": "absent"}, "neither absent nor"),
        ({"path": "empty"}, "holds no images"),
        ({"path": "set", "classes": "absent.yaml"}, "class table absent.yaml"),
    ],
)
def test_what_cannot_be_a_source(tmp_path: Path, options: dict[str, str], message: str) -> None:
    write_pairs(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    path, split = tmp_path / options.pop("path"), options.pop("split", None)
    with pytest.raises(DataError, match=message):
        find_source(path, FolderOptions(**options), split)


def test_a_survey_counts(tmp_path: Path) -> None:
    found = inspect_source(find_source(write_pairs(tmp_path)), workers=0)
    assert (list(found.good), found.problems) == ([0, 1, 2, 3, 4, 5], [])
    assert found.sizes == {(SIZE, SIZE): 6}
    assert found.images.tolist() == [6] * 13
    expected = np.bincount(np.concatenate([full_label(i).ravel() for i in range(6)]), minlength=13)
    assert np.allclose(found.shares, expected / expected.sum())
    text = "\n".join(found.lines())
    assert "6 records without a problem, 0 problems" in text
    assert "glasses" in text


def test_a_survey_tells_of_masks_that_fit_both_ways(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "images" / "faces" / "2.jpg", exif=exif)
    text = "\n".join(inspect_source(find_source(tmp_path), workers=0).lines())
    assert "images turned upright by their EXIF orientation: 1;" in text
    assert "of the images turned, 1 have a mask that fits the upright image as well" in text


def test_a_survey_is_the_same_with_workers(tmp_path: Path) -> None:
    source = find_source(write_pairs(tmp_path, count=20))
    alone, together = inspect_source(source, workers=0), inspect_source(source, workers=2)
    assert list(alone.lines()) == list(together.lines())


def test_a_survey_shows_left_and_right(tmp_path: Path) -> None:
    found = inspect_source(find_source(write_celebamask(tmp_path), FolderOptions(classes="celebamask19")), workers=0)
    assert any("l_eye" in line and "mirrored: r_eye" in line for line in found.lines())
