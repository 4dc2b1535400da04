import importlib
import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

import train
from configs import RunConfig, architecture, load_config, to_yaml
from configs.loader import check_data, option_types
from models import ModelConfig
from training.finetune import pretrained_config
from utils.errors import ConfigError

CONFIGS = Path(__file__).parent.parent.parent / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
STUDIES = sorted(CONFIGS.glob("studies/*.yaml"))


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_files_load_and_hold_differences_only(path, write):
    config = load_config(path, (), pretrained_config)
    assert load_config(write(to_yaml(config)), (), pretrained_config) == config
    defaults = asdict(RunConfig())
    for section, options in __import__("yaml").safe_load(path.read_text()).items():
        for option, value in options.items():
            default = defaults[section][option]
            assert value != (list(default) if isinstance(default, tuple) else default), f"{section}.{option}"


def test_the_quickstart_trains_the_networks_of_the_long_training():
    quick, long = (
        load_config(CONFIGS / f"{name}.yaml", (), pretrained_config) for name in ("faces_64_cpu", "faces_64")
    )
    assert quick.model == long.model


@pytest.mark.parametrize("path", FILES + STUDIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_files_say_what_to_expect(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Command:", "Hardware:", "Time:", "Result:"):
        (line,) = (line for line in header if word in line)
        if word in ("Time:", "Result:"):
            assert re.search(r"\d|not measured", line), line


STORED = ModelConfig(resolution=64, num_classes=5, coarse_resolution=32)


def test_a_checkpoint_tells_the_architecture(write):
    asked: list[str] = []

    def stored(source: str) -> ModelConfig:
        asked.append(source)
        return STORED

    path = write("model: {init_from: a.pt, num_classes: 5}")
    config = load_config(path, ["model.init_from=b.pt", "model.coarse_resolution='32'"], stored)
    assert architecture(config.model) == STORED
    assert (asked, config.model.init_from) == (["b.pt"], "b.pt")
    assert load_config(write(to_yaml(config)), (), stored) == config
    assert architecture(load_config(write(""), (), stored).model) == ModelConfig()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # The default too is a contradiction where it was given.
        ("model.num_classes=13", "model.num_classes = 5, not 13: remove model.num_classes from the command"),
        (
            "model.resolution=many",
            r"model.resolution = 'many': expected the side of a square in pixels, or \[height, width\]",
        ),
        ("model.resolution=[64]", r"model.resolution = '\[64\]': expected the side of a square"),
        ("model.resolution=[64, 48, 3]", r"model.resolution = '\[64, 48, 3\]': expected the side of a square"),
        ("model.resolution=[64, b]", r"model.resolution = '\[64, b\]': expected the side of a square"),
        ("model.resolution=64x48", "model.resolution = '64x48': expected the side of a square"),
        ("model.coarse_resolution=many", "model.coarse_resolution = 'many': expected a whole number"),
        ("model.resolutoin=64", "did you mean model.resolution"),
        ("model.latent_dim=yes", "model.latent_dim = 'yes': expected a whole number"),
    ],
)
def test_what_does_not_fit_the_checkpoint(write, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write("model: {init_from: a.pt}"), [override], lambda source: STORED)


def test_options_of_the_file_that_contradict_the_checkpoint_are_all_named_with_their_origin(write):
    path = write("model: {init_from: a.pt, resolution: 32, coarse_resolution: 32, local_layers: 5}")
    with pytest.raises(ConfigError) as raised:
        load_config(path, ["model.num_classes=13"], lambda source: STORED)
    differences = "model.resolution = 64, not 32; model.local_layers = 10, not 5; model.num_classes = 5, not 13"
    assert differences in str(raised.value)
    remedy = f"remove model.resolution, model.local_layers from {path} and model.num_classes from the command line"
    assert remedy in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {images_only: true}", "data.images_only is for fine-tuning only: set model.init_from"),
        ("training: {freeze: [local]}", "training.freeze is for fine-tuning"),
        ("training: {max_mask_drift: 0.2}", "training.max_mask_drift is for fine-tuning"),
    ],
)
def test_what_needs_a_trained_model(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(text))


def test_an_empty_file_is_the_defaults(write):
    assert load_config(write("")) == RunConfig()


def test_overrides_win_and_types_are_coerced(write):
    path = write("training: {learning_rate: 1e-3, total_images: 4.8e6}\n")  # YAML reads 1e-3 as text
    config = load_config(path, ["model.transparent_classes=[1, 2]", "training.batch_size=8", "losses.mask=5"])
    assert config.training.learning_rate == 1e-3
    assert config.training.total_images == 4_800_000
    assert isinstance(config.training.total_images, int)
    assert config.model.transparent_classes == (1, 2)
    assert (config.training.batch_size, config.losses.mask) == (8, 5.0)


@pytest.mark.parametrize(("text", "paths"), [("data/a", ("data/a",)), ("[data/a, data/b]", ("data/a", "data/b"))])
def test_one_path_or_several(write, text, paths):
    config = load_config(write(f"data: {{path: {text}}}"))
    assert config.data.path == paths
    assert load_config(write(""), [f"data.path={text}"]).data.path == paths
    assert load_config(write(to_yaml(config))) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {resolutoin: 64}", "unknown option model.resolutoin: did you mean model.resolution"),
        ("modle: {resolution: 64}", "unknown option modle: did you mean model?"),
        ("resolution: 64", "unknown option resolution: did you mean model.resolution?"),
        ("batch_size: 8", "unknown option batch_size: did you mean training.batch_size?"),  # before metrics.batch_size
        ("training: {batch_size: many}", "training.batch_size = 'many': expected a whole number"),
        ("training: {batch_size: 1.5}", "training.batch_size = '1.5': expected a whole number"),
        ("training: {batch_size: true}", "training.batch_size = 'true': expected a whole number"),
        ("training: {learning_rate: .inf}", "expected a number"),
        ("model: {residual_masks: 1}", "expected true or false"),
        ("model: {local_generator: sinus}", "model.local_generator = 'sinus': expected one of modulated"),
        ("model: {transparent_classes: 3}", "expected a list in which each item is a whole number"),
        ("data: {path: {a: b}}", "data.path = {'a': 'b'}: expected text or a list of texts"),
        ("data: {path: [a: b]}", "expected text"),
        ("data: {path: null}", "data.path = null: expected text or a list of texts"),
        ("data: {path: [a, ~]}", "data.path = null: expected text"),
        ("data: {masks: }", "data.masks = null: expected text"),
        ("data: {mirror: yes}", "data.mirror = 'yes': expected true or false"),
        ("data: {mirror: on}", "data.mirror = 'on': expected true or false"),
        ("data: {path: a, path: b}", "gives 'path' twice, the second time in line 1; correct the file"),
        ("data:\n  path: /x/a: b", "quote text that contains `: ` or ` #`"),
        ("data: {crop: middle}", "data.crop = 'middle': expected one of error, center, pad"),
        ("augment: {target: 2}", "augment.target = 2.0: must be at least 0 and below 1"),
        ("ops: fast", "ops = 'fast': expected one of auto, native, compiled"),
        ("model: 3", "model must be a section"),
        ("- 1", "section: options"),
        ("a: [", "is not YAML"),
        ("model: {num_classes: 99}", "model.num_classes = 99: choose 2 to 64"),
        ("losses: {mask: -1}", "losses.mask"),
        ("training: {batch_size: 0}", "training.batch_size = 0: choose above 0"),
    ],
)
def test_mistakes_are_one_line(write, text, message):
    with pytest.raises(ConfigError) as raised:
        load_config(write(text))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("override", ["training.batch_size", "model=3", "ops.x=1", "training.batch_size=["])
def test_bad_overrides(write, override):
    with pytest.raises(ConfigError):
        load_config(write(""), [override])


def test_an_empty_section_is_no_section(write):
    assert load_config(write("model:\n"), ["model.resolution=64"]).model.resolution == 64


@pytest.mark.parametrize(("text", "resolution"), [("[256, 128]", (256, 128)), ("[64, 64]", 64), ("'64'", 64)])
def test_resolutions(write, text, resolution):
    assert load_config(write(f"model: {{resolution: {text}}}")).model.resolution == resolution
    assert load_config(write("model:\n"), [f"model.resolution={text}"]).model.resolution == resolution


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("absent.yaml", "give a readable YAML file"),
        ("nowhere/faces.yaml", "give a readable YAML file"),
        ("faces_64.yml", r"did you mean faces_64\.yaml\?"),
        ("more/face_128", r"did you mean more/faces_128\.yaml\?"),
        ("faces_256", r"did you mean configs/faces_256\.yaml\?"),
    ],
)
def test_missing_file(tmp_path, monkeypatch, path, remedy):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "configs").mkdir()
    for name in ("faces_64.yaml", "faces_64.txt", "more/faces_128.yaml", "configs/faces_256.yaml"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=f"{path}: no such file; {remedy}$"):
        load_config(path)


def test_the_folder_of_a_run_is_no_bundled_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("configs/faces_64_cpu.yaml", "runs/faces_64_cpu/config.yaml"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=r"is a folder, not a file; .* such as runs/faces_64_cpu/config\.yaml$"):
        load_config("runs/faces_64_cpu")


@pytest.mark.parametrize("path", [*FILES, CONFIGS / "encoders" / "faces_64.yaml"], ids=lambda path: path.stem)
def test_the_command_that_makes_missing_data_is_in_the_header(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (data,) = re.findall(r"^  path: (\S+)$", path.read_text(), re.MULTILINE)
    with pytest.raises(ConfigError, match=rf"data\.path: {data} does not exist; make it with: python") as error:
        check_data(path, [data])
    command = shlex.split(str(error.value).partition("make it with: python -m ")[2])
    module = importlib.import_module(command[0])
    parse = module.parse
    assert str(parse(command[1:]).out) == data
    check_data(path, ["data/other"])
    Path(data).mkdir(parents=True)
    check_data(path, [data])


def test_training_names_the_command_before_anything_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="does not exist; make it with"):
        train.main(["--config", str(CONFIGS / "adapt.yaml")])
    assert list(tmp_path.iterdir()) == []


def test_every_option_has_a_name():
    names = list(option_types())
    assert {"model.resolution", "data.path", "losses.mask", "training.batch_size", "ops"} <= set(names)
    assert len(names) == len(set(names))
