"""Writes the photographs that paper_data.py takes crops of, from packages of Debian.

    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds \
        plasma-workspace-wallpapers gcompris-qt-data
    python benchmarks/paper_photos.py --packages . --out PHOTOS

Of the wallpapers those that are photographs, 1,080 pixels high at most; of gcompris the WebP
pictures of 300 pixels or more in six of its activities, which lie in resource files of Qt.
"""

import argparse
import io
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

HIGHEST = 1080
DRAWN = ("analogpattern", "umang", "Fossa", "Painting", "Infinite")  # how names of the others begin
PLASMA = (
    "Autumn", "Canopee", "DarkestHour", "EveningGlow", "FallenLeaf", "Grey", "Path", "summer_1am",
)  # fmt: skip
ACTIVITIES = re.compile(
    "details|erase|explore_farm|explore_world_animals|explore_monuments|explore_world_music"
)


def wallpapers(root: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of photographs."""
    for pattern in ("lomiri*/usr/share/backgrounds/*", "mate*/usr/share/backgrounds/mate/nature/*"):
        for file in sorted(root.glob(pattern)):
            if file.suffix in {".jpg", ".png"} and not file.stem.startswith(DRAWN):
                yield file.stem, file
    for name in PLASMA:
        yield name, min(root.glob(f"plasma*/usr/share/wallpapers/{name}/contents/images/*"))


def animals_and_places(root: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of WebP pictures."""
    for file in sorted(root.glob("gcompris*/usr/share/gcompris-qt/rcc/*.rcc")):
        if not ACTIVITIES.search(file.stem):
            continue
        content = file.read_bytes()
        for number, found in enumerate(re.finditer(b"RIFF(....)WEBP", content, re.DOTALL)):
            size = int.from_bytes(found[1], "little") + 8
            picture = content[found.start() : found.start() + size]
            with Image.open(io.BytesIO(picture)) as opened:
                if min(opened.size) >= 300:
                    yield f"{file.stem}-{number}", picture


def main() -> None:
    """Writes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, required=True, help="folder of the .deb files")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for package in args.packages.glob("*.deb"):
            name = package.name.partition("_")[0]
            subprocess.run(["dpkg-deb", "-x", str(package), str(root / name)], check=True)  # noqa: S607
        for name, file in wallpapers(root):
            with Image.open(file) as opened:
                picture = opened.convert("RGB")
            if picture.height > HIGHEST:
                size = round(picture.width * HIGHEST / picture.height), HIGHEST
                picture = picture.resize(size, Image.Resampling.LANCZOS)
            picture.save(args.out / f"{name}.jpg", quality=90)
        for name, content in animals_and_places(root):
            (args.out / f"{name}.webp").write_bytes(content)


if __name__ == "__main__":
    main()
