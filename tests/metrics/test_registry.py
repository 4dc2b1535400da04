import re
import sys
from pathlib import Path

import pytest

from metrics import registry
from metrics.listing import summaries
from metrics.metric_config import MetricConfig
from metrics.registry import Metric, best_direction, check_metrics, number_names, register, registered
from tests.processes import run_command
from utils.errors import MetricError

ROOT = Path(__file__).parent.parent.parent


def names(metric: str, extractor: registry.Extractor, lpips: bool = False) -> list[str]:
    return list(number_names(registered()[metric], extractor, lpips).values())


def test_only_inceptions_distance_is_called_fid():
    assert names("fid", "inception") == ["fid"]
    assert names("fid", "efflite0") == ["fd_efflite0"]
    assert names("kid", "efflite0") == ["kd_efflite0", "kd_std_efflite0"]
    assert names("parts", "efflite0") == ["part_fd_efflite0"]
    assert names("areas", "efflite0") == ["area_distance", "classes_in_proportion"]


def test_only_the_distance_of_lpips_is_called_ppl():
    assert names("ppl", "inception") == ["ppl_efflite0"]
    assert names("ppl", "efflite0", lpips=True) == ["ppl"]


def test_which_is_better():
    for name in ("fd_efflite0", "fid", "ppl", "ppl_efflite0", "area_distance"):
        assert best_direction(name) == "lower"
    assert best_direction("locality_shape") == best_direction("precision_efflite0") == "higher"
    assert best_direction("kid_std") is best_direction("unknown") is None


def test_the_documentation_lists_all_metrics():
    table = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").split("| `--metrics` |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(registered())


def test_the_listing_agrees_with_the_registered_classes():
    docstrings = {name: (metric.__doc__ or "").strip().partition("\n")[0] for name, metric in registered().items()}
    assert list(summaries().items()) == list(docstrings.items())


def test_importing_all_metrics_and_loading_a_model_are_cheap():
    heavy = "('torch._dynamo', 'torchvision', 'lpips', 'torch_fidelity', 'matplotlib.figure')"
    code = "import sys, train; from scripts import benchmark, invert, studio; from models import load_generator; "
    code += "load_generator('models/weights/faces_64.pt'); from metrics.registry import registered; "
    code += "assert len(registered()) >= 9; "
    code += f"print([name for name in {heavy} if name in sys.modules])"
    result = run_command([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout == "[]\n"


def declared(name: str = "sharpness", better: object = "higher", **attributes: object) -> type[Metric]:
    methods = {"update": lambda self, batch: {}, "compute": lambda self, generated, real: None}
    return register(name, better=better)(type("Sharpness", (Metric,), {**methods, **attributes}))


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ({"needs": ("feature",)}, "needs = .*: choose from features, real, extractor, distance, segmenter"),
        ({"needs": "features"}, "needs = 'features'"),
        ({"source": "images"}, "source = 'images': choose from samples, edits, paths"),
        ({"reduce": "mean"}, "reduce = 'mean': choose from cat, sum"),
        (
            {"source": "edits", "needs": ("real",)},
            "source = 'edits': real data and features require samples",
        ),
        ({"better": "more"}, "choose lower, higher or None"),
        ({"better": {}}, "choose lower, higher or None"),
        ({"name": "fid"}, r"metrics\.image_quality already has the name fid"),
        (
            {"name": "sharp", "better": {"kd_efflite0": "lower"}},
            "image_quality already has the name kd_efflite0",
        ),
        ({"name": "all"}, "choose another name"),
        ({"name": "a,b"}, "choose another name"),
        ({"update": Metric.update}, "define update and compute"),
        ({"compute": Metric.compute}, "define update and compute"),
    ],
)
def test_wrong_declarations_are_one_line(declaration, message):
    before = registered()
    with pytest.raises(MetricError, match=message):
        declared(**declaration)
    assert registered() == before


def test_a_right_declaration_can_be_asked_for(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", dict(registered()))
    declared(better={"sharpness": "higher", "sharpness_std": None}, needs=("extractor",))
    assert names("sharpness", "efflite0") == ["sharpness_efflite0", "sharpness_std_efflite0"]
    check_metrics(MetricConfig(names=("sharpness",), best="sharpness_efflite0", every_images=1))


def test_a_metric_whose_package_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "metrics.image_quality", None)
    with pytest.raises(MetricError, match=r"metrics\.image_quality imports .*, which is not installed"):
        registered()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("fid", "ssim")}, "unknown metric ssim: choose from agreement, areas, fid"),
        ({"best": "fid"}, "metrics.best = fid: metrics.names allows fd_efflite0, kd_efflite0"),
        ({"best": "kd_std_efflite0"}, "metrics.names allows"),
        ({"names": ("agreement",), "best": "agreement_real"}, "allows agreement;"),
        ({"names": ("ppl",), "best": "ppl"}, "allows ppl_efflite0;"),
        ({"names": ("ppl",), "lpips": "vgg.pth", "best": "ppl_efflite0"}, "allows ppl;"),
        ({"best": "fd_efflite0"}, "needs metrics.every_images"),
        ({"samples": 0}, "metrics.samples = 0"),
        ({"every_images": -1}, "metrics.every_images = -1"),
        ({"names": ("parts",), "best": "part_fd_efflite0"}, "allows no number;"),
        ({"seed": 2**32}, "metrics.seed = 4294967296: choose from 0 to 4294967295"),
        ({"names": ()}, "metrics.names is empty"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        check_metrics(MetricConfig(**options))
    check_metrics(MetricConfig(best="fd_efflite0", every_images=1))
    check_metrics(MetricConfig(extractor="inception", best="fid", every_images=1))
