import pytest

from models import ModelConfig
from utils.errors import ModelError


@pytest.mark.parametrize("num_classes", [2, 13, 64])
@pytest.mark.parametrize("resolution", [16, 64, 1024, (512, 768), (64, 16)])
def test_sizes_the_paper_never_used(num_classes, resolution):
    config = ModelConfig(resolution=resolution, num_classes=num_classes, coarse_resolution=16, render_resolution=8)
    assert config.num_codes == 2 + 2 * num_classes


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("resolution", 100, "nearest possible value is 96"),
        ("resolution", 2048, "nearest possible value is 1024"),
        ("resolution", (100, 60), "model.resolution = [100, 60]"),
        ("resolution", (100, 60), "nearest possible value is [96, 64]"),
        ("coarse_resolution", 512, "choose one of 4, 8, 16, 32, 64, 128, 256"),
        ("render_resolution", 128, "choose one of 4, 8, 16, 32, 64"),
        ("num_classes", 1, "2 to 64"),
        ("num_classes", 65, "2 to 64"),
        ("local_channels", 0, "1 to 4096"),
        ("depth_layers", 10, "depth_layers < local_layers"),
        ("base_layers", 6, "base_layers < depth_layers"),
        ("position_octaves", -1, "0 to 16"),
        ("position_octaves", 17, "0 to 16"),
        ("channel_base", 100, "at least 256"),
        ("transparent_classes", (13,), "0 to 12"),
        ("transparent_classes", (3, 3), "once"),
        ("transparent_classes", tuple(range(13)), "opaque"),
    ],
)
def test_impossible_sizes_name_option_and_remedy(option, value, word):
    with pytest.raises(ModelError, match=f"model.*{option}") as raised:
        ModelConfig(**{option: value})
    assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_render_net_without_octaves_is_refused():
    with pytest.raises(ModelError, match="render_resolution"):
        ModelConfig(resolution=16, coarse_resolution=16, render_resolution=16)
