"""The layout of a source is a known one or given by the user; nothing else is taken for images."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from datasets.data_config import DataConfig, FolderOptions
from datasets.find import find_source
from datasets.image_mask import ImageDataset, ImageMaskDataset
from datasets.opening import open_dataset, open_images
from datasets.pairing import Listing, recognize, split_by_suffix
from scripts.prepare_data import main
from tests.datasets.folders import SIZE, write_celebamask, write_pairs
from utils.errors import DataError

ROOT = Path(__file__).parent.parent.parent
ALONE = FolderOptions(images_only=True)
IDS = np.repeat(np.repeat(np.array([[0, 1], [2, 0]], np.uint8), SIZE // 2, 0), SIZE // 2, 1)
CLASSES = "classes: [{id: 0, name: rest}, {id: 1, name: cat}, {id: 2, name: dog}]\nignore: [255]\n"


def image(path: Path, size: int = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (9, 9, 9)).save(path)


def mask(path: Path, size: int = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IDS).resize((size, size), Image.Resampling.NEAREST).save(path)


def names(folder: Path, image_name: str, mask_name: str, count: int = 3) -> Path:
    for stem in "abc"[:count]:
        image(folder / image_name.format(stem))
        mask(folder / mask_name.format(stem))
    (folder / "classes.yaml").write_text(CLASSES)
    return folder


RECOGNizED = [
    ("images/{}.jpg", "masks/{}.png"),
    ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
    ("img/x/{}.jpg", "label/x/{}.png"),
    ("Images/{}.jpg", "Labels/{}.png"),
    ("images/{}.jpg", "annotations/{}.png"),
    ("images/{}.jpg", "masks/{}_mask.png"),
    ("images/{}_image.jpg", "masks/{}_mask.png"),
    ("images/{}.jpg", "masks/{}.jpg.png"),
    ("images/{}.png", "masks/{}.png.png"),
    ("{}.png", "{}_mask.png"),
    ("{}.jpg", "{}-label.png"),
    ("x/{}_img.png", "x/{}_seg.png"),
    ("{}.jpg", "{}.jpg.png"),
    ("{}.PNG", "{}_mask.png"),
]


@pytest.mark.parametrize(("image_name", "mask_name"), RECOGNizED)
def test_known_layouts(tmp_path: Path, image_name: str, mask_name: str) -> None:
    source = find_source(names(tmp_path, image_name, mask_name))
    assert (len(source), source.problems) == (3, [])
    assert all(np.array_equal(source.read(i).label, IDS) for i in range(3))
    alone = find_source(tmp_path, ALONE)
    assert [alone.name(i) for i in range(len(alone))] == [source.name(i) for i in range(3)]
    assert len(open_images(DataConfig(path=(str(tmp_path),), images_only=True), SIZE)) == 3


UNKNOWN = [
    ("photos/{}.jpg", "pixels/{}.png"),
    ("images/{}.jpg", "pixels/{}.png"),
    ("photos/{}.jpg", "masks/{}.png"),
    ("{}.jpg", "masks/{}.png"),
    ("{}.jpg", "{}_other.png"),
    ("train/images/{}.jpg", "train/masks/{}.png"),
]


@pytest.mark.parametrize(("image_name", "mask_name"), UNKNOWN)
def test_other_layouts_are_refused_and_told(tmp_path: Path, image_name: str, mask_name: str) -> None:
    names(tmp_path, image_name, mask_name)
    with pytest.raises(DataError) as caught:
        find_source(tmp_path)
    text = str(caught.value)
    assert "is no known layout" in text
    assert f"{image_name.split('/')[0]}/" in text or "files .jpg" in text
    for option in ("JPEGImages", "--images-folder", "--masks-folder", "--mask-suffix", "--images-only"):
        assert option in text


def test_a_folder_of_images_alone_is_asked_for(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    with pytest.raises(DataError, match="is no known layout"):
        find_source(tmp_path)
    assert len(find_source(tmp_path, ALONE)) == 1


@pytest.mark.parametrize("form", ["{}", "./{}"])
def test_folders_that_the_user_names(tmp_path: Path, monkeypatch, form: str) -> None:
    names(tmp_path / "set", "photos/{}.jpg", "pixels/{}.png")
    options = FolderOptions(images_folder=form.format("photos"), masks=form.format("pixels"))
    assert len(find_source(tmp_path / "set", options)) == 3
    monkeypatch.chdir(tmp_path)
    assert len(find_source(Path("set"), FolderOptions(images_folder="set/photos", masks="set/pixels"))) == 3
    assert len(find_source(tmp_path / "set", FolderOptions(images_folder="photos", images_only=True))) == 3
    with pytest.raises(DataError, match=r"neither absent nor .* is a folder"):
        find_source(tmp_path / "set", FolderOptions(masks="absent"))
    (tmp_path / "pixels").mkdir()
    with pytest.raises(DataError, match="--masks-folder pixels: this can be pixels or set/pixels"):
        find_source(Path("set"), FolderOptions(images_folder="photos", masks="pixels"))


def test_a_users_files_in_the_working_directory_are_not_found() -> None:
    assert list(Path().iterdir()) == []


def test_masks_beside_images_in_the_same_folder(tmp_path: Path) -> None:
    source = find_source(names(tmp_path, "{}.jpg", "pixels/{}.png"), FolderOptions(masks="pixels"))
    assert (len(source), source.problems) == (3, [])


def test_two_folders_that_could_be_it(tmp_path: Path) -> None:
    names(tmp_path, "images/{}.jpg", "masks/{}.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.xml").write_text("")
    assert len(find_source(tmp_path)) == 3
    names(tmp_path, "images/{}.jpg", "labels/{}.png")
    with pytest.raises(DataError, match="holds labels and masks; choose one with --masks-folder"):
        find_source(tmp_path)
    assert len(find_source(tmp_path, FolderOptions(masks="masks"))) == 3


def test_masks_of_two_kinds_in_one_folder(tmp_path: Path) -> None:
    names(tmp_path, "{}.jpg", "{}_mask.png")
    names(tmp_path, "{}.jpg", "{}_seg.png")
    with pytest.raises(DataError, match=r"masks of several kinds \(a_mask\.png, a_seg\.png\); .* --mask-suffix"):
        find_source(tmp_path)


def test_masks_of_two_kinds_in_a_folder_of_masks(tmp_path: Path) -> None:
    names(tmp_path, "images/{}.jpg", "masks/{}_mask.png")
    mask(tmp_path / "masks" / "a.png")  # a stray one must not decide for all
    with pytest.raises(DataError, match=r"masks of several kinds \(.*a\.png.*\); .* --mask-suffix"):
        find_source(tmp_path)
    assert len(find_source(tmp_path, FolderOptions(mask_suffix="_mask"))) == 3
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "x.png")
    assert len(find_source(tmp_path)) == 3


def test_the_convention_that_pairs_most(tmp_path: Path) -> None:
    names(tmp_path / "set", "images/{}_image.jpg", "masks/{}_mask.png")
    image(tmp_path / "set" / "images" / "d.jpg")
    mask(tmp_path / "set" / "masks" / "d_mask.png")
    assert len(find_source(tmp_path / "set")) == 4
    names(tmp_path / "one", "{}_image.jpg", "{}_mask.png")
    image(tmp_path / "one" / "d.jpg")
    mask(tmp_path / "one" / "d_mask.png")
    assert len(find_source(tmp_path / "one")) == 4


@pytest.mark.parametrize("folders", [("", ""), ("images/", "masks/")])
def test_an_image_suffix_with_a_known_mask_suffix(tmp_path: Path, folders: tuple[str, str]) -> None:
    names(tmp_path, f"{folders[0]}{{}}_left.png", f"{folders[1]}{{}}_mask.png")
    image(tmp_path / folders[0] / "a_right.png")
    image(tmp_path / folders[0] / "c.png")
    source = find_source(tmp_path, FolderOptions(image_suffix="_left"))
    assert [Path(source.name(i)).name for i in range(len(source))] == ["a_left.png", "b_left.png", "c_left.png"]
    assert source.notes == ["files without the given suffixes, ignored: 2"]


def test_an_image_suffix_with_masks_of_the_whole_name(tmp_path: Path) -> None:
    names(tmp_path, "{}_left.jpg", "{}_left.jpg.png")
    names(tmp_path, "{}_right.jpg", "{}_right.jpg.png")
    source = find_source(tmp_path, FolderOptions(image_suffix="_left", skip_unpaired=True))
    assert [Path(source.name(i)).name for i in range(len(source))] == ["a_left.jpg", "b_left.jpg", "c_left.jpg"]


def test_images_alone_leave_out_masks_and_tell(tmp_path: Path) -> None:
    for name in ("cat", "cat_mask", "cat_seg", "dog"):
        image(tmp_path / f"{name}.png")
    source = find_source(tmp_path, ALONE)
    assert [Path(source.name(i)).name for i in range(len(source))] == ["cat.png", "dog.png"]
    assert source.notes == ["left out as masks: 2 (cat_mask.png, cat_seg.png)"]
    source = find_source(tmp_path, FolderOptions(images_only=True, mask_suffix="_seg"))
    assert (len(source), source.notes) == (3, ["left out as masks: 1 (cat_seg.png)"])


class Counted(list):
    """Names that count how often somebody goes through them."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


@pytest.mark.parametrize("mask_name", ["x{}", "{}_annotation"])
def test_names_are_gone_through_a_few_times(mask_name: str) -> None:
    stems = [f"{k}" for k in range(20)]

    def listing(*patterns: str) -> Listing:
        listed = Counted(pattern.format(stem) for stem in stems for pattern in patterns)
        return Listing(Path("f"), [Path("f", f"{name}.png") for name in listed], listed, [])

    images, masks, together = listing("{}"), listing(mask_name), listing("{}", mask_name)
    for each in (images, masks, together):
        each.names.passes = 0
    found = recognize(images, masks), split_by_suffix(together)
    assert [each is not None for each in found] == ["annotation" in mask_name] * 2
    assert max(each.names.passes for each in (images, masks, together)) <= 12


def test_names_that_pair_nothing(tmp_path: Path) -> None:
    names(tmp_path, "images/{}.jpg", "masks/{}_x.png")
    with pytest.raises(DataError, match=r"no image in .* a matching name .* such as .*a\.jpg and .*a_x\.png\)"):
        find_source(tmp_path)
    for suffix in ("_x", "_x.png"):
        assert len(find_source(tmp_path, FolderOptions(mask_suffix=suffix))) == 3


def test_unpaired_files_are_problems_or_left_out_and_counted(tmp_path: Path) -> None:
    names(tmp_path, "JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    for name in "xy":
        image(tmp_path / "JPEGImages" / f"{name}.jpg")
    source = find_source(tmp_path)
    assert [line.split("/")[-2:] for line in source.problems] == [
        ["SegmentationClass", f"{name}.png; add it"] for name in "xy"
    ]
    source = find_source(tmp_path, FolderOptions(skip_unpaired=True))
    assert (len(source), source.problems) == (3, [])
    assert list(source.notes) == ["left out without a partner: 2 (images 2, masks 0)"]


def test_what_systems_leave_is_passed_by(tmp_path: Path) -> None:
    names(tmp_path, "images/{}.jpg", "masks/{}.png")
    for folder in ("images", "masks", "."):
        for name in ("@eaDir/a.jpg", "__MACOSX/b.jpg", "._a.png", ".thumbs/a.png"):
            image(tmp_path / folder / name)
        for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
            (tmp_path / folder / name).write_text("")
    source = find_source(tmp_path)
    assert (len(source), source.problems, dict(source.skipped)) == (3, [], {})
    write_celebamask(tmp_path / "faces")
    image(tmp_path / "faces" / "CelebA-HQ-img" / "._0.jpg")
    assert find_source(tmp_path / "faces").problems == []


def test_celebamask_images_alone(tmp_path: Path) -> None:
    source = find_source(write_celebamask(tmp_path), ALONE)
    assert (len(source), source.classes, source.read(0).label) == (3, None, None)
    image(tmp_path / "CelebA-HQ-img" / "1.JPG")
    assert "1.JPG: is not CelebA-HQ-img/<id>.jpg" in find_source(tmp_path).problems[0]


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "set")
    with pytest.raises(DataError, match="--images-only uses neither masks nor classes"):
        find_source(pairs, FolderOptions(classes="celebamask13", images_only=True))
    main([str(pairs), str(tmp_path / "lmdb"), "--resolution", str(SIZE), "--workers", "0"])
    with pytest.raises(DataError, match="is an LMDB: drop the options for folders of files"):
        find_source(tmp_path / "lmdb", FolderOptions(mask_suffix="_mask"))
    with pytest.raises(DataError, match="drop --images-only"):
        main([str(tmp_path / "lmdb"), str(tmp_path / "o"), "--resolution", str(SIZE), "--images-only"])
    with pytest.raises(DataError, match=r"data\.mask_suffix is for folders of files"):
        open_dataset(DataConfig(path=(str(tmp_path / "lmdb"),), mask_suffix="_mask"), SIZE)


def unicode_pairs(folder: Path, image_name: str, mask_name: str) -> Path:
    for kind, name in (("images", image_name), ("masks", mask_name)):
        (image if kind == "images" else mask)(folder / kind / f"{name}.png")
    return folder


@pytest.mark.parametrize(("first", "second"), [("mu\u0308ller", "m\u00fcller"), ("m\u00fcller", "mu\u0308ller")])
def test_names_are_compared_in_nfc(tmp_path: Path, first: str, second: str) -> None:
    source = find_source(unicode_pairs(tmp_path, first, second))
    assert (len(source), source.problems) == (1, [])
    unicode_pairs(tmp_path, second, second)
    assert "has the same name as" in find_source(tmp_path).problems[0]
    assert "a different Unicode form (NFC, NFD)" in find_source(tmp_path).problems[0]


def write_voc(folder: Path) -> None:
    names(folder, "JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    for name in "xyz":
        image(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text("")
    names(folder, "JPEGImages/{}.jpg", "SegmentationObject/{}.png")
    (folder / "classes.yaml").unlink()


def write_cityscapes(folder: Path) -> None:
    for city in ("aachen", "bochum"):
        image(folder / "leftImg8bit" / "train" / city / f"{city}_0_leftImg8bit.png")
        for kind in ("labelIds", "instanceIds", "color"):
            mask(folder / "gtFine" / "train" / city / f"{city}_0_gtFine_{kind}.png")
        (folder / "gtFine" / "train" / city / f"{city}_0_gtFine_polygons.json").write_text("{}")
    image(folder / "leftImg8bit" / "test" / "berlin" / "berlin_0_leftImg8bit.png")


def write_supervisely(folder: Path) -> None:
    names(folder, "img/{}.jpg", "masks_machine/{}.jpg.png", count=2)
    image(folder / "img" / "c.png")
    mask(folder / "masks_machine" / "c.png.png")
    (folder / "ann").mkdir()
    (folder / "ann" / "a.jpg.json").write_text("{}")
    (folder / "classes.yaml").unlink()


LAYOUTS = (ROOT / "docs" / "data.md").read_text("utf-8").split("\n## Layouts\n")[1]
COMMANDS = re.findall(r"^python -m scripts\.prepare_data .*$", LAYOUTS, re.M)
WRITERS = {"VOC2012": write_voc, "cityscapes": write_cityscapes, "supervisely": write_supervisely}
COUNTS = {"VOC2012": 3, "cityscapes": 2, "supervisely": 3, "paintings": 1}


def test_each_layout_has_a_command() -> None:
    assert [shlex.split(command)[3] for command in COMMANDS] == list(COUNTS)


@pytest.mark.parametrize("command", COMMANDS, ids=list(COUNTS))
def test_the_commands_of_the_documentation(tmp_path: Path, monkeypatch, capsys, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command.replace("256", str(SIZE)))[3:]
    source = Path(words[0])
    WRITERS.get(words[0], lambda folder: image(folder / "a.jpg"))(source)
    if "--classes" in words:
        Path(words[words.index("--classes") + 1]).write_text(CLASSES)
    main([*words, "--workers", "0"])
    made = (ImageMaskDataset if "--classes" in words else ImageDataset)(words[1])
    assert len(made) == COUNTS[words[0]]
    if isinstance(made, ImageMaskDataset):
        assert all(np.array_equal(made[i][1].numpy(), IDS) for i in range(len(made)))
    said = capsys.readouterr().out
    assert "VOC" not in words[0] or "left out without a partner: 3 (images 3, masks 0)" in said
    assert "cityscapes" not in words[0] or "files without the given suffixes, ignored: 4" in said


def test_the_recipe_for_a_class_table(tmp_path: Path, monkeypatch) -> None:
    recipe = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## A class table")[1].split("\n## ")[0]
    [table], [command] = (re.findall(rf"```{kind}\n(.*?)```", recipe, re.S) for kind in ("yaml", "bash"))
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    names(Path(words[3]), "images/{}.jpg", "masks/{}.png")
    ids = np.array([0, 1, 2, 3, 17, 255], np.uint8)
    for path in Path(words[3], "masks").iterdir():
        Image.fromarray(ids[np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % len(ids)]).save(path)
    Path(words[3], "classes.yaml").write_text(table)
    main(words[3:])
    made = ImageMaskDataset(words[4])
    assert list(made.classes.names) == [entry["name"] for entry in yaml.safe_load(table)["classes"]]
    assert made[0][1].flatten()[:6].tolist() == [0, 1, 2, 3, 3, 0]
    assert Path(words[4], "contact_sheet.png").exists()


def test_names_that_differ_in_case_alone(tmp_path: Path) -> None:
    for name in ("images/A0.jpg", "masks/a0.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (16, 16)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"must agree in upper and lower case: rename one"):
        find_source(tmp_path)


@pytest.mark.parametrize("name", ["Classes.yaml", "CLASSES.YAML", "class.yaml", "classes.yml", "classes.yaml.txt"])
def test_a_class_table_of_almost_the_right_name(tmp_path: Path, name: str) -> None:
    """The 13 classes of CelebAMask-HQ would be taken in its place."""
    write_pairs(tmp_path)
    (tmp_path / name).write_text("classes: [{id: 0, name: a}, {id: 1, name: b}]")
    with pytest.raises(
        DataError, match=rf"{name} is not read: rename it to classes\.yaml, or give it, or celebamask13"
    ):
        find_source(tmp_path)
    assert find_source(tmp_path, FolderOptions(classes="celebamask13")).classes is not None


def test_a_class_table_beside_the_folder_that_is_given(tmp_path: Path) -> None:
    write_pairs(tmp_path / "set")
    (tmp_path / "set" / "classes.yaml").write_text("classes: [{id: 0, name: a}, {id: 1, name: b}]")
    with pytest.raises(DataError, match=r"set/classes\.yaml is not read for .*images: move it there, or give it"):
        find_source(tmp_path / "set" / "images", FolderOptions(masks=str(tmp_path / "set" / "masks")))


def test_images_alone_tell_their_folders(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    for folder in ("photos", "ground_truth"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.new("L", (16, 16)).save(tmp_path / "set" / folder / f"{folder}.png")
    assert find_source(tmp_path / "set", FolderOptions(images_only=True)).notes == [
        "images by folder: ground_truth (1), photos (1)"
    ]


@pytest.mark.parametrize("suffix", ["_Mask", "-LABEL", ".Seg"])
def test_known_suffixes_in_upper_case(tmp_path: Path, suffix: str) -> None:
    for name in ("0.jpg", f"0{suffix}.png"):
        Image.new("L", (16, 16)).save(tmp_path / name)
    assert len(find_source(tmp_path)) == 1
    alone = find_source(tmp_path, FolderOptions(images_only=True))
    assert (len(alone), alone.notes) == (1, [f"left out as masks: 1 (0{suffix}.png)"])
