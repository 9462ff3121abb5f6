"""Settings: defaults < preset < file < flags, and a file that says the same again."""

from dataclasses import replace

import pytest

from mbz.config import PRESETS
from mbz.training import settings
from mbz.training.config import TrainConfig

DATA = {"data": {"paths": ["/data"]}}


def resolve(file=None, flags=None, **options):
    layers = {"on_cpu": False, "shape_of": lambda _: PRESETS["small"]}
    return settings.resolve({**DATA, **(file or {})}, flags or {}, **layers | options)


def load(tmp_path, text):
    path = tmp_path / "train.toml"
    path.write_text(text)
    return settings.load(path)


def test_later_layers_win():
    train = {"batch": 16, "clip": 2.0}
    assert resolve().train == TrainConfig()
    assert resolve(on_cpu=True).train.batch == 8
    assert resolve({"train": train}, on_cpu=True).train.batch == 16
    both = resolve({"train": train}, {"train": {"batch": 4}}, on_cpu=True).train
    assert (both.batch, both.clip, both.sequence) == (4, 2.0, 2048)


def test_paths_of_flags_come_without_the_weights_of_the_file():
    file = {"data": {"paths": ["/a", "/b"], "weights": [1, 2], "include": ["*.py"]}}
    sources = resolve(file).data.sources
    assert [(str(source.path), source.weight) for source in sources] == [("/a", 1), ("/b", 2)]
    data = resolve(file, {"data": {"paths": ["/other"]}}).data
    assert (data.paths, data.weights, data.include) == (("/other",), (), ("*.py",))


def test_the_model_is_a_preset_changed_by_the_file_unless_a_flag_names_another():
    tiny, base = PRESETS["tiny"], PRESETS["base"]
    assert resolve().model == tiny
    assert resolve({"preset": "base"}).model == base
    wider = {"preset": "base", "model": {"global_stack": {"window": 256}}}
    changed = replace(base, global_stack=replace(base.global_stack, window=256))
    assert resolve(wider).model == changed
    assert resolve(wider, {"preset": "tiny"}).model == tiny


def test_a_limit_means_no_other():
    assert resolve().train.seconds == 600
    assert resolve(flags={"train": {"steps": 5}}).train.seconds == 0
    limits = resolve({"train": {"seconds": 9, "steps": 5}}, {"train": {"seconds": 7}}).train
    assert (limits.seconds, limits.steps) == (7, 0)


def test_a_model_to_start_from_gives_its_shape_and_lower_rates():
    config = resolve(flags={"start": "some"})
    assert config.model == PRESETS["small"]
    train, usual = config.train, TrainConfig()
    assert train.matrix_rate < usual.matrix_rate
    assert train.other_rate < usual.other_rate
    assert (train.decay_from, config.data.validation) == (0, 0.05)
    assert resolve({"start": "some", "train": {"matrix_rate": 0.5}}).train.matrix_rate == 0.5
    with pytest.raises(ValueError, match="start from has another shape"):
        resolve(flags={"start": "some", "preset": "tiny"})
    assert resolve(flags={"start": "some", "preset": "small"}).model == PRESETS["small"]
    assert resolve({"start": "gone", "preset": "tiny"}, shape_of=None).model == PRESETS["tiny"]


@pytest.mark.parametrize("start", [None, "base_v2"])
def test_what_was_resolved_is_loaded_again(tmp_path, start):
    train = {"steps": 7, "average": 0.99, "recompute": True, "validations": 0}
    names = {"name": "mine"} | ({} if start is None else {"start": start})
    config = resolve(flags={"train": train, **names})
    assert (
        settings.resolve(
            load(tmp_path, settings.dump(config)), {}, on_cpu=True, shape_of=lambda _: config.model
        )
        == config
    )


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").touch()
    (tmp_path / "base_v1").mkdir()  # has no model in it
    file = load(tmp_path, 'start = "model"\n[data]\npaths = ["books", "/notes"]\n')
    assert file["data"]["paths"] == [str(tmp_path / "books"), "/notes"]
    assert file["start"] == str(tmp_path / "model")
    assert load(tmp_path, 'start = "base_v2"\n')["start"] == "base_v2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\nbacth = 3\n", r"unknown key 'bacth' in \[train\]; did you mean 'batch'\?"),
        ("[data]\nzzz = 3\n", r"unknown key 'zzz' in \[data\]; known are paths"),
        ("[trian]\n", "unknown key 'trian' in the file; did you mean 'train'"),
        ("train = 3\n", "train in the file must be a table"),
        ('[train]\nbatch = "3"\n', r"batch in \[train\] must be a whole number"),
        ("[train]\nbatch = true\n", r"batch in \[train\] must be a whole number"),
        ("[train]\nrecompute = 1\n", r"recompute in \[train\] must be true or false"),
        ('[data]\npaths = "x"\n', r"paths in \[data\] must be a list, each text"),
        ("name = 3\n", "name in the file must be text"),
        ("[train\n", "not a TOML file"),
    ],
)
def test_files_that_are_wrong_are_refused(tmp_path, text, says):
    with pytest.raises(ValueError, match=rf"train\.toml: {says}"):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml: cannot be read \(No such file"):
        settings.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ({"preset": "huge"}, "preset 'huge' is unknown; take one of tiny, small, base, large"),
        ({"model": {"patchs": 3}}, "unknown fields: patchs"),
        ({"model": {"patch": 0}}, "patch must be"),
        ({"train": {"sequence": 13}}, "sequence must be a multiple of the patch size, "),
        ({"train": {"steps": 0}}, "seconds must be above 0 if steps is 0"),
        ({"train": {"batch": 9, "accumulate": 2}}, "batch must be a multiple of accumulate"),
        ({"train": {"average": 1.0}}, r"average must be in \[0, 1\)"),
        ({"data": {}}, "nothing to train on"),
        ({"data": {"paths": []}}, "paths must name something"),
        ({"data": {"paths": ["a", "b"], "weights": [1]}}, "weights must be one for each"),
        ({"data": {"paths": ["a"], "weights": [0]}}, "weights must be above 0"),
    ],
)
def test_values_out_of_range_are_refused(file, says):
    with pytest.raises(ValueError, match=says):
        resolve(file)


def test_whole_numbers_may_be_rates_and_times():
    assert resolve({"train": {"seconds": 60, "clip": 2}}).train.seconds == 60
