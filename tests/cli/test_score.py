"""`mbz score`."""

import csv
import errno
import io
import json
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path, content):
    place = tmp_path / "folder"
    place.mkdir()
    (place / "a.txt").write_bytes(content)
    (place / "b.bin").write_bytes(bytes(range(200)))
    (place / "empty").write_bytes(b"")
    return place


def scores(mbz, *args, code=0, data=None):
    result = mbz("score", "-m", "tiny-test", "--json", *args, data=data)
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout), result.stderr


def test_a_table_with_a_total(mbz, folder):
    result = mbz("score", "-m", "tiny-test", folder)
    assert result.exit_code == 0
    head, *rows, total = result.stdout.splitlines()
    assert head.split() == ["file", "bytes", "bpb", "best", "worst"]
    assert [row.split()[:2] for row in rows] == [
        [str(folder / "a.txt"), "400"],
        [str(folder / "b.bin"), "200"],
        [str(folder / "empty"), "0"],
    ]
    assert total.split()[:2] == ["total", "600"]


def test_the_total_is_of_all_bytes(mbz, folder):
    found, _ = scores(mbz, folder)
    bits = sum(row["bits"] for row in found["rows"])
    assert found["total"]["bpb"] == pytest.approx(bits / 600)
    assert found["rows"][2]["bpb"] is None


def test_failures_are_reported_and_the_rest_is_scored(mbz, folder):
    (folder / "b.bin").unlink()
    (folder / "b.bin").symlink_to("/proc/self/mem")  # a file that root cannot read either
    found, errors = scores(mbz, folder, folder / "none", code=1)
    assert [row["bytes"] for row in found["rows"]] == [400, 0]
    assert str(folder / "none") in errors
    assert f"{folder / 'b.bin'}: " in errors


def test_images_and_sound(mbz, folder):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "c.png")
    (folder / "d.jpg").write_bytes(b"no image")
    with wave.open(str(folder / "e.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(100))
    found, errors = scores(mbz, "--as", "auto", folder, code=1)
    assert [row["bytes"] for row in found["rows"]] == [400, 200, 192, 100, 0]
    assert f"{folder / 'd.jpg'}: " in errors
    one, _ = scores(mbz, "--as", "image", "--scan", "raster", folder / "c.png")
    best, _ = scores(mbz, "--as", "image", "--scan", "hybrid", folder / "c.png")
    assert best["total"]["bits"] <= one["total"]["bits"] + np.log2(3) + 1e-3


def test_a_folder_of_everything_is_scored_but_for_what_fails(mbz, folder, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "c.png")
    whole = (folder / "c.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    with wave.open(str(folder / "e.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(100))
    (folder / "secret.txt").write_bytes(b"nobody may read this")
    opened = Path.open

    def refusing(path, *args, **settings):
        if path.name == "secret.txt":  # rights alone would not stop root
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **settings)

    monkeypatch.setattr(Path, "open", refusing)
    found, errors = scores(mbz, "--as", "auto", folder, code=1)
    sizes = {Path(row["name"]).name: row["bytes"] for row in found["rows"]}
    assert sizes == {"a.txt": 400, "b.bin": 200, "c.png": 192, "e.wav": 100, "empty": 0}
    assert found["total"]["bytes"] == 892
    lines = errors.splitlines()
    assert len(lines) == 2
    assert any(line.startswith(f"mbz: {folder / 'broken.png'}: ") for line in lines)
    assert any(line.startswith(f"mbz: {folder / 'secret.txt'}: ") for line in lines)
    (folder / "secret.txt").unlink()
    (folder / "broken.png").unlink()
    scores(mbz, "--as", "auto", folder, code=0)


def test_standard_input(mbz, content):
    found, _ = scores(mbz, data=content)
    assert found["total"]["bytes"] == len(content)


def test_exact_is_what_an_archive_takes(mbz, folder):
    found, _ = scores(mbz, "--exact", folder / "a.txt")
    mbz("compress", "-m", "tiny-test", "--no-mix", folder / "a.txt")
    [archive] = json.loads(mbz("list", "--json", folder / "a.txt.mbz").stdout)
    [block] = archive["blocks"]
    assert block["kind"] == "coded"
    assert abs(found["total"]["bits"] - 8 * block["bytes"]) <= 8  # rounded up to bytes


def test_exact_is_within_a_thousandth_of_an_archive_of_a_shipped_model(mbz, tmp_path):
    text = tmp_path / "format.md"
    text.write_bytes((Path(__file__).parents[2] / "docs" / "format.md").read_bytes())
    found = json.loads(mbz("score", "-m", "tiny", "--exact", "--json", text).stdout)
    mbz("compress", "-m", "tiny", "--no-mix", text)
    [archive] = json.loads(mbz("list", "--json", tmp_path / "format.md.mbz").stdout)
    coded = 8 * sum(block["bytes"] for block in archive["blocks"])
    assert {block["kind"] for block in archive["blocks"]} == {"coded"}
    assert found["total"]["bits"] == pytest.approx(coded, rel=1e-3)


def test_windows_cost_context(mbz, folder):
    whole, _ = scores(mbz, folder / "a.txt")
    cut, _ = scores(mbz, "--context", "16", folder / "a.txt")
    slid, _ = scores(mbz, "--context", "16", "--slide", "--stride", folder / "a.txt")
    assert len({found["total"]["bits"] for found in (whole, cut, slid)}) == 3


def test_groups_and_csv(mbz, folder):
    result = mbz("score", "-m", "tiny-test", "--csv", "--by", "ext", folder)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["name"], row["bytes"]) for row in rows] == [
        ("(none)", "0"),
        (".bin", "200"),
        (".txt", "400"),
    ]


@pytest.mark.parametrize(
    "flags", [("--exact", "--mix"), ("--mix", "--stride"), ("--json", "--csv"), ("--exact", "-0")]
)
def test_contradictions(mbz, folder, flags):
    model = () if "-0" in flags else ("-m", "tiny-test")
    result = mbz("score", *model, *flags, folder)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_outputs(mbz, folder, tmp_path):
    page, array = tmp_path / "page.html", tmp_path / "bits.npy"
    args = (folder / "a.txt", "--heatmap", page, "--per-byte", array)
    found, _ = scores(mbz, *args)
    bits = np.load(array, allow_pickle=False)
    assert bits.shape == (400,)
    assert bits.sum() == pytest.approx(found["total"]["bits"], rel=1e-5)
    assert page.read_text().startswith("<!DOCTYPE html>")
    refused = mbz("score", "-m", "tiny-test", *args)
    assert refused.exit_code == 1
    assert "exists" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bits.npy", "folder", "page.html"]
    assert mbz("score", "-m", "tiny-test", "-f", *args).exit_code == 0


def test_bits_of_each_byte_are_of_one_file(mbz, folder, tmp_path):
    result = mbz("score", "-m", "tiny-test", "--per-byte", tmp_path / "bits.npy", folder)
    assert result.exit_code == 1
    assert not (tmp_path / "bits.npy").exists()


def test_the_most_surprising(mbz, folder):
    (folder / "c.txt").write_bytes(bytes(500) + b"surprise" * 8 + bytes(500))
    found, _ = scores(mbz, "--top", "1", folder)
    assert len(found["rows"]) == len(found["places"]) == 1
    assert found["rows"][0]["bpb"] == max(row["bpb"] or 0 for row in scores(mbz, folder)[0]["rows"])
    assert found["places"][0]["offset"] % 64 == 0


def test_colours_in_the_terminal(mbz, folder):
    result = mbz("score", "-m", "tiny-test", "--heatmap", "-", folder / "b.bin")
    assert "00000000  00 01 02" in result.stdout
