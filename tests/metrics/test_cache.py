import torch

from metrics.cache import cache_folder, load_statistics, store_statistics


def test_what_is_stored_belongs_to_its_facts(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts = {"data": "abc", "extractor": "efflite0"}
    assert load_statistics(facts) is None
    store_statistics(facts, {"pooled": torch.ones(2, 3)})
    assert torch.equal(load_statistics(facts)["pooled"], torch.ones(2, 3))
    assert load_statistics({**facts, "data": "abd"}) is None
    assert load_statistics({**facts, "resize": "bilinear"}) is None


def test_damaged_files_are_computed_again(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store_statistics({"data": 1}, {"x": torch.ones(100)})
    (file,) = (cache_folder() / "statistics").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert load_statistics({"data": 1}) is None
    store_statistics({"data": 1}, {"x": torch.zeros(1)})
    assert load_statistics({"data": 1})["x"].tolist() == [0]
    torch.save([1, 2], file)
    assert load_statistics({"data": 1}) is None


def test_a_cache_that_cannot_be_written_is_none(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    store_statistics({"data": 1}, {"x": torch.ones(1)})
    assert load_statistics({"data": 1}) is None
