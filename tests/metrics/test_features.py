import contextlib
import hashlib

import pytest
import torch
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.utils import create_feature_extractor, extract_featuresdict_from_input_id

from metrics import features
from metrics.features import efflite0, inception
from utils.errors import MetricError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    return torch.randint(256, (3, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file like Inception's, with random numbers."""
    torch.manual_seed(0)
    network = _without_weights()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):  # as drawn by the constructor, features would be next to nothing
            torch.nn.init.kaiming_normal_(module.weight)
    path = tmp_path_factory.mktemp("weights") / features.INCEPTION_FILE
    torch.save(network.state_dict(), path)
    return path


def _without_weights() -> torch.nn.Module:
    """torch-fidelity's network as its constructor makes it, before it fetches a file."""
    made = []

    class Made(Exception):  # noqa: N818 - no error
        pass

    def keep(self, *arguments, **options):
        made.append(self)
        raise Made

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Made):
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", keep)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **o: {})
        FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], verbose=False)
    return made[0]


def test_efflite0(images):
    extractor = efflite0(CPU)
    found = extractor.features(images)
    assert found.pooled.shape == (3, 1280)
    assert found.logits.shape == (3, 1000)
    assert torch.allclose(extractor.features(images[1:2]).pooled, found.pooled[1:2], atol=1e-4)
    assert str(extractor) == "efflite0, antialiased bicubic to 224"


def test_only_bytes_are_images(images):
    with pytest.raises(ValueError, match="uint8"):
        efflite0(CPU).features(images.float())


def test_inceptions_features_are_torch_fidelitys_on_the_same_files(images, weights, monkeypatch, tmp_path):
    monkeypatch.setattr(features, "INCEPTION_SHA256", hashlib.sha256(weights.read_bytes()).hexdigest()[:8])
    for index, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
    theirs = extract_featuresdict_from_input_id(
        1,
        create_feature_extractor(
            "inception-v3-compat",
            ["2048", "logits_unbiased"],
            cuda=False,
            verbose=False,
            feature_extractor_weights_path=str(weights),
        ),
        input1=str(tmp_path),
        cuda=False,
        verbose=False,
        batch_size=2,
    )
    ours = inception(weights, CPU).features(images)
    assert torch.allclose(ours.pooled, theirs["2048"], rtol=1e-4, atol=1e-5)
    assert torch.allclose(ours.logits, theirs["logits_unbiased"], rtol=1e-4, atol=1e-5)
    assert ours.pooled.std() > 0.1


def test_another_file_is_refused(tmp_path, weights):
    with pytest.raises(MetricError, match=r"no such file: fetch pt_inception-2015-12-05-6726825d.pth"):
        inception(tmp_path / "missing.pth", CPU)
    with pytest.raises(MetricError, match=r"its SHA-256 begins with \w{8}, not 6726825d: fetch"):
        inception(weights, CPU)
