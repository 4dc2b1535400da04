import argparse
import os
import re
import resource
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

import train
from configs import load_config
from datasets.class_files import celebamask13, load_table
from datasets.data_config import DataConfig
from datasets.image_mask import ImageDataset, ImageMaskDataset
from datasets.inspection import TILE
from datasets.labels import numbered_table
from datasets.lmdb_reading import read_meta
from datasets.lmdb_writer import LmdbWriter, encode_image
from datasets.opening import open_dataset, open_images
from datasets.synthetic_faces import draw_face
from scripts import inspect_data, prepare_data
from scripts.prepare_data import _next_step, main
from tests.datasets.folders import SIZE, full_label, write_celebamask, write_pairs
from tests.processes import run_command
from training.finetune import pretrained_config
from utils.cli import run
from utils.errors import DataError, printable
from utils.images import legend

ROOT = Path(__file__).parent.parent.parent


def prepare(source: Path, out: Path, *options: str) -> Path:
    main([str(source), str(out), "--resolution", str(SIZE), "--workers", "0", *options])
    return out


def content(path: Path) -> dict[bytes, bytes]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return dict(transaction.cursor())


@contextmanager
def opened(path: Path) -> Iterator[lmdb.Transaction]:
    with (
        lmdb.open(str(path), lock=False, map_size=2**24) as environment,
        environment.begin(write=True) as transaction,
    ):
        yield transaction


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "source")


@pytest.fixture
def refused(tmp_path: Path, capsys):
    """Runs the command as from the shell; returns its one line after checking that nothing stands at OUT."""

    def refused(source: Path, *options: str, out: Path = tmp_path / "out") -> str:
        with pytest.raises(SystemExit) as exit_:
            run(lambda: prepare(source, out, *options))
        assert exit_.value.code == 2
        assert not os.path.lexists(out)
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("error: ")
        return last

    return refused


def test_pairs_become_a_checked_set(pairs: Path, tmp_path: Path, capsys) -> None:
    out = prepare(pairs, tmp_path / "out")
    dataset = ImageMaskDataset(out)
    assert (len(dataset), dataset.resolution, dataset.classes) == (6, SIZE, celebamask13())
    for index in range(6):
        assert np.array_equal(dataset[index][1].numpy(), full_label(index))
        assert np.abs(dataset[index][0].permute(1, 2, 0).numpy() - draw_face(0, index, SIZE)[0].astype(int)).mean() < 8
    assert sorted(path.name for path in out.iterdir()) == ["contact_sheet.png", "data.mdb", "report.txt"]
    printed = capsys.readouterr().out
    assert (out / "report.txt").read_text() in printed
    assert "train on it with: python train.py" in printed
    meta = read_meta(out)
    assert (meta["count"], meta["resolution"]) == (6, SIZE)
    assert str(pairs) in meta["source"]
    assert "semantic-stylegan" in meta["tool"]
    assert Image.open(out / "contact_sheet.png").width > 6 * 320


def wide_ids(label: np.ndarray) -> np.ndarray:
    return np.where(label == 7, np.uint16(3000), label.astype(np.uint16))


MASK_KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "8 bits of grey": lambda label: label,
    "16 bits of grey": wide_ids,
    "colours": lambda label: celebamask13().palette()[label],
}


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_every_kind_of_mask_gives_the_same_labels(pairs: Path, tmp_path: Path, kind: str) -> None:
    table = Path("datasets/tables/celebamask13.yaml").read_text(encoding="utf-8")
    (pairs / "classes.yaml").write_text(f"{table}  3000: hair\n", encoding="utf-8")
    for index in range(6):
        Image.fromarray(MASK_KINDS[kind](full_label(index))).save(mask(pairs, str(index)))
    dataset = ImageMaskDataset(prepare(pairs, tmp_path / "out"))
    assert all(np.array_equal(dataset[index][1].numpy(), full_label(index)) for index in range(6))


def test_content_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "source", count=40)  # several chunks for each worker
    alone, together = prepare(pairs, tmp_path / "a"), prepare(pairs, tmp_path / "b", "--workers", "2")
    assert content(alone) == content(together)


def test_the_source_tells_all_that_the_content_depends_on(pairs: Path, tmp_path: Path) -> None:
    options = ["--masks", str(pairs / "masks"), "--classes", "celebamask13", "--crop", "pad", "--skip-bad"]
    source = read_meta(prepare(pairs / "images", tmp_path / "out", *options))["source"]
    assert source == (
        f"scripts.prepare_data {pairs}/images --masks {pairs}/masks --classes celebamask13 --crop pad"
        f" --resolution {SIZE} --skip-bad"
    )


def test_the_keys_are_those_of_the_released_program(pairs: Path, tmp_path: Path) -> None:
    stored = content(prepare(pairs, tmp_path / "out"))
    records = {f"{kind}-{index:07d}".encode() for kind in ("image", "label") for index in range(6)}
    assert set(stored) == {*records, b"image-length", b"label-length", b"meta"}
    assert stored[b"image-length"] == stored[b"label-length"] == b"6"
    assert stored[b"image-0000000"][:2] == b"\xff\xd8"
    assert stored[b"label-0000000"][1:4] == b"PNG"


@pytest.mark.parametrize(("split", "count"), [("train", 3), ("val", 2)])
def test_celebamask_as_downloaded(tmp_path: Path, split: str, count: int) -> None:
    source = write_celebamask(tmp_path / "source")
    dataset = ImageMaskDataset(prepare(source, tmp_path / "out", "--split", split))
    assert len(dataset) == count
    first = 28_000 if split == "val" else 0
    assert np.array_equal(dataset[1][1].numpy(), full_label(first + 1))


def test_images_of_celebamask_alone(tmp_path: Path) -> None:
    out = prepare(write_celebamask(tmp_path / "source"), tmp_path / "out", "--images-only")
    assert len(ImageDataset(out)) == 3


def test_celebamask_with_19_classes(tmp_path: Path) -> None:
    source = write_celebamask(tmp_path / "source")
    out = prepare(source, tmp_path / "out", "--classes", "celebamask19", "--skip-bad")
    assert ImageMaskDataset(out).classes == load_table("celebamask19")
    assert "classes that no mask shows and the model cannot learn: " in (out / "report.txt").read_text()
    assert "u_lip (11)" in (out / "report.txt").read_text()


def test_images_alone(pairs: Path, tmp_path: Path) -> None:
    out = prepare(pairs / "images", tmp_path / "out", "--images-only")
    assert set(content(out)) == {*(f"{SIZE}-{i:05d}".encode() for i in range(6)), b"length", b"meta"}
    assert (len(ImageDataset(out)), ImageDataset(out).resolution) == (6, SIZE)


def test_an_lmdb_is_used_where_it_lies(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "lmdb", SIZE, celebamask13(), "tests") as writer:
        for index in range(4):
            writer.add(draw_face(0, index, SIZE)[0], full_label(index))
    with opened(tmp_path / "lmdb") as transaction:
        transaction.delete(b"meta")  # as the released program writes it
    before = (tmp_path / "lmdb" / "data.mdb").read_bytes()
    table = tmp_path / "table.yaml"
    table.write_text(Path("datasets/tables/celebamask13.yaml").read_text().replace("name: hair", "name: fur"))
    out = prepare(tmp_path / "lmdb", tmp_path / "out", "--classes", str(table))
    assert (out / "data.mdb").is_symlink()
    assert ImageMaskDataset(out).classes.names[7] == "fur"
    assert np.array_equal(ImageMaskDataset(out)[2][1].numpy(), full_label(2))
    assert (tmp_path / "lmdb" / "data.mdb").read_bytes() == before


def test_an_lmdb_of_images_is_used_where_it_lies(tmp_path: Path) -> None:
    with opened(tmp_path / "lmdb") as transaction:
        transaction.put(f"{SIZE}-00000".encode(), encode_image(draw_face(0, 0, SIZE)[0]))
        transaction.put(b"length", b"1")
    assert len(ImageDataset(prepare(tmp_path / "lmdb", tmp_path / "out"))) == 1


def test_an_interrupted_run_goes_on(pairs: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    whole = content(prepare(pairs, tmp_path / "whole"))
    monkeypatch.setattr("datasets.resumable_writer.BATCH", 2)

    def stop_after_five(items, **options):
        for number, item in enumerate(items):
            if options["desc"] == "writing" and number == 5:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr("scripts.prepare_data.progress", stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        prepare(pairs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("scripts.prepare_data.progress", lambda items, **options: items)
    assert content(prepare(pairs, tmp_path / "out")) == whole
    assert "resuming after 4 records" in capsys.readouterr().out


KILLED = """
import os, signal, sys
from datasets import resumable_writer
from scripts import prepare_data

def stop_after_thirty(items, **options):
    for number, item in enumerate(items):
        if options["desc"] == "writing" and number == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item

resumable_writer.BATCH = 4
prepare_data.progress = stop_after_thirty
prepare_data.main(sys.argv[1:])
"""


def test_a_killed_run_with_workers_goes_on(tmp_path: Path, capsys) -> None:
    source = write_pairs(tmp_path / "source", count=70)
    arguments = [str(source), str(tmp_path / "out"), "--resolution", str(SIZE), "--workers", "2"]
    command = [sys.executable, "-c", KILLED, *arguments]
    # Returns when nobody holds the pipe of its output any more: the workers must not outlive their parent.
    killed = run_command(command, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    main(arguments)
    assert "resuming after 28 records" in capsys.readouterr().out
    assert content(tmp_path / "out") == content(prepare(source, tmp_path / "whole"))


def image(folder: Path, name: str = "1") -> Path:
    return folder / "images" / "faces" / f"{name}.jpg"


def mask(folder: Path, name: str = "1") -> Path:
    return folder / "masks" / "faces" / f"{name}.png"


def save_mask(folder: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(mask(folder))


def rotate_by_exif(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (SIZE, 2 * SIZE)).save(image(folder), exif=exif)


def empty_a_class(folder: Path) -> None:
    for path in (folder / "masks" / "faces").iterdir():
        ids = np.array(Image.open(path))
        ids[ids == 11] = 0
        Image.fromarray(ids).save(path)


def transparent_image(folder: Path) -> None:
    Image.new("RGBA", (SIZE, SIZE)).save(image(folder).with_suffix(".png"))
    image(folder).unlink()


def jpeg_mask(folder: Path) -> None:
    Image.fromarray(full_label(1)).save(mask(folder).with_suffix(".jpg"))
    mask(folder).unlink()


PROBLEMS: list[tuple[Callable[[Path], object], str, str]] = [
    (lambda f: mask(f).unlink(), "images/faces/1.jpg: has no mask", "add it"),
    (lambda f: image(f).unlink(), "masks/faces/1.png: has no image", "remove the mask"),
    (
        lambda f: Image.new("RGB", (32, 32)).save(image(f).with_suffix(".png")),
        "1.png: has the same name as",
        "rename one",
    ),
    (lambda f: save_mask(f, full_label(1) + 1), "1.png: has ids 13 outside the class table (0..12)", "--classes"),
    (lambda f: save_mask(f, np.full((32, 32, 3), 9, np.uint8)), "1.png: has colours #090909 that are not", "--classes"),
    (lambda f: save_mask(f, np.zeros((16, 16), np.uint8)), "1.png: is 16x16, but its image", "make both the same"),
    (lambda f: save_mask(f, np.zeros((32, 32, 4), np.uint8)), "1.png: has transparent pixels", "flatten it"),
    (jpeg_mask, "1.jpg: has a format that can change ids (JPEG)", "export the original mask as PNG"),
    (lambda f: image(f).write_bytes(b"text"), "1.jpg: is not an image", "replace or remove it"),
    (lambda f: image(f).write_bytes(image(f).read_bytes()[:700]), "1.jpg: is truncated or damaged", "replace or"),
    (lambda f: Image.new("CMYK", (32, 32)).save(image(f)), "1.jpg: is CMYK", "convert it to RGB"),
    (transparent_image, "1.png: has transparent pixels", "flatten it"),
    (rotate_by_exif, "1.png: is 32x32, but its image", "32x64 (height x width); make both the same size"),
]


@pytest.mark.parametrize(("damage", "what", "remedy"), PROBLEMS, ids=[what for _, what, _ in PROBLEMS])
def test_problems_stop_the_run(pairs: Path, refused, damage, what: str, remedy: str) -> None:
    damage(pairs)
    line = refused(pairs)
    assert what in line
    assert remedy in line
    assert "--skip-bad" in line


@pytest.mark.parametrize("is_unpaired", [True, False])
def test_skip_unpaired_is_advised_for_unpaired_files(tmp_path: Path, refused, is_unpaired: bool) -> None:
    source = write_pairs(tmp_path / "a: has no b")  # names say nothing of the kind of problem
    if is_unpaired:
        mask(source).unlink()
        image(source, "0").write_bytes(b"text")
    else:
        save_mask(source, full_label(1) + 1)
    line = refused(source)
    assert ("--skip-unpaired to leave out the 1 without a partner" in line) == is_unpaired
    assert ("--skip-unpaired" in line) == is_unpaired


def test_contradictions_stop_the_run_whatever_may_be_left_out(pairs: Path, tmp_path: Path, refused) -> None:
    label = full_label(1)
    picture = Image.fromarray(12 - label)
    picture.putpalette(celebamask13().palette()[::-1].tobytes())  # as every viewer shows the others
    picture.save(mask(pairs))
    for options in ([], ["--skip-bad"]):
        line = refused(pairs, *options)
        assert "1.png: id 0 has the colour #cf71c0 in the palette. In the class table, id 0 is background, but" in line
        assert "--read-by color" in line
        assert "--read-by index" in line
    out = prepare(pairs, tmp_path / "out", "--read-by", "color")
    assert np.array_equal(ImageMaskDataset(out)[1][1].numpy(), label)
    assert read_meta(out)["source"].endswith("--read-by color")
    out = prepare(pairs, tmp_path / "index", "--read-by", "index")
    assert np.array_equal(ImageMaskDataset(out)[1][1].numpy(), 12 - label)


def test_all_problems_are_listed(pairs: Path, refused, capsys, tmp_path: Path) -> None:
    mask(pairs).unlink()
    image(pairs, "2").write_bytes(b"")
    with pytest.raises(SystemExit):
        run(lambda: prepare(pairs, tmp_path / "out"))
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert said.count("1.jpg: has no mask") == said.count("2.jpg: is not an image") == 1
    assert "(and 1 more, listed above)" in captured.err


@pytest.mark.parametrize(("crop", "width"), [("center", SIZE), ("pad", 2 * SIZE)])
def test_the_contact_sheet_shows_what_training_sees(pairs: Path, tmp_path: Path, crop: str, width: int) -> None:
    wide = np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
    wide[:, : SIZE // 2] = 255  # cut off in the middle's square
    for index in range(6):
        Image.fromarray(wide).save(image(pairs, str(index)))
        Image.fromarray(np.zeros((SIZE, 2 * SIZE), np.uint8)).save(mask(pairs, str(index)))
    out = prepare(pairs, tmp_path / "out", "--crop", crop, "--skip-bad")
    tile = np.asarray(Image.open(out / "contact_sheet.png"))[4 : 4 + TILE, 4 : 4 + TILE]
    assert (tile.max() > 200) == (width > SIZE)


def test_the_contact_sheet_names_images_and_classes(pairs: Path, tmp_path: Path) -> None:
    prepare(pairs, tmp_path / "out")
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.png"))
    tile = 2 * TILE  # image and overlay
    names = sheet[4 + TILE : 4 + TILE + 18].astype(int)  # a line of text below the tiles
    first, second = (names[:, 4 + i * (tile + 4) :][:, :tile] for i in range(2))
    assert first.min() < 100 < first.mean()
    assert (first != second).any()
    expected = legend(celebamask13().names, celebamask13().palette(), sheet.shape[1])
    assert np.array_equal(sheet[-len(expected) :], expected)


@pytest.mark.parametrize("few", [6, 7])
def test_few_images_are_noted(pairs: Path, tmp_path: Path, capsys, monkeypatch, few: int) -> None:
    monkeypatch.setattr(prepare_data, "_FEW", few)
    prepare(pairs, tmp_path / "out")
    assert ("note: 6 images are few: a model trained on them alone" in capsys.readouterr().out) == (few > 6)


def test_bad_files_can_be_left_out(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask(pairs).unlink()
    image(pairs, "2").write_bytes(b"")
    out = prepare(pairs, tmp_path / "out", "--skip-bad")
    assert len(ImageMaskDataset(out)) == 4
    assert np.array_equal(ImageMaskDataset(out)[1][1].numpy(), full_label(3))
    listed = (out / "problems.txt").read_text().splitlines()
    assert len(listed) == 2
    assert "left out 2 bad files; problems.txt in" in capsys.readouterr().out
    assert "1.jpg" in listed[0]
    assert "2.jpg" in listed[1]


def test_pictures_that_are_not_square(pairs: Path, tmp_path: Path, refused) -> None:
    Image.new("RGB", (64, 32)).save(image(pairs))
    save_mask(pairs, np.pad(full_label(1), ((0, 0), (0, 32))))
    assert "1.jpg: is 32x64 (height x width), not square; give --crop center or --crop pad" in refused(pairs)
    for crop in ("center", "pad"):
        assert len(ImageMaskDataset(prepare(pairs, tmp_path / crop, "--crop", crop))) == 6


def test_mistakes_in_the_command(pairs: Path, refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (
        "--resolution 50: for this size, both sides must be multiples of 8; the nearest possible value is 48"
        in refused(pairs, "--resolution", "50")
    )
    assert "too small for 64" in refused(pairs, "--resolution", "64")
    assert "absent does not exist" in refused(tmp_path / "absent")
    assert "empty holds no images" in refused(tmp_path / "empty")
    assert "--workers -1 is out of range" in refused(pairs, "--workers", "-1")
    assert "class table absent.yaml" in refused(pairs, "--classes", "absent.yaml")
    assert "unknown option --skip-pad; did you mean --skip-bad?" in refused(pairs, "--skip-pad")


def replace_after_check(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Between looking at the files and writing the first record."""

    def changed(items, **options):
        if options["desc"] == "writing":
            change()
        return items

    monkeypatch.setattr("scripts.prepare_data.progress", changed)


def test_files_that_change_under_way_are_named(pairs: Path, refused, monkeypatch) -> None:
    def shrink() -> None:
        Image.new("RGB", (16, 16)).save(image(pairs))
        save_mask(pairs, np.zeros((16, 16), np.uint8))

    replace_after_check(monkeypatch, shrink)
    assert "faces/1.jpg: gives 16x16 pixels" in refused(pairs)


def test_files_that_go_under_way_are_named(pairs: Path, refused, monkeypatch) -> None:
    replace_after_check(monkeypatch, lambda: image(pairs).unlink())
    assert "faces/1.jpg: no such file" in refused(pairs)


def test_what_cannot_be_written(pairs: Path, refused, tmp_path: Path, monkeypatch) -> None:
    """Refused before the files are read."""
    monkeypatch.setattr("scripts.prepare_data.find_source", None)
    (tmp_path / "file").write_text("mine")
    assert "file/out (" in refused(pairs, out=tmp_path / "file" / "out")
    assert "cannot write" in refused(pairs, out=Path("/proc/out"))  # read-only, whoever asks
    assert "cannot write" in refused(pairs, out=Path("/proc/new/out"))


def test_what_exists_is_left_alone(pairs: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit) as exit_:
        run(lambda: prepare(pairs, tmp_path / "out"))
    assert exit_.value.code == 2
    assert "exists already; choose another name or remove it yourself" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_an_lmdb_with_a_bad_record_is_refused(tmp_path: Path, refused) -> None:
    with LmdbWriter(tmp_path / "lmdb", SIZE, celebamask13(), "tests") as writer:
        writer.add(draw_face(0, 0, SIZE)[0], full_label(0))
        writer.add(draw_face(0, 0, SIZE)[0], full_label(0) + 1)
    assert "label-0000001 has ids 13 outside 0..12" in refused(tmp_path / "lmdb")
    assert "--skip-bad" not in refused(tmp_path / "lmdb")
    assert "cannot leave records out" in refused(tmp_path / "lmdb", "--skip-bad")
    assert f"give --resolution {SIZE}" in refused(tmp_path / "lmdb", "--resolution", "16")


@pytest.mark.parametrize("kind", ["folder", "lmdb"])
def test_a_class_that_no_mask_shows_is_a_warning(tmp_path: Path, pairs: Path, capsys, kind: str) -> None:
    """With the same words and exit codes in this command and in scripts.inspect_data."""
    empty_a_class(pairs)
    with LmdbWriter(tmp_path / "lmdb", SIZE, celebamask13(), "tests") as writer:
        writer.add(draw_face(0, 0, SIZE)[0], np.array(Image.open(mask(pairs, "0"))))
    warning = (
        "\nwarning: classes that no mask shows and the model cannot learn: hat (11); "
        "to leave them out, write a classes.yaml without them (docs/data.md)\n"
    )
    out = prepare(pairs if kind == "folder" else tmp_path / "lmdb", tmp_path / "out")
    assert warning in capsys.readouterr().out
    assert warning in (out / "report.txt").read_text()
    assert not (out / "problems.txt").exists()
    inspect_data.main([str(out), "--workers", "0"])
    assert warning in capsys.readouterr().out


def test_a_class_is_left_out_as_the_documentation_says(tmp_path: Path, pairs: Path, capsys) -> None:
    """Without hat, the last class but one of the built-in table."""
    assert "without `hat`, `earring` gets the id 11 and the rule `12: earring`" in re.sub(
        r"\s+", " ", (ROOT / "docs" / "data.md").read_text("utf-8")
    )
    empty_a_class(pairs)
    table = (ROOT / "datasets" / "tables" / "celebamask13.yaml").read_text("utf-8")
    table = re.sub(r".*name: hat.*\n", "", table).replace("id: 12", "id: 11").replace("remap:", "remap:\n  12: earring")
    (pairs / "classes.yaml").write_text(table)
    dataset = ImageMaskDataset(prepare(pairs, tmp_path / "out"))
    assert dataset.classes.names == tuple(name for name in celebamask13().names if name != "hat")
    label = full_label(1)
    assert np.array_equal(dataset[1][1].numpy(), np.where(label == 12, 11, np.where(label == 11, 0, label)))
    assert "warning" not in capsys.readouterr().out


def test_a_full_disk(pairs: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the end of the disk; afterwards the run goes on."""
    command = [sys.executable, "-m", "scripts.prepare_data", str(pairs), str(tmp_path / "out"), "--resolution", "32"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))

    result = run_command([*command, "--workers", "0"], preexec_fn=limit, capture_output=True)
    assert result.returncode == 2, result.stderr
    assert "free some space" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    assert len(ImageMaskDataset(prepare(pairs, tmp_path / "out"))) == 6


@pytest.mark.parametrize("out", ["set #2, it's", "[a]", "[a", "~", "back\\slash\u00ad", "a'b\u00ad\\n", "\u00e4", "-x"])
@pytest.mark.parametrize("is_absolute", [True, False])
def test_the_command_that_is_printed_survives_a_shell(tmp_path: Path, out: str, is_absolute: bool) -> None:
    (config := tmp_path / "empty.yaml").touch()
    args = argparse.Namespace(out=tmp_path / out if is_absolute else Path(out), resolution=64)
    printed = _next_step(argparse.Namespace(classes=celebamask13()), args)
    script = f"printf '%s\\0' {printed.partition('train.py ')[2]}"
    parsed = train.parse(run_command(["bash", "-c", script], capture_output=True).stdout.split("\0")[:-1])
    [path] = load_config(config, parsed.overrides).data.path
    assert os.path.normpath(path) == str(args.out)
    assert parsed.output == Path(f"runs/{printable(out)}")


def printed_command(printed: str) -> list[str]:
    return shlex.split(printed.splitlines()[-1].partition("train.py ")[2])


@pytest.mark.parametrize("is_own_table", [True, False])
@pytest.mark.parametrize("resolution", [2**exponent for exponent in range(4, 11)])
def test_the_command_that_is_printed_fits_the_data(monkeypatch, resolution: int, is_own_table: bool) -> None:
    monkeypatch.chdir(ROOT)
    table = replace(numbered_table(5), transparent=(4,)) if is_own_table else celebamask13()
    args = argparse.Namespace(out=Path("data/own"), resolution=resolution)
    parsed = train.parse(printed_command(_next_step(argparse.Namespace(classes=table), args)))
    config = load_config(parsed.config, parsed.overrides, pretrained_config)
    assert (config.model.resolution, config.model.num_classes) == (resolution, table.num_classes)
    assert config.data.path == ("data/own",)
    assert parsed.output == Path("runs/own")  # not that of another run of this configuration
    if is_own_table:
        assert config.model.transparent_classes == (4,)
    else:  # the configuration decides
        assert config.model == load_config(parsed.config, parsed.overrides[1:], pretrained_config).model
        assert "transparent" not in " ".join(parsed.overrides)


@pytest.mark.parametrize(("size", "options"), [(16, ["--skip-bad"]), (64, ["--images-only"])])
def test_the_command_that_is_printed_trains(tmp_path: Path, capsys, monkeypatch, size: int, options: list[str]) -> None:
    monkeypatch.chdir(ROOT)
    source = write_pairs(tmp_path / "source", size=64)
    source = source / "images" if "--images-only" in options else source
    prepare(source, tmp_path / "my set", f"--resolution={size}", *options)
    command = printed_command(capsys.readouterr().out)
    command[command.index("--output") + 1] = str(tmp_path / "run")
    quick = ["training.total_images=8", "training.device=cpu", "data.workers=0", "ops=native"]
    assert train.main([*command, *quick]) == 0


def test_images_smaller_than_those_of_the_bundled_model() -> None:
    printed = _next_step(argparse.Namespace(classes=None), argparse.Namespace(out=Path("data/own"), resolution=32))
    assert printed.startswith(
        "replace CHECKPOINT by a model of 32 pixels or smaller, and adapt it with: python train.py "
    )
    assert printed.endswith(" data.path=data/own model.init_from=CHECKPOINT")


def test_out_never_lies_where_it_is_read_again(pairs: Path, refused) -> None:
    assert "is inside" in refused(pairs, out=pairs / "images" / "out")
    assert "is inside" in refused(pairs, out=pairs / "masks" / "faces" / "out")


def test_a_class_table_of_another_ending_is_not_passed_over(pairs: Path, refused) -> None:
    (pairs / "classes.yml").write_text("classes: []")
    assert "classes.yml is not read: rename it to classes.yaml" in refused(pairs)


def test_a_mask_of_several_pages_is_refused(pairs: Path, refused) -> None:
    mask = pairs / "masks" / "faces" / "0.png"
    with Image.open(mask) as first:
        page = first.convert("L")
    mask.unlink()
    page.save(mask.with_suffix(".tif"), save_all=True, append_images=[page])
    assert "0.tif: has several pages" in refused(pairs)


def test_contradictions_name_the_masks(pairs: Path, refused) -> None:
    (pairs / "classes.yaml").write_text("classes:\n" + "".join(f"- {{id: {k}, name: c{k}}}\n" for k in range(13)))
    for index, color in enumerate([(1, 2, 3), (4, 5, 6)]):
        mask = Image.fromarray(np.zeros((SIZE, SIZE), np.uint8))
        mask.putpalette(color)
        mask.save(pairs / "masks" / "faces" / f"{index}.png")
    line = refused(pairs, "--skip-bad")
    assert "masks/faces/" in line
    assert "images/faces/" not in line


TOO_SMALL = (
    r"use images of at least 64x64 pixels, or a lower resolution: --resolution (32) to prepare data, (.*) to train"
)


@pytest.mark.parametrize("kind", ["folder", "lmdb", "images"])
def test_the_remedies_for_images_that_are_too_small_work(tmp_path: Path, pairs: Path, refused, kind: str) -> None:
    """Pairs of 32 pixels for a model of 64: the options in the message prepare the data and give a valid model."""
    data = DataConfig(path=(str(pairs if kind == "folder" else prepare(pairs, tmp_path / "lmdb")),))
    if kind == "images":
        prepare(pairs, tmp_path / "images", "--images-only")
        data = DataConfig(path=(str(tmp_path / "images"),), images_only=True)
    opener = open_images if data.images_only else open_dataset
    with pytest.raises(DataError) as caught:
        opener(data, 64)[0]
    resolution, options = re.search(TOO_SMALL, str(caught.value)).groups()
    for config in ("celebamask_512", "faces_64_cpu", "faces_256"):
        model = load_config(ROOT / "configs" / f"{config}.yaml", options.split()).model
        assert opener(data, model.resolution)[0][0].shape == (3, SIZE, SIZE)
    if kind == "folder":
        assert re.search(TOO_SMALL, refused(pairs, "--resolution", "64"))
        prepare(pairs, tmp_path / "out", "--resolution", resolution)


@pytest.mark.parametrize(
    ("side", "remedy"), [(SIZE, "give --resolution 32, or train on it"), (50, "train on it without")]
)
def test_the_remedies_for_an_lmdb_of_another_size(tmp_path: Path, refused, side: int, remedy: str) -> None:
    with LmdbWriter(tmp_path / "lmdb", side, celebamask13(), "tests") as writer:
        writer.add(*draw_face(0, 0, side))
    line = refused(tmp_path / "lmdb", "--resolution", "16")
    assert f"has images of {side} pixels, and an LMDB is not resized; {remedy}" in line
    assert open_dataset(DataConfig(path=(str(tmp_path / "lmdb"),)), 16)[0][0].shape == (3, 16, 16)
