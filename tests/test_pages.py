"""docs/cli.md and the man page say what the commands say."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("commands", DOCS / "commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PAGES


@pytest.mark.parametrize("name", ["cli.md", "mbz.1"])
def test_pages_are_in_step(pages, name):
    assert pages[name]() == (DOCS / name).read_text(encoding="utf-8"), "run `make docs`"


def test_every_command_has_help(pages):
    for section in pages["cli.md"]().split("\n## ")[1:-3]:
        title, usage, text = section.split("\n\n")[:3]
        assert usage.strip().startswith(title)
        assert text.endswith((".", ":"))
        assert "\n| `-h, --help` |" in section
        for line in section.splitlines():
            assert not line.endswith("` |  |"), f"{title}: {line} has no help"
