import pytest
import torch

from models import load_discriminator, load_generator
from models.checkpoint import load_networks
from scripts.convert_checkpoint import main
from tests.golden_cases import golden_cases
from utils.cli import run


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Case b, written only once, as it takes hundreds of megabytes."""
    case = next(case for case in golden_cases() if case.name == "b")
    path = tmp_path_factory.mktemp("released") / "released.pt"
    torch.save(case.checkpoint(), path)
    return path


@pytest.fixture
def released(large, tmp_path):
    (tmp_path / "released.pt").hardlink_to(large)
    return tmp_path / "released.pt"


def test_converted_networks_are_the_released_ones(released, tmp_path, capsys):
    target = tmp_path / "ours.pt"
    main([str(released), str(target)])
    assert "generator, generator_ema, discriminator at 32 pixels, 4 classes" in capsys.readouterr().out
    for load in (load_generator, load_discriminator):
        theirs, ours = load(released).state_dict(), load(target).state_dict()
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert load_networks(target).classes["names"][0] == "class_0"


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("released.pt", "released.pt", "exists: choose another name"),
        ("released.pt", "absent/ours.pt", "cannot write"),
        ("absent.pt", "ours.pt", "no such file"),
    ],
)
def test_mistakes_write_no_files(released, tmp_path, capsys, source, target, message):
    with pytest.raises(SystemExit) as exit_:
        run(lambda: main([str(tmp_path / source), str(tmp_path / target)]))
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["released.pt"]
