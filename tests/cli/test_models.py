"""Finding models: `mbz.zoo`, `mbz models`, and the registry of shipped models."""

import json
import re
import shutil

import pytest
from vectors import model_vectors

from mbz import zoo
from mbz.errors import ModelError, ModelMismatch


@pytest.fixture(autouse=True)
def search(tiny_model_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MBZ_MODELS", str(tiny_model_dir.parent))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_models_are_found_by_path_and_name(tiny_model_dir, monkeypatch):
    assert zoo.find(str(tiny_model_dir)) == tiny_model_dir
    assert zoo.find("tiny-test") == tiny_model_dir
    registry = zoo.Registry(default="tiny", aliases={"tiny": "tiny-test"})
    monkeypatch.setattr(zoo, "registry", lambda: registry)
    assert zoo.find("tiny") == tiny_model_dir
    assert zoo.find() == tiny_model_dir
    assert [model.default for model in zoo.installed() if model.name == "tiny-test"] == [True]


def test_earlier_places_win(tiny_model_dir, tmp_path, monkeypatch):
    data = tmp_path / "data" / "mbz" / "models"
    shutil.copytree(tiny_model_dir, data / "tiny-test")
    assert zoo.find("tiny-test") == tiny_model_dir
    monkeypatch.delenv("MBZ_MODELS")
    assert zoo.find("tiny-test") == data / "tiny-test"


@pytest.mark.parametrize("name", ["nosuch", "./nosuch", "..", ".", ""])
def test_missing_models_are_named(name):
    with pytest.raises(ModelError, match=r"models list|not a model folder"):
        zoo.find(name)


def test_models_are_found_by_fingerprint(tiny_model_dir, tmp_path):
    fingerprint = zoo.fingerprint(tiny_model_dir)
    assert zoo.find_by_fingerprint(fingerprint[:8]) == tiny_model_dir
    assert zoo.find_by_fingerprint(fingerprint, "renamed") == tiny_model_dir
    with pytest.raises(ModelMismatch, match=f"'x' with fingerprint {bytes(8).hex()}.*{tmp_path}"):
        zoo.find_by_fingerprint(bytes(8), "x")


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 8, b"\2\0\0\0\0\0\0\0{}", b"\2\0\0\0\0\0\0\0[]", b"\xff\0\0\0\0\0\0\0{"]
)
def test_files_that_are_no_weights(tmp_path, data):
    (tmp_path / "weights.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="not a model of mbz"):
        zoo.metadata(tmp_path)


def test_commands(mbz, tiny_model_dir):
    models = {model["name"]: model for model in json.loads(mbz("models", "list", "--json").stdout)}
    assert models["tiny-test"]["path"] == str(tiny_model_dir)
    assert "tiny-test" in mbz("models", "list").stdout
    assert mbz("models", "path", "tiny-test").stdout == f"{tiny_model_dir}\n"
    shown = mbz("models", "show", "tiny-test").stdout
    assert zoo.fingerprint(tiny_model_dir).hex() in shown
    assert "name: tiny-test" in shown
    assert mbz("models", "path", "nosuch").exit_code == 1


def test_the_registry_says_what_is_shipped(monkeypatch):
    monkeypatch.setenv("MBZ_MODELS", "")
    registry = zoo.registry()
    shipped = {model.name: model for model in zoo.installed()}
    assert shipped.keys() == registry.models.keys()
    for name, model in shipped.items():
        entry = registry.models[name]
        assert entry["fingerprint"] == model.fingerprint.hex()
        assert entry["bytes"] == model.size
        assert zoo.metadata(model.path)["name"] == name
        assert (model.path / "README.md").is_file()
        assert (model.path / "vectors.json").is_file()
        assert zoo.shipped_name(model.fingerprint[:8]) == name
    assert set(registry.aliases.values()) <= registry.models.keys()
    assert registry.default is None or zoo.find() in [model.path for model in shipped.values()]


def test_models_are_verified(mbz, tiny_model_dir, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(tiny_model_dir, folder)
    fingerprint = zoo.fingerprint(folder).hex()
    says = f"passes its self-test (it has no vectors.json), fingerprint {fingerprint}\n"
    assert mbz("models", "verify", folder).stdout == f"tiny-test: {says}"
    model_vectors.write(folder)
    said = f"tiny-test: passes its golden vectors, fingerprint {fingerprint}\n"
    assert mbz("models", "verify", folder).stdout == said
    assert mbz("models", "verify", "-q", folder).output == ""

    path = folder / "vectors.json"
    golden = json.loads(path.read_text())
    for name, value in golden.items():
        other = {} if isinstance(value, dict) else "00"
        path.write_text(json.dumps(golden | {name: other}))
        result = mbz("models", "verify", folder, tiny_model_dir)
        assert result.exit_code == 1
        assert re.fullmatch(rf"mbz: [^\n]*{re.escape(str(path))}[^\n]*\n", result.stderr)
        assert result.stdout == f"tiny-test: {says}"
    path.write_text("[" * 10**5)
    assert "cannot be read" in mbz("models", "verify", folder).stderr


def test_shipped_models_are_verified(mbz):
    said = mbz("models", "verify").stdout
    for name in zoo.registry().models:
        assert f"{name}: passes its golden vectors" in said
