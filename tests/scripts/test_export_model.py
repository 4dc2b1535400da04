import json
from pathlib import Path

import pytest
import torch

import generate
import train
from datasets.class_files import celebamask13
from models import load_discriminator, load_generator
from models.latents import to_wplus, truncate
from scripts import export_model
from scripts.convert_checkpoint import main as convert
from scripts.export_model import check_format, main
from tests.conftest import TINY_OPTIONS
from tests.editing.tiny import save_tiny
from tests.golden_cases import golden_cases
from tests.processes import ROOT
from utils.cli import run
from utils.errors import ConfigError, ModelError


@pytest.fixture
def checkpoint(tiny_checkpoint):
    """A checkpoint as a run writes it, with a training state, and averaged weights that differ from all others."""
    contents = torch.load(tiny_checkpoint, weights_only=True)
    contents["generator_ema"] = {name: 1.1 * value for name, value in contents["generator_ema"].items()}
    contents["classes"] = celebamask13().to_dict()
    contents |= {
        "training": {"images": 1200, "path_mean": torch.zeros(())},
        "config": {},
        "data": [{"source": "faces"}],
    }
    torch.save(contents, tiny_checkpoint)
    return tiny_checkpoint


def export(source, *options):
    target = source.parent / "exported.pt"
    main(["--checkpoint", str(source), "--output", str(target), *options])
    return target


@pytest.mark.parametrize(("precision", "dtype"), [("half", torch.float16), ("single", torch.float32)])
def test_exports_hold_the_averaged_generator_and_its_provenance(checkpoint, capsys, precision, dtype):
    target = export(checkpoint, "--precision", precision)
    before, after = (torch.load(path, weights_only=True) for path in (checkpoint, target))
    assert after.keys() == {"format", "model", "classes", "generator_ema", "images", "data"}
    assert all(after[name] == before[name] for name in ("format", "model", "classes", "data"))
    assert after["images"] == 1200
    assert after["generator_ema"].keys() == before["generator_ema"].keys()
    assert type(after["generator_ema"]) is dict
    for name, value in after["generator_ema"].items():
        assert value.dtype == dtype
        assert torch.equal(value, before["generator_ema"][name].to(dtype))
    numbers = sum(value.numel() for value in after["generator_ema"].values())
    assert target.stat().st_size < numbers * dtype.itemsize + 60_000  # one record, and its names, for each tensor
    out = capsys.readouterr().out
    assert f"{target.stat().st_size / 1e6:.2f} MB, 32 pixels, 13 classes, {precision} precision, 1200 images" in out


def test_the_discriminator_is_exported_on_request(checkpoint, capsys):
    before = torch.load(checkpoint, weights_only=True)
    after = torch.load(target := export(checkpoint, "--discriminator"), weights_only=True)
    assert after["discriminator"].keys() == before["discriminator"].keys()
    assert all(torch.equal(x, before["discriminator"][name].half()) for name, x in after["discriminator"].items())
    load_discriminator(target)
    generator_only = checkpoint.parent / "generator.pt"
    main(["--checkpoint", str(target), "--output", str(generator_only)])
    assert "discriminator" not in torch.load(generator_only, weights_only=True)
    with pytest.raises(ModelError, match=r"generator\.pt holds no discriminator; choose another checkpoint"):
        main(["--checkpoint", str(generator_only), "--output", str(checkpoint.parent / "x.pt"), "--discriminator"])
    graph = ["--checkpoint", str(checkpoint), "--output", str(checkpoint.parent / "x.pt2"), "--discriminator"]
    message = "error: --discriminator: a .pt2 file holds the generator only; choose a .pt file"
    assert refused(main, graph, capsys) == message
    assert sorted(path.suffix for path in checkpoint.parent.glob("x*")) == []


def test_half_precision_costs_little(tmp_path):
    original = save_tiny(tmp_path / "tiny.pt")
    stored = load_generator(export(tmp_path / "tiny.pt"))
    with torch.no_grad():
        w = original.mapping(torch.randn(16, original.config.latent_dim))
        images = [generator.synthesis(w).image.clamp(-1, 1) * 127.5 for generator in (original, stored)]
    assert images[1].dtype == torch.float32
    difference = (images[0] - images[1]).abs()
    assert 0 < difference.mean() < 1  # grey levels
    assert images[0].std() > 10  # not all grey


def test_single_precision_costs_nothing(checkpoint):
    original, stored = load_generator(checkpoint), load_generator(export(checkpoint, "--precision", "single"))
    w = torch.randn(2, original.config.latent_dim)
    assert torch.equal(original.synthesis(w).image, stored.synthesis(w).image)


def test_an_export_can_be_exported(checkpoint):
    first = torch.load(export(checkpoint), weights_only=True)
    again = checkpoint.parent / "again.pt"
    main(["--checkpoint", str(checkpoint.parent / "exported.pt"), "--output", str(again)])
    second = torch.load(again, weights_only=True)
    assert first.keys() == second.keys()
    assert second["images"] == 1200
    assert all(torch.equal(value, second["generator_ema"][name]) for name, value in first["generator_ema"].items())


def test_released_checkpoints_are_exported(tmp_path, capsys):
    case = next(case for case in golden_cases() if case.name == "b")
    torch.save(case.checkpoint(), tmp_path / "released.pt")
    target = export(tmp_path / "released.pt")
    assert "32 pixels, 4 classes, half precision\n" in capsys.readouterr().out
    contents = torch.load(target, weights_only=True)
    assert contents.keys() == {"format", "model", "classes", "generator_ema"}
    assert contents["classes"]["names"] == [f"class_{k}" for k in range(4)]


def test_commands_accept_exports_as_checkpoints(checkpoint, tmp_path, capsys):
    target = export(checkpoint)
    generate.main(["--checkpoint", str(target), "--output", str(tmp_path / "out"), "--seeds", "0", "--device", "cpu"])
    assert (tmp_path / "out" / "grid.png").exists()
    convert([str(target), str(tmp_path / "converted.pt")])
    assert "generator_ema at 32 pixels" in capsys.readouterr().out
    with pytest.raises(ModelError, match=r"exported\.pt holds no discriminator"):
        load_discriminator(target)


def test_training_cannot_resume_from_an_export(checkpoint, faces_32, tiny_run, tmp_path, capsys):
    options = ["--output", str(tmp_path / "run"), "--resume", str(export(checkpoint))]
    options += [*TINY_OPTIONS, f"data.path={faces_32}", "data.workers=0", "training.device=cpu", "ops=native"]
    message = refused(train.main, ["--config", str(tiny_run), *options], capsys)
    assert "exported.pt holds networks but no training state" in message
    assert not (tmp_path / "run").exists()


def refused(command, arguments, capsys):
    """Return the line on stderr of a command that exits with 2."""
    with pytest.raises(SystemExit) as exit_:
        run(lambda: command(arguments))
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def damage(path, change):
    """Change the averaged weights of a checkpoint."""
    contents = torch.load(path, weights_only=True)
    change(contents["generator_ema"])
    torch.save(contents, path)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda state: state["compositing.bias"].fill_(1e5), "in half precision: choose --precision single"),
        (lambda state: state["compositing.bias"].fill_(float("nan")), "choose an earlier checkpoint"),
        (lambda state: state.pop("compositing.bias"), "does not fit the network"),
    ],
)
def test_weights_that_cannot_be_stored(checkpoint, tmp_path, capsys, change, remedy):
    damage(checkpoint, change)
    message = refused(main, ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "new.pt")], capsys)
    assert "compositing.bias" in message
    assert remedy in message
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.pt"]


@pytest.mark.parametrize(
    ("source", "target", "options", "hint"),
    [
        ("tiny.pt", "there.pt", [], "--overwrite"),
        ("tiny.pt", "tiny.pt", ["--overwrite"], "is the checkpoint itself"),
        ("tiny.pt", "absent/new.pt", [], "cannot write"),
        ("absent.pt", "new.pt", [], "no such file"),
        ("there.pt", "new.pt", [], "is not an archive of torch.save"),
        ("tiny.pt", "new.pt", ["--precision", "double"], "invalid choice"),
    ],
)
def test_mistakes_change_no_files(checkpoint, tmp_path, capsys, source, target, options, hint):
    (tmp_path / "there.pt").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    arguments = ["--checkpoint", str(tmp_path / source), "--output", str(tmp_path / target), *options]
    assert hint in refused(main, arguments, capsys)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_overwrite_replaces(checkpoint, tmp_path):
    (tmp_path / "exported.pt").write_text("old")
    load_generator(export(checkpoint, "--overwrite"))


@pytest.mark.parametrize(
    ("suffix", "precision"), [("onnx", "half"), pytest.param("pt2", "single", marks=pytest.mark.long)]
)
def test_graphs_generate_the_same_images_as_the_checkpoint(checkpoint, suffix, precision):
    target = checkpoint.parent / f"graph.{suffix}"
    skip_if_refused(target)
    main(["--checkpoint", str(checkpoint), "--output", str(target), "--precision", precision])
    mapping, psi = target.with_name(f"graph_mapping.{suffix}"), torch.tensor(0.7)
    stored = load_generator(export(checkpoint, "--precision", precision))
    for samples in (1, 3):  # traced with another number
        z = torch.randn(samples, stored.config.latent_dim)
        if suffix == "onnx":
            [codes] = run_onnx(mapping, {"z": z, "truncation": psi}, ["codes"])
            outputs = run_onnx(target, {"codes": codes}, ["image", "segmentation"])
        else:
            codes = torch.export.load(mapping).module()(z, psi)
            outputs = torch.export.load(target).module()(codes)
        with torch.no_grad():
            w = truncate(stored.mapping(z), stored.mean_code(), 0.7)
            assert (codes - to_wplus(w, stored.config)).abs().max() < 1e-5
            expected = stored.synthesis(codes, "const")
        for ours, theirs in zip(outputs, (expected.image, expected.segmentation), strict=True):
            assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
    if suffix == "onnx":
        check_onnx(target, mapping)
    else:
        facts = {"metadata.json": ""}
        torch.export.load(target, extra_files=facts)
        check_facts(json.loads(facts["metadata.json"]))


def check_onnx(*paths):
    """Check what the files say of themselves, and that no operators need a CPU in onnxruntime-web."""
    onnx = pytest.importorskip("onnx")
    models = [onnx.load(path) for path in paths]
    for model in models:
        assert [node.op_type for node in model.graph.node if "Sequence" in node.op_type] == []
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
        for value in model.graph.output:
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert str(ROOT).encode() not in model.SerializeToString()
    facts, mapping_facts = ({entry.key: entry.value for entry in model.metadata_props} for model in models)
    check_facts(facts)
    assert mapping_facts.keys() == {"z", "truncation", "codes"}


def check_facts(facts):
    assert facts.keys() == {"codes", "image", "segmentation", "classes"}
    assert "[-1, 1]" in facts["image"]
    assert [each["name"] for each in json.loads(facts["classes"])] == list(celebamask13().names)
    assert [each["color"] for each in json.loads(facts["classes"])] == [list(color) for color in celebamask13().colors]


def skip_if_refused(target):
    try:
        check_format(target)
    except ConfigError as error:
        pytest.skip(str(error))


def test_onnx_files_need_a_newer_pytorch(monkeypatch):
    monkeypatch.setattr(export_model, "find_spec", lambda name: name)
    monkeypatch.setattr(torch, "__version__", "2.6.0+cu124")
    with pytest.raises(ConfigError, match=r"ONNX export needs PyTorch 2.7 or newer, but 2.6.0.*write a .pt2"):
        check_format(Path("model.onnx"))
    check_format(Path("model.pt2"))
    monkeypatch.setattr(torch, "__version__", "2.10.0a0+b558c98")  # compared as numbers; pre-releases count
    check_format(Path("model.onnx"))


def run_onnx(path, inputs, outputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path))
    assert [entry.name for entry in session.get_inputs()] == list(inputs)
    assert [entry.name for entry in session.get_outputs()] == outputs
    return [torch.from_numpy(x) for x in session.run(None, {name: x.numpy() for name, x in inputs.items()})]


def test_other_extensions_are_refused(checkpoint, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(lambda: main(["--checkpoint", str(checkpoint), "--output", "model.tflite"]))
    assert exit_.value.code == 2
    assert "choose a name that ends in .pt or .onnx or .pt2" in capsys.readouterr().err
