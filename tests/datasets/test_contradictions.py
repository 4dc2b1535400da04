"""Masks with ids and palette colours: where the two disagree, the user says which is right."""

import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import decoding, mask_codes
from datasets.class_files import celebamask13
from datasets.data_config import DataConfig, FolderOptions
from datasets.decoding import read_pair
from datasets.find import find_source
from datasets.inspection import inspect_source
from datasets.labels import ClassTable, hex_color
from datasets.lmdb_writer import LmdbWriter, encode_image
from datasets.mask_codes import check_palette
from datasets.opening import open_dataset, open_images
from datasets.synthetic_faces import draw_face
from tests.datasets.folders import SIZE, full_label, write_pairs
from tests.scripts.test_prepare_data import opened, prepare
from utils.cli import run
from utils.errors import ContradictionError, DataError


def read_label(*arguments):
    return decoding.read_label(*arguments)[0]


COLORS = ((0, 0, 0), (200, 0, 0), (0, 0, 200))
TABLE = ClassTable(("back", "cat", "dog"), COLORS)
IDS = np.array([[0, 1, 2, 2]], np.uint8)
ORDERS = ([0, 1, 2], [2, 1, 0], [1, 2, 0])
BY_COLOR, BY_INDEX = FolderOptions(read_by="color"), FolderOptions(read_by="index")
VOC = ((9, 9, 9), (128, 0, 0), (0, 128, 0), (224, 224, 192))


def save(path: Path, ids: np.ndarray, palette: tuple, **options: object) -> Path:
    picture = Image.fromarray(ids)
    picture.putpalette([part for color in palette for part in color])
    picture.save(path, **options)
    return path


def palettes(folder: Path, *, colors: tuple = COLORS, orders: tuple = ORDERS, ids: np.ndarray = IDS) -> Path:
    """Masks that every viewer shows alike, each with another order of the palette."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    ids = np.repeat(np.repeat(ids, 8, 1), 32, 0)
    for number, order in enumerate(orders):
        Image.new("RGB", ids.shape[::-1]).save(folder / "images" / f"{number}.png")
        save(folder / "masks" / f"{number}.png", np.argsort(order).astype(np.uint8)[ids], [colors[k] for k in order])
    lines = [f"  - {{id: {k}, name: {name}, color: {list(COLORS[k])}}}\n" for k, name in enumerate(TABLE.names)]
    (folder / "classes.yaml").write_text("classes:\n" + "".join(lines))
    return folder


def test_a_palette_of_another_order_is_refused(tmp_path: Path) -> None:
    source = find_source(palettes(tmp_path))
    assert np.array_equal(source.read(0).label[0, ::8], IDS[0])
    with pytest.raises(
        ContradictionError,
        match=r"1\.png: id 0 has the colour #0000c8 .* id 0 is back, but #0000c8 is dog",
    ):
        source.read(1)
    found = inspect_source(source, workers=0)
    assert len(found.contradictions) == 2
    assert all("--read-by color" in line and "--read-by index" in line for line in found.contradictions)


def test_either_is_believed_on_the_users_word(tmp_path: Path) -> None:
    source = find_source(palettes(tmp_path), BY_COLOR)
    assert [source.read(i).label[0, ::8].tolist() for i in range(3)] == [[0, 1, 2, 2]] * 3
    source = find_source(tmp_path, BY_INDEX)
    assert [source.read(i).label[0, ::8].tolist() for i in range(3)] == [[0, 1, 2, 2], [2, 1, 0, 0], [2, 0, 1, 1]]


def test_the_transparent_colour_of_a_palette_is_as_others(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", IDS, (COLORS[2], COLORS[1], COLORS[0]), transparency=0)
    with pytest.raises(ContradictionError):
        read_label(path, TABLE)
    assert read_label(path, TABLE, "color").tolist() == [[2, 1, 0, 0]]


def test_colours_that_mean_nothing_are_no_contradiction(tmp_path: Path) -> None:
    path = palettes(tmp_path, colors=VOC, orders=([0, 1, 2],) * 3)
    found = inspect_source(find_source(path), workers=0)
    assert (len(found.good), found.contradictions) == (3, [])
    find_source(path).refuse_contradictions()


def test_greys_that_are_ids(tmp_path: Path) -> None:
    """A grey mask of the ids 0, 7 and 8, whose greys a tool has put into a palette."""
    names = ("back", "cat", "dog")
    table = ClassTable(names, ((9, 1, 1), (9, 2, 2), (9, 3, 3)), remap=((7, 1), (8, 2)))
    path = save(tmp_path / "a.png", IDS, ((0, 0, 0), (7, 7, 7), (8, 8, 8)))
    with pytest.raises(
        ContradictionError, match="gives index 1 the grey level 7, which is also an id of the class table"
    ):
        read_label(path, table)
    assert read_label(path, table, "index").tolist() == IDS.tolist()
    read_label(save(tmp_path / "b.png", IDS, ((0, 0, 0), (1, 1, 1), (2, 2, 2))), table)
    read_label(save(tmp_path / "c.png", IDS, ((0, 0, 0), (128, 128, 128), (255, 255, 255))), table)


def test_palettes_that_differ_from_file_to_file(tmp_path: Path) -> None:
    source = find_source(palettes(tmp_path, colors=VOC))
    found = inspect_source(source, workers=0)
    assert (found.good, len(found.contradictions), found.empty_classes) == ([0], 2, [])
    assert "1.png: its palette shows id 0 as #008000, but" in found.contradictions[0]
    assert "2.png: its palette shows id 0 as #800000, but" in found.contradictions[1]
    with pytest.raises(
        ContradictionError,
        match=r"1\.png: its palette shows id 0 as #008000, but .*0\.png .* as #090909"
        r".* \(masks with such a problem: 2; the others are .*2\.png\)",
    ):
        source.refuse_contradictions()
    assert inspect_source(find_source(tmp_path, BY_INDEX), workers=0).contradictions == []


def test_a_palette_with_a_known_and_one_with_an_unknown_colour(tmp_path: Path) -> None:
    """The one agrees with the class table, the other means nothing to it; together they show one id in two colours."""
    path = palettes(tmp_path, orders=([0, 1, 2],) * 3)
    save(path / "masks" / "2.png", np.repeat(np.repeat(IDS, 8, 1), 32, 0), (COLORS[0], (1, 2, 3), COLORS[2]))
    source = find_source(path)
    found = inspect_source(source, workers=0)
    [line] = found.contradictions
    assert "2.png: its palette shows id 1 as #010203, but" in line
    with pytest.raises(ContradictionError, match=r"2\.png: its palette shows id 1 as #010203"):
        source.refuse_contradictions()


def test_two_colours_that_the_table_gives_to_one_class_agree(tmp_path: Path) -> None:
    path = palettes(tmp_path, orders=([0, 1, 2],) * 3)
    save(path / "masks" / "2.png", np.repeat(np.repeat(IDS, 8, 1), 32, 0), (COLORS[0], (1, 2, 3), COLORS[2]))
    with (path / "classes.yaml").open("a") as file:
        file.write("remap: {'#010203': cat}\n")
    source = find_source(path)
    assert inspect_source(source, workers=0).problems == []
    source.refuse_contradictions()


def test_a_colour_that_is_ignored(tmp_path: Path) -> None:
    path = palettes(tmp_path, colors=(*COLORS[:2], (255, 255, 255)), orders=([0, 1, 2],) * 3)
    with (path / "classes.yaml").open("a") as file:
        file.write("ignore: ['#ffffff']\n")
    found = inspect_source(find_source(path), workers=0)
    assert len(found.contradictions) == 3
    assert "id 2 is dog, but #ffffff is ignored" in found.contradictions[0]


def test_only_entries_that_pixels_use_count(tmp_path: Path) -> None:
    path = palettes(tmp_path, orders=([0, 1, 2],) * 2)
    unused = (*COLORS, (0, 0, 0), (1, 2, 3))
    save(path / "masks" / "1.png", np.repeat(np.repeat(IDS, 8, 1), 32, 0), unused)
    source = find_source(path)
    assert inspect_source(source, workers=0).problems == []
    source.refuse_contradictions()


@pytest.mark.parametrize("colors", [COLORS, VOC])
def test_palettes_that_go_on_where_another_ends_are_not_decoded(tmp_path: Path, monkeypatch, colors: tuple) -> None:
    path = palettes(tmp_path, colors=colors, orders=([0, 1, 2],) * 3)
    ids = np.repeat(np.repeat(IDS, 8, 1), 32, 0)
    for count in (4, 5, 6):
        longer = (*colors[:3], (1, 2, 3), (4, 5, 6), (7, 8, 9))[:count]
        save(path / "masks" / f"{count - 4}.png", ids, longer)
    decoded = list[Path]()
    load = decoding._load_mask
    monkeypatch.setattr(decoding, "_load_mask", lambda file: decoded.append(file) or load(file))
    find_source(path).refuse_contradictions()
    assert decoded == []
    save(path / "masks" / "1.png", ids, (*colors[:3], (3, 2, 1)))  # of an id that no pixel has
    find_source(path).refuse_contradictions()
    assert {file.name for file in decoded} == {"0.png", "1.png", "2.png"}


def test_only_palettes_that_differ_are_decoded(tmp_path: Path, monkeypatch) -> None:
    path = palettes(tmp_path, colors=VOC, orders=([0, 1, 2],) * 3)
    ids = np.repeat(np.repeat(IDS, 8, 1), 32, 0)
    save(path / "masks" / "1.png", ids, (*VOC[:3], (1, 2, 3)))
    save(path / "masks" / "2.png", np.where(ids == 2, np.uint8(3), ids), (*VOC[:3], (3, 2, 1)))
    decoded = list[Path]()
    load = decoding._load_mask
    monkeypatch.setattr(decoding, "_load_mask", lambda file: decoded.append(file) or load(file))
    find_source(path).refuse_contradictions()
    assert [file.name for file in decoded] == ["1.png", "2.png"]
    save(path / "masks" / "1.png", np.where(ids == 2, np.uint8(3), ids), (*VOC[:3], (1, 2, 3)))
    with pytest.raises(ContradictionError, match=r"2\.png: its palette shows id 3 as #030201, but .*1\.png"):
        find_source(path).refuse_contradictions()


def test_tables_that_differ_in_given_colours_only(tmp_path: Path) -> None:
    """Equal tables, of which one gives colours and one does not, are told apart."""
    bare = ClassTable(TABLE.names, COLORS, uncolored=(0, 1, 2))
    assert bare == TABLE
    swapped = tuple((k, hex_color(color)) for k, color in enumerate(COLORS[::-1]))
    for table, is_refused in ((TABLE, True), (bare, False), (TABLE, True)):
        with pytest.raises(ContradictionError) if is_refused else nullcontext():
            check_palette(swapped, table)


def test_the_colours_of_a_table_are_collected_once() -> None:
    mask_codes._classes_of_colors.cache_clear()
    for _ in range(5):
        check_palette(((0, "#000000"),), TABLE)
    assert mask_codes._classes_of_colors.cache_info().misses == 1


def test_colours_nobody_gave_say_nothing(tmp_path: Path) -> None:
    path = palettes(tmp_path, colors=((255, 255, 255), (0, 0, 0), (9, 9, 9)), orders=([0, 1, 2],) * 2)
    (path / "classes.yaml").write_text("classes: [{id: 0, name: a}, {id: 1, name: b}, {id: 2, name: c}]")
    assert inspect_source(find_source(path), workers=0).problems == []


def test_classes_may_share_a_colour(tmp_path: Path) -> None:
    table = ClassTable(("a", "b", "c"), ((0, 0, 0), (0, 0, 0), (0, 0, 200)))
    path = save(tmp_path / "m.png", IDS, ((0, 0, 0), (0, 0, 0), (0, 0, 200)))
    assert np.array_equal(read_label(path, table), IDS)


def test_an_id_of_no_class_whose_colour_is_one(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", np.array([[0, 7]], np.uint8), (*[(0, 0, 0)] * 7, COLORS[2]))
    with pytest.raises(ContradictionError, match="id 7 is no class, but #0000c8 is dog"):
        read_label(path, TABLE)
    assert read_label(path, TABLE, "color").tolist() == [[0, 2]]


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(np.array([[False, True]])).save(path)
    drawing = ClassTable(("paper", "line"), ((255, 255, 255), (0, 0, 0)))
    with pytest.raises(ContradictionError, match="id 0 is paper, but #000000 is line"):
        read_label(path, drawing)
    assert read_label(path, drawing, "color").tolist() == [[1, 0]]
    assert read_label(path, drawing, "index").tolist() == [[0, 1]]


def test_what_cannot_be_read_so(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2, 4), np.uint8) + np.uint8([0, 0, 0, 255])).save(tmp_path / "rgba.png")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "wide.png")
    assert read_label(tmp_path / "rgba.png", TABLE, "color").tolist() == [[0, 0], [0, 0]]
    with pytest.raises(DataError, match=r"rgba\.png: is an RGB mask and has no palette indices; drop"):
        read_label(tmp_path / "rgba.png", TABLE, "index")
    with pytest.raises(DataError, match=r"wide\.png: has ids of 16 bits and no colours"):
        read_label(tmp_path / "wide.png", TABLE, "color")


@pytest.mark.parametrize("colors", [COLORS, VOC])
def test_a_run_on_a_folder_refuses_before_it_begins(tmp_path: Path, colors: tuple) -> None:
    path = str(palettes(tmp_path, colors=colors))
    with pytest.raises(ContradictionError, match=r"data\.read_by"):
        open_dataset(DataConfig(path=(path,)), SIZE, 3)
    assert len(open_dataset(DataConfig(path=(path,), read_by="index"), SIZE, 3)) == 3


def test_names_of_an_lmdb_that_are_not_those_of_the_table(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "lmdb", SIZE, celebamask13(), "tests") as writer:
        writer.add(draw_face(0, 0, SIZE)[0], full_label(0))
    text = Path(__file__).parents[2].joinpath("datasets/tables/celebamask13.yaml").read_text()
    (tmp_path / "same.yaml").write_text(text.replace("transparent: true", "transparent: false"))
    assert find_source(tmp_path / "lmdb", FolderOptions(classes=str(tmp_path / "same.yaml"))).classes.transparent == ()
    swapped = text.replace("name: hair", "name: x").replace("name: hat", "name: hair").replace("name: x", "name: hat")
    (tmp_path / "t.yaml").write_text(swapped)
    with pytest.raises(ContradictionError, match="stores class 7 as hair, but --classes names it hat; drop --classes"):
        find_source(tmp_path / "lmdb", FolderOptions(classes=str(tmp_path / "t.yaml")))
    source = find_source(tmp_path / "lmdb", FolderOptions(classes=str(tmp_path / "t.yaml"), read_by="index"))
    assert source.classes.names[7] == "hat"
    with pytest.raises(DataError, match="which is read by ids; drop --read-by color"):
        find_source(tmp_path / "lmdb", BY_COLOR)


def lmdb_with_palettes(folder: Path, colors: list[tuple]) -> Path:
    """An LMDB of another program's, without a class table, that has a palette in each label."""
    (folder / "lmdb").mkdir()
    with opened(folder / "lmdb") as transaction:
        for number, palette in enumerate(colors):
            save(folder / "m.png", full_label(0), palette)
            transaction.put(f"image-{number:07d}".encode(), encode_image(draw_face(0, 0, SIZE)[0]))
            transaction.put(f"label-{number:07d}".encode(), (folder / "m.png").read_bytes())
        for key in (b"image-length", b"label-length"):
            transaction.put(key, str(len(colors)).encode())
    return folder / "lmdb"


def test_labels_of_an_lmdb_whose_palette_contradicts_the_given_table(tmp_path: Path) -> None:
    colors = celebamask13().colors
    path = lmdb_with_palettes(tmp_path, [(*colors[:7], colors[11], *colors[8:11], colors[7], colors[12])])
    entries = zip(range(13), celebamask13().names, colors, strict=True)
    lines = [f"  - {{id: {k}, name: {name}, color: {list(color)}}}\n" for k, name, color in entries]
    (tmp_path / "t.yaml").write_text("classes:\n" + "".join(lines))
    with pytest.raises(ContradictionError, match=r"label-0000000: id 7 has the colour .* id 7 is hair, but .* is hat"):
        find_source(path, FolderOptions(classes=str(tmp_path / "t.yaml"))).read(0)
    unknown = [line.replace(f"color: {list(colors[7])}", "color: [1, 2, 3]") for line in lines]
    (tmp_path / "t.yaml").write_text("classes:\n" + "".join(unknown).replace(f"{list(colors[11])}", "[3, 2, 1]"))
    assert find_source(path, FolderOptions(classes=str(tmp_path / "t.yaml"))).read(0).palette[7][0] == 7


def test_palettes_that_differ_from_record_to_record(tmp_path: Path) -> None:
    path = lmdb_with_palettes(tmp_path, [VOC * 4, (*VOC[:3], (5, 5, 5), *VOC * 3)])
    found = inspect_source(find_source(path), workers=0)
    [line] = found.contradictions
    assert "label-0000001: its palette shows id 3 as #050505, but" in line
    assert "prepare the original masks again with --read-by color" in line
    assert inspect_source(find_source(path, BY_INDEX), workers=0).contradictions == []


def test_labels_of_an_lmdb_with_a_palette(tmp_path: Path) -> None:
    lmdb_with_palettes(tmp_path, [celebamask13().colors[::-1]])
    with pytest.raises(ContradictionError, match=r"label-0000000: id 0 has .* prepare the original masks again"):
        find_source(tmp_path / "lmdb").read(0)
    assert np.array_equal(find_source(tmp_path / "lmdb", BY_INDEX).read(0).label, full_label(0))
    config = DataConfig(path=(str(tmp_path / "lmdb"),))
    with pytest.raises(ContradictionError, match=r"data\.read_by=index"):
        open_dataset(config, SIZE, 13)[0]
    assert np.array_equal(open_dataset(replace(config, read_by="index"), SIZE, 13)[0][1].numpy(), full_label(0))
    mixed = (*config.path, str(write_pairs(tmp_path / "pairs", count=1)))
    assert len([*map(open_dataset(replace(config, path=mixed, read_by="index"), SIZE, 13).__getitem__, range(2))]) == 2
    with pytest.raises(ContradictionError):
        open_dataset(replace(config, path=mixed, read_by="color"), SIZE, 13)[0]
    with pytest.raises(DataError, match=r"data\.read_by is for folders"):
        open_dataset(replace(config, read_by="color"), SIZE, 13)
    assert len(open_images(replace(config, images_only=True), SIZE)[0]) == 1


def test_sizes_that_are_transposed_without_an_orientation(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8)).save(tmp_path / "i.png")
    Image.new("L", (8, 16)).save(tmp_path / "m.png")
    with pytest.raises(DataError, match="make both the same size"):
        read_pair(tmp_path / "i.png", tmp_path / "m.png", TABLE)


def test_faces_with_their_palette_agree(tmp_path: Path) -> None:
    assert inspect_source(find_source(write_pairs(tmp_path)), workers=0).problems == []


def test_masks_whose_palettes_contradict_each_other_are_counted_and_listed(tmp_path: Path, capsys) -> None:
    """24 masks in four orders of an unknown palette: 18 of them contradict the first six."""
    orders = ([0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1])
    source = palettes(tmp_path / "set", colors=VOC, orders=[order for order in orders for _ in range(6)])
    found = inspect_source(find_source(source), workers=0)
    assert len(found.contradictions) == 18
    assert all(
        re.search(r"its palette shows id \d as #\w+, but .* shows it as #\w+", line) for line in found.contradictions
    )
    with pytest.raises(SystemExit):
        run(lambda: prepare(source, tmp_path / "out"))
    captured = capsys.readouterr()
    assert "6 records without a problem, 18 problems" in captured.out
    assert captured.out.count("its palette shows id") == 17
    assert "10.png: its palette shows id 0 as #008000, but" in captured.err
    assert "(masks with such a problem: 18, all listed)" in captured.err
    with pytest.raises(
        ContradictionError, match=r"masks with such a problem: 18; the others are .*11\.png, .*, \.\.\.\)"
    ):
        find_source(source).refuse_contradictions()
