import argparse
import os
from dataclasses import asdict, replace

import pytest
import torch

from models import ModelConfig, load_discriminator, load_generator
from models.checkpoint import FORMAT, NETWORKS, Networks, load_networks
from tests.golden_cases import golden_cases
from utils.errors import ModelError


@pytest.fixture(scope="module")
def released():
    """Case b in float32; its networks g and g_ema share their tensors, which a file then holds once."""
    case = next(case for case in golden_cases() if case.name == "b")
    contents = case.checkpoint()
    floats = {id(value): value.float() for network in ("g", "d") for value in contents[network].values()}
    for network in ("g", "d", "g_ema"):
        contents[network] = {name: floats[id(value)] for name, value in contents[network].items()}
    return contents


@pytest.mark.parametrize(
    ("option", "value"),
    [("resolution", 64), ("num_classes", 5), ("latent_dim", 8), ("local_layers", 9), ("local_channels", 4)],
)
def test_another_architecture_is_told_by_options(tiny_config, option, value):
    networks = Networks(tiny_config, None, None, None, source="run/a.pt")
    networks.check_architecture(replace(tiny_config, residual_masks=not tiny_config.residual_masks))  # changes no shape
    changed = replace(tiny_config, transparent_classes=(), **{option: value})
    with pytest.raises(ModelError, match=rf"^run/a\.pt has .*model\.{option} = \d+ in .*, {value} in") as raised:
        networks.check_architecture(changed)
    assert f"model.{option} = {getattr(tiny_config, option)} in the checkpoint" in str(raised.value)


@pytest.fixture(scope="module")
def generators(released):
    """The same without the discriminator, which is three quarters of the file."""
    return {name: value for name, value in released.items() if name != "d"}


@pytest.fixture(scope="module")
def expected(released, tmp_path_factory):
    """The networks of case b."""
    return load_networks(save(released, tmp_path_factory.mktemp("released")))


def transpose(state, name):
    state[name] = state[name].T


def save(contents, folder):
    path = folder / "checkpoint.pt"
    torch.save(contents, path)
    return path


def test_own_files_round_trip(tiny_checkpoint, tiny_generator):
    generator = load_generator(tiny_checkpoint)
    assert not generator.training
    assert generator.config == tiny_generator.config
    w = torch.randn(2, 16)
    assert torch.equal(generator.synthesis(w).image, tiny_generator.synthesis(w).image)
    assert load_discriminator(tiny_checkpoint)(torch.zeros(2, 3, 32, 32)).shape == (2, 1)


@pytest.mark.parametrize(
    ("stored", "computed"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
@pytest.mark.parametrize("load", [load_generator, load_discriminator])
def test_half_types_are_for_storage(tiny_checkpoint, tmp_path, stored, computed, load):
    contents = torch.load(tiny_checkpoint, weights_only=True)
    for network in NETWORKS:
        contents[network] = {name: value.to(stored) for name, value in contents[network].items()}
    module = load(save(contents, tmp_path))
    assert {tensor.dtype for tensor in [*module.parameters(), *module.buffers()] if tensor.is_floating_point()} == {
        computed
    }
    network = "generator_ema" if load is load_generator else "discriminator"
    assert all(torch.equal(value.to(stored), contents[network][name]) for name, value in module.state_dict().items())


def test_released_half_types_are_for_storage_too(generators, tmp_path):
    contents = {**generators, "g_ema": {name: value.half() for name, value in generators["g_ema"].items()}}
    generator = load_generator(save(contents, tmp_path))
    assert generator.synthesis(torch.randn(1, generator.config.latent_dim)).image.dtype == torch.float32


def test_released_options_may_be_missing(generators, tmp_path):
    expected = load_generator(save(generators, tmp_path)).config
    found = load_generator(save({**generators, "args": argparse.Namespace(base_layers=1, depth_layers=5)}, tmp_path))
    assert found.config == expected


def test_released_file_without_options_takes_the_defaults(generators, tmp_path):
    contents = {name: value for name, value in generators.items() if name != "args"}
    config = load_generator(save(contents, tmp_path)).config
    assert (config.base_layers, config.depth_layers, config.residual_masks) == (2, 6, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["g_ema"].pop("style.1.bias"), "style.1.bias is missing"),
        (lambda c: c["g_ema"].pop("pos_embed.weights"), "pos_embed.weights is missing"),
        (lambda c: c["g_ema"].pop("render_net.noises.noise_0"), "noise_0 is missing"),
        (lambda c: c["g_ema"].update(extra=torch.zeros(1)), "unknown tensors, for example extra"),
        (lambda c: c["g_ema"].update({"style.1.bias": torch.zeros(7)}), r"style.1.bias has shape \[7\]"),
        (lambda c: transpose(c["g_ema"], "local_nets.1.linears.0.conv.modulation.weight"), r"shape \[24, 12\]"),
        (lambda c: c["d"].pop("final_linear.1.weight"), "final_linear.1.weight is missing"),
    ],
)
def test_damaged_released_files_name_the_tensor(released, tmp_path, change, message):
    contents = {name: dict(value) if isinstance(value, dict) else value for name, value in released.items()}
    change(contents)
    with pytest.raises(ModelError, match=message):
        load_networks(save(contents, tmp_path))


@pytest.mark.parametrize(
    "contents",
    [
        {"g": torch.zeros(1)},
        {"g": 3},
        {"g_ema": None},
        {"g": {}, "d": {}},
        {"g": {"style.1.weight": 3}},
        {"format": FORMAT},
        {"format": FORMAT, "model": 5, "generator": {"a": torch.zeros(1)}},
        {"format": FORMAT, "model": {}, "generator": 5},
        {"format": FORMAT, "model": {**asdict(ModelConfig()), "resolution": "32"}},
        {"format": FORMAT, "model": {**asdict(ModelConfig()), "transparent_classes": 3}},
    ],
)
def test_files_with_the_right_keys_and_wrong_contents(tmp_path, contents):
    with pytest.raises(ModelError) as raised:
        load_generator(save(contents, tmp_path))
    assert "\n" not in str(raised.value)


def test_released_options_of_the_wrong_type(generators, tmp_path):
    contents = {**generators, "args": argparse.Namespace(base_layers=None)}
    with pytest.raises(ModelError, match="an option in args is wrong"):
        load_generator(save(contents, tmp_path))


@pytest.mark.parametrize("contents", [{"weights": torch.zeros(1)}, [1, 2], {"format": "other"}])
def test_foreign_files(tmp_path, contents):
    with pytest.raises(ModelError, match="not a checkpoint: its format is"):
        load_generator(save(contents, tmp_path))


def test_files_that_are_no_checkpoints(tmp_path):
    with pytest.raises(ModelError, match=r"no such file; give a checkpoint of train\.py or a released one$"):
        load_generator(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ModelError, match=r"not an archive of torch\.save"):
        load_generator(tmp_path / "text.pt")


def test_a_missing_checkpoint_or_a_folder_names_an_existing_one(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(ModelError, match=r"is a folder, not a file; give a checkpoint of train\.py"):
        load_generator(tmp_path)
    for name in ("images_999999999.pt", "images_000000016.pt", "images_1000000000.pt", "images_2000000000.pt.damaged"):
        (folder / name).touch()
    (tmp_path / "best.pt").touch()
    for path in (tmp_path, folder):
        with pytest.raises(
            ModelError, match=rf"is a folder.*; give a file in it, such as {folder}/images_1000000000\.pt$"
        ):
            load_generator(path)
    with pytest.raises(ModelError, match=rf"no such file; did you mean {folder}/images_000000016\.pt\?$"):
        load_generator(folder / "images_00000016.pt")


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("name", ["args", "g_ema"])
def test_pickled_code_is_not_run(tmp_path, name):
    marker = tmp_path / "ran"
    path = save({"g": {}, "d": {}, name: Hostile(marker)}, tmp_path)
    with pytest.raises(ModelError, match="neither a tensor nor plain data"):
        load_generator(path)
    assert not marker.exists()


def test_another_architecture(tiny_checkpoint, tmp_path):
    contents = torch.load(tiny_checkpoint, weights_only=True)
    contents["model"]["local_channels"] = 9
    with pytest.raises(ModelError, match="does not fit the network"):
        load_generator(save(contents, tmp_path))
    contents["model"].pop("latent_dim")  # takes its default, 512
    with pytest.raises(ModelError, match=r"does not fit the network.*512"):
        load_generator(save(contents, tmp_path))


def test_a_missing_network_is_named(tiny_checkpoint, tmp_path):
    contents = torch.load(tiny_checkpoint, weights_only=True)
    del contents["discriminator"]
    with pytest.raises(ModelError, match="holds no discriminator"):
        load_discriminator(save(contents, tmp_path))


WRAPPERS = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.")


def wrapped(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def same_generators(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("parts", [("g_ema",), ("g", "g_ema", "d")])
@pytest.mark.parametrize("prefix", WRAPPERS)
def test_released_networks_may_be_wrapped(released, expected, tmp_path, parts, prefix):
    """DistributedDataParallel or torch.compile may wrap all networks or some."""
    found = load_networks(save({**released, **{part: wrapped(released[part], prefix) for part in parts}}, tmp_path))
    assert found.config == expected.config
    for name in ("generator", "generator_ema", "discriminator"):
        theirs, ours = getattr(found, name), getattr(expected, name)
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[key], ours[key]) for key in ours)


@pytest.mark.parametrize("prefix", WRAPPERS)
def test_own_networks_may_be_wrapped(tiny_checkpoint, tmp_path, prefix):
    contents = torch.load(tiny_checkpoint, weights_only=True)
    contents["generator_ema"] = wrapped(contents["generator_ema"], prefix)
    assert same_generators(load_generator(save(contents, tmp_path)), load_generator(tiny_checkpoint))


def test_names_that_are_wrapped_in_part_are_refused(generators, tmp_path):
    state = dict(generators["g_ema"])
    state["module.style.1.bias"] = state.pop("style.1.bias")
    message = r"g_ema: only 1 of \d+ tensor names start with module\. \(.* does not\); save"
    with pytest.raises(ModelError, match=message):
        load_networks(save({**generators, "g_ema": state}, tmp_path))


@pytest.mark.parametrize(
    "nest",
    [
        lambda file: {"state_dict": file},
        lambda file: {"model": file, "epoch": 3},
        lambda file: {"model": {"state_dict": file}},
        lambda file: {"state_dict": {"model": {"g_ema": file["g_ema"]}}, "args": file["args"]},
        lambda file: {"g_ema": file["g_ema"], "args": file["args"]},
        lambda file: {"state_dict": wrapped(file["g_ema"], "module."), "args": file["args"]},
        lambda file: {"params_ema": file["g_ema"], "params": file["g"], "args": file["args"]},
        lambda file: {"model": file["g_ema"], "args": file["args"]},
    ],
)
def test_released_networks_under_the_keys_of_other_programs(generators, expected, tmp_path, nest, capsys):
    found = load_networks(save(nest(generators), tmp_path)).generator_ema
    assert found.keys() == expected.generator_ema.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.generator_ema.items())
    assert capsys.readouterr().err == ""


def test_a_bare_state_dict_is_a_released_generator(released, tmp_path):
    bare = load_networks(save(released["g_ema"], tmp_path))
    without_options = load_networks(save({"g_ema": released["g_ema"]}, tmp_path))
    assert bare.config == without_options.config


def test_a_missing_ema_generator_causes_one_warning(generators, tmp_path, capsys, monkeypatch):
    expected = load_generator(save({**generators, "g_ema": generators["g"]}, tmp_path))
    assert capsys.readouterr().err == ""
    path = save({name: value for name, value in generators.items() if name != "g_ema"}, tmp_path)
    assert same_generators(load_generator(path), expected)
    assert capsys.readouterr().err.startswith(f"warning: {path} holds no EMA generator (g_ema)")
    load_generator(path)
    monkeypatch.setenv("RANK", "1")
    (tmp_path / "another").mkdir()
    load_generator(save({"g": generators["g"]}, tmp_path / "another"))
    assert capsys.readouterr().err == ""


def test_mixed_precisions_lose_nothing(generators, tmp_path):
    names = sorted(generators["g_ema"])
    halves = {name: value.half() if name in names[::2] else value for name, value in generators["g_ema"].items()}
    found = load_generator(save({**generators, "g_ema": halves}, tmp_path))
    as_floats = {name: value.float() for name, value in halves.items()}
    assert same_generators(found, load_generator(save({**generators, "g_ema": as_floats}, tmp_path)))


def test_files_that_hold_themselves_end(tmp_path):
    contents = {}
    contents["model"] = {"state_dict": contents}
    with pytest.raises(ModelError):
        load_networks(save(contents, tmp_path))
