import pytest

from metrics.config import MetricConfig
from metrics.registry import METRICS, best_direction, result_names


def test_only_inceptions_distance_is_called_fid():
    assert result_names("fid", "inception") == {"fid": "lower"}
    assert result_names("fid", "efflite0") == {"fd_efflite0": "lower"}
    assert list(result_names("kid", "efflite0")) == ["kd_efflite0", "kd_std_efflite0"]
    assert list(result_names("areas", "efflite0")) == ["area_distance"]


def test_all_names_differ():
    names = [name for metric in METRICS for name in result_names(metric, "efflite0")]
    assert len(set(names)) == len(names)


def test_which_is_better():
    assert best_direction("fd_efflite0") == best_direction("fid") == "lower"
    assert best_direction("locality_shape") == best_direction("precision_efflite0") == "higher"
    assert best_direction("kid_std") is best_direction("unknown") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("fid", "ssim")}, "has ssim: choose from fid, kid"),
        ({"best": "fid"}, "metrics.best = fid: choose from fd_efflite0, kd_efflite0"),
        ({"best": "kd_std_efflite0"}, "choose from"),
        ({"names": ("agreement",), "best": "agreement_real"}, "choose from agreement$"),
        ({"names": ("ppl",), "best": "ppl"}, "choose from ppl_efflite0$"),
        ({"names": ("ppl",), "lpips": "vgg.pth", "best": "ppl_efflite0"}, "choose from ppl$"),
        ({"best": "fd_efflite0"}, "metrics.every_images = 0 measures nothing: set it"),
        ({"samples": 0}, "metrics.samples = 0"),
        ({"every_images": -1}, "metrics.every_images = -1"),
        ({"names": ("parts",), "best": "part_fd_efflite0"}, "choose from $"),
        ({"seed": 2**32}, "metrics.seed = 4294967296: choose from 0 to 4294967295"),
        ({"names": ()}, "metrics.names is empty"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        MetricConfig(**options)
    MetricConfig(best="fd_efflite0", every_images=1)
    MetricConfig(extractor="inception", best="fid", every_images=1)
