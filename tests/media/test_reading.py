"""Files of pictures, sound and video as sequences."""

import wave

import numpy as np
import pytest
from PIL import Image

from mbz.errors import MbzError
from mbz.media.reading import Reading


def contents(path, kind, scan="", patch=12):
    reading = Reading(kind=kind, scan=scan, patch=patch)
    return [[order() for order in content.orders] for content in reading.contents(path)]


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm"])
def test_an_image(tmp_path, pixels, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    assert contents(path, "auto", "raster") == [[pixels.tobytes()]]
    assert len(contents(path, "image", "hybrid")[0]) == 3


def test_an_array_is_many_images(tmp_path, pixels):
    path = tmp_path / "a.npy"
    np.save(path, np.stack([pixels, 255 - pixels]))
    assert contents(path, "image", "raster") == [[pixels.tobytes()], [(255 - pixels).tobytes()]]
    [[clip]] = contents(path, "video", "patch:2x2")
    assert clip[:24] == pixels[:2, :2].tobytes() + (255 - pixels[:2, :2]).tobytes()


@pytest.mark.parametrize("width", [1, 2])
def test_sound(tmp_path, width):
    path, data = tmp_path / "a.wav", bytes(range(48))
    with wave.open(str(path), "wb") as file:
        file.setparams((2, width, 8000, 0, "NONE", ""))
        file.writeframes(data)
    assert contents(path, "auto") == [[data]]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(MbzError, match="cut off"):
        contents(path, "audio")


@pytest.mark.parametrize(("colours", "planes"), [("C444", 1), ("C420jpeg", 3), ("Cmono", 1)])
def test_video(tmp_path, colours, planes):
    size = {"C444": 72, "C420jpeg": 36, "Cmono": 24}[colours]
    path, frame = tmp_path / "a.y4m", bytes(range(size))
    text = f"YUV4MPEG2 W4 H6 F25:1 {colours}\n".encode()
    path.write_bytes(text + b"FRAME\n" + frame + b"FRAME\n" + frame)
    [[data]] = contents(path, "auto", "raster")
    assert sorted(data) == sorted(frame * 2)
    if planes == 3:  # each plane of all frames, one after the other
        assert data[:48] == frame[:24] * 2
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MbzError, match="cut off"):
        contents(path, "video")


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.wav", "a.y4m"])
def test_broken_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"P6 not at all what it should be")
    kind = "image" if name == "a.npy" else "auto"
    with pytest.raises(MbzError, match=r"^(is|has) no"):
        contents(path, kind)


def test_plain_bytes_have_no_scan():
    with pytest.raises(ValueError, match="plain bytes"):
        Reading(kind="bytes", scan="patch", patch=12)
