import torch

from metrics.locality import Locality


def quarters(resolution: int = 8) -> torch.Tensor:
    """Two samples with classes 0 to 3 in the four quarters."""
    half = torch.arange(resolution) // (resolution // 2)
    return (2 * half[:, None] + half).to(torch.uint8).expand(2, -1, -1).clone()


def grey(level: int, resolution: int = 8) -> torch.Tensor:
    return torch.full((2, 3, resolution, resolution), level, dtype=torch.uint8)


def one_edit(part: int, *tensors: torch.Tensor) -> Locality:
    """The locality of one batch of edits, 4 classes."""
    locality = Locality(4)
    locality.update(part, *tensors)
    return locality


def test_a_change_inside_the_part_is_wholly_local():
    labels, before = quarters(), grey(200)
    after = before.clone()
    after[(labels == 2)[:, None].expand_as(after)] = 10
    locality = Locality(4)
    locality.update(2, before, after, labels, labels)
    assert locality.table()[2].tolist() == [0, 0, 1, 0]
    assert locality.mean() == 1 / 4


def test_a_change_everywhere_is_shared_by_area():
    labels = quarters()
    labels[:, 0] = 3  # row 0: class 3 grows, 0 and 1 shrink
    locality = Locality(5)
    locality.update(3, grey(100), grey(90), labels, labels)
    assert locality.table()[3].tolist() == [12 / 64, 12 / 64, 16 / 64, 24 / 64, 0]
    assert locality.chance()[3] == 24 / 64
    assert locality.mean() == 24 / 64 / 5


def test_what_a_part_uncovers_or_newly_covers_is_local():
    before, after, old, new = grey(0), grey(0), quarters(), quarters()
    new[:, :4, :4] = 1  # class 1 now covers the quarter of 0
    after[:, :, :4, :4] = 9
    assert one_edit(1, before, after, old, new).change[1].tolist() == [0, 9 * 3 * 32, 0, 0]
    assert one_edit(1, after, before, new, old).change[1].tolist() == [0, 9 * 3 * 32, 0, 0]
    # For any other part, a pixel belongs to the class that it had before.
    assert one_edit(2, before, after, old, new).change[2].tolist() == [9 * 3 * 32, 0, 0, 0]


def test_changes_up_and_down_do_not_cancel():
    before, after, labels = grey(0), grey(0), quarters()
    before[:, 0], after[:, 1] = 255, 255
    assert one_edit(0, before, after, labels, labels).change[0].tolist() == [2 * 255 * 32] * 4


def test_samples_without_the_part_are_left_out_and_counted():
    labels = quarters()
    labels[1] = 0
    locality = Locality(4)
    locality.update(3, grey(0), grey(5), labels, labels)
    assert locality.table()[3].tolist() == [0.25] * 4  # of the first sample alone
    assert locality.samples.tolist() == [0, 0, 0, 1]


def test_a_part_that_appears_counts():
    labels = torch.zeros_like(quarters())
    edit = one_edit(3, grey(0), grey(5), labels, quarters())
    assert edit.samples[3] == 2
    assert edit.area[3].tolist() == [2 * 48, 0, 0, 2 * 16]


def test_batches_add_up():
    before, after = torch.randint(256, (2, 6, 3, 8, 8), dtype=torch.uint8)
    old, new = torch.randint(4, (2, 6, 8, 8), dtype=torch.uint8)
    whole, split = Locality(4), Locality(4)
    for part in range(4):
        whole.update(part, before, after, old, new)
        for some in (slice(4, 6), slice(0, 4)):
            split.update(part, before[some], after[some], old[some], new[some])
    assert torch.equal(whole.table(), split.table())
    assert torch.equal(whole.samples, split.samples)
    torch.testing.assert_close(whole.table().sum(1), torch.ones(4, dtype=torch.float64))


def test_parts_without_samples_or_change_have_no_row_and_count_nothing():
    labels = quarters()
    locality = Locality(5)
    locality.update(4, grey(0), grey(9), labels, labels)  # no sample has class 4
    locality.update(1, grey(9), grey(9), labels, labels)  # nothing changes
    assert locality.table().isnan().all()
    assert locality.mean() == 0
    locality.update(0, grey(0), grey(9), labels, labels)
    assert locality.mean() == 0.25 / 5
