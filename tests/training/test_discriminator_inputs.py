import pytest
import torch

from datasets.augment import Augmentation, AugmentConfig
from datasets.class_files import celebamask13
from datasets.transforms import labels_to_one_hot, soften
from training.discriminator_inputs import PairInputs

CPU = torch.device("cpu")


@pytest.mark.parametrize("augmented", [False, True])
def test_real_masks_are_soft_if_asked_for(augmented):
    records = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.randint(0, 13, (2, 8, 8), dtype=torch.uint8)
    augmentation = Augmentation(AugmentConfig(probability=0.5), celebamask13(), CPU) if augmented else None
    seen = []
    for soft_masks in (False, True):
        torch.manual_seed(0)
        inputs = PairInputs(celebamask13(), CPU, augmentation, soft_masks)
        seen.append(inputs.real(records, torch.tensor(0.5))[1])
    assert torch.equal(seen[1], soften(seen[0]))
    assert set(seen[0].unique().tolist()) == {-1, 1}
    assert augmented or torch.equal(seen[0], labels_to_one_hot(records[1], 13))
