"""Which device `--device auto` is."""

import pytest
from mbz_cli.predictors import Models


@pytest.mark.parametrize(
    ("device", "sizes", "settled"),
    [
        ("auto", [99], "cpu"),
        ("auto", [50, 49], "cpu"),
        ("auto", [], "cpu"),
        ("auto", [100], "auto"),
        ("auto", [50, 50], "auto"),
        ("cuda", [1], "cuda"),
        ("cpu", [1], "cpu"),
    ],
)
def test_small_files_do_not_wait_for_cuda(device, sizes, settled, tmp_path):
    paths = [tmp_path / str(number) for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(bytes(size))
    models = Models(folder=None, device=device, threads=None)
    models.settle([str(path) for path in paths], 100)
    assert models.device == settled


@pytest.mark.parametrize("name", ["-", "missing", "."])
def test_unknown_amounts_may_use_cuda(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models = Models(folder=None, device="auto", threads=None)
    models.settle([name], 1 << 30)
    assert models.device == "auto"
