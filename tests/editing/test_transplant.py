"""Parts taken over with their shape: close to the part with all codes of the source, and what else it promises."""

import pytest
import torch

from editing.codes import seed_codes
from editing.inversion import Progress
from editing.mixing import PartSelection, code_index, mix_codes
from editing.transplant import TransplantConfig, compose, hybrid_layer_codes, transplant
from models.latents import to_wplus
from tests.editing.tiny import CONFIG, tiny_generator

HAIR = 2
OWN = torch.tensor([CONFIG.base_layers + 2 * HAIR, CONFIG.base_layers + 2 * HAIR + 1])


def test_the_target_is_the_source_in_one_part_and_the_face_in_all_others() -> None:
    generator = tiny_generator()
    codes, source = seed_codes(generator, [0]), seed_codes(generator, [1])
    layer_codes = hybrid_layer_codes(generator, codes, source, HAIR)
    assert torch.equal(layer_codes[:, HAIR], generator.expand(source)[:, HAIR])
    for part in (0, 1, 3):
        assert torch.equal(layer_codes[:, part], generator.expand(codes)[:, part])


def test_the_composition_is_that_of_the_generator() -> None:
    generator = tiny_generator()
    layer_codes = generator.expand(seed_codes(generator, [0, 1]))
    with torch.no_grad():
        coarse = generator.synthesis_from_layer_codes(layer_codes).coarse
        masks = compose(generator, layer_codes, generator.positions()).masks
        some = compose(generator, layer_codes, generator.positions()[..., 1::2, ::2])
    torch.testing.assert_close(2 * masks - 1, coarse)
    torch.testing.assert_close(some.masks, masks[..., 1::2, ::2])


def test_a_search_comes_closer_than_a_copy_and_samples_do_not_affect_each_other() -> None:
    generator = tiny_generator()
    codes, source = seed_codes(generator, [0, 1, 2]), seed_codes(generator, [5])
    copy = mix_codes(codes, source, OWN, CONFIG)
    result = transplant(generator, codes, source, HAIR)
    with torch.no_grad():
        wanted, copied, found = (
            compose(generator, layer_codes, generator.positions()).masks
            for layer_codes in (
                hybrid_layer_codes(generator, codes, source, HAIR),
                generator.expand(copy),
                generator.expand(result),
            )
        )
    errors = [(masks - wanted).square().mean((1, 2, 3)) for masks in (copied, found)]
    assert (errors[1] < 0.5 * errors[0]).all()
    torch.testing.assert_close(transplant(generator, codes[1:2], source, HAIR), result[1:2], atol=1e-3, rtol=1e-3)
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_fixed_vectors_keep_their_values_and_the_others_make_up_for_it() -> None:
    generator = tiny_generator()
    codes, source = to_wplus(seed_codes(generator, [0]), CONFIG), to_wplus(seed_codes(generator, [5]), CONFIG)
    locked = code_index(CONFIG, PartSelection((1, 3), base=False))
    result = transplant(generator, codes, source, HAIR, fixed=locked)
    assert torch.equal(result[:, locked], codes[:, locked])
    later = transplant(generator, codes, source, HAIR)
    later[:, locked] = codes[:, locked]
    with torch.no_grad():
        wanted = compose(generator, hybrid_layer_codes(generator, codes, source, HAIR), generator.positions())
        errors = [
            (compose(generator, generator.expand(each), generator.positions()).masks - wanted.masks).square().mean()
            for each in (result, later)
        ]
    assert errors[0] < errors[1]


def test_the_shape_alone_is_taken_if_textures_are_fixed() -> None:
    generator = tiny_generator()
    codes, source = to_wplus(seed_codes(generator, [0]), CONFIG), to_wplus(seed_codes(generator, [5]), CONFIG)
    textures = code_index(CONFIG, None, "texture")
    result = transplant(generator, codes, source, HAIR, TransplantConfig(steps=0), fixed=textures)
    expected = mix_codes(codes, source, code_index(CONFIG, PartSelection((HAIR,), base=False), "shape"), CONFIG)
    assert torch.equal(result, expected)


def test_previews_begin_with_the_plain_copy() -> None:
    generator, seen = tiny_generator(), list[Progress]()
    codes, source = to_wplus(seed_codes(generator, [0]), CONFIG), seed_codes(generator, [1])
    result = transplant(generator, codes, source, HAIR, TransplantConfig(steps=5, preview_every=2), seen.append)
    assert [each.step for each in seen] == [0, 2, 4, 5]
    with torch.no_grad():
        copy = generator.synthesis(mix_codes(codes, source, OWN, CONFIG)).image
        torch.testing.assert_close(seen[0].images, copy)
        torch.testing.assert_close(seen[-1].images, generator.synthesis(result).image)


def test_the_background_and_no_steps_need_a_copy_alone() -> None:
    generator = tiny_generator()
    codes, source = seed_codes(generator, [0]), seed_codes(generator, [1])
    first = CONFIG.base_layers
    expected = mix_codes(codes, source, torch.tensor([first, first + 1]), CONFIG)
    assert torch.equal(transplant(generator, codes, source, 0), expected)
    copy = mix_codes(codes, source, OWN, CONFIG)
    assert torch.equal(transplant(generator, codes, source, HAIR, TransplantConfig(steps=0)), copy)


def test_a_callback_can_stop_the_search() -> None:
    generator = tiny_generator()

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transplant(generator, seed_codes(generator, [0]), seed_codes(generator, [1]), HAIR, callback=stop)
