"""The counts stay the same when libraries are held to the instructions of other processors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import backend_digests
import pytest
from numpy._core import _multiarray_umath as numpy_core

from mbz import weights
from mbz.compiled import FEATURES
from mbz.exact.reference import ReferencePredictor

# What numpy would choose here beyond its baseline; it warns of other names.
NUMPY_FEATURES = " ".join(
    name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[name]
)


def without(*beginnings: str) -> str:
    """Features of this processor but some, which numba does not leave out for a name alone."""
    return ",".join(name for name in FEATURES if not name[1:].startswith(beginnings))


OLDEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",  # heeded on processors of Intel
    "MKL_CBWR": "COMPATIBLE",  # heeded on all
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": NUMPY_FEATURES,
    "NUMBA_CPU_NAME": "generic",
}
SETTINGS = [
    *({name: value} for name, value in OLDEST.items()),
    {"ATEN_CPU_CAPABILITY": "avx2"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},  # int8 products without VNNI
    {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"OPENBLAS_CORETYPE": "Haswell"},
    # Pairs of int16 in 256 bits, and in 512 bits; bytes by VNNI in 256 bits.
    {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": without("avx512", "avxvnni", "amx")},
    {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": without("avx512vnni", "avxvnni")},
    {"NUMBA_CPU_NAME": "alderlake", "NUMBA_CPU_FEATURES": without("avx512", "amx")},
    OLDEST,
]
NEEDED = {  # by processors whose name numba is given
    "haswell": "+avx2",
    "skylake-avx512": "+avx512bw",
    "alderlake": "+avxvnni",
}
PATIENT = {"OMP_WAIT_POLICY": "passive"}  # threads that spin are slow where others work too


def label(setting: dict[str, str]) -> str:
    if setting is OLDEST:
        return "oldest"
    return "-".join(next(iter(setting.items()))).replace(" ", ",")


@pytest.fixture(scope="module")
def folders(tiny_model_dir, odd_model_dir, both_model_dir) -> list[Path]:
    return [tiny_model_dir, odd_model_dir, both_model_dir]


@pytest.fixture(scope="module")
def expected(folders) -> dict[str, list[str]]:
    """Digests by model, of the reference in this process."""
    models = [weights.read(folder) for folder in folders]
    return {
        model.name: backend_digests.digests(ReferencePredictor(model.config, model.tensors))
        for model in models
    }


@pytest.mark.parametrize("setting", SETTINGS, ids=label)
def test_counts_do_not_depend_on_the_instruction_set(folders, expected, setting):
    needed = NEEDED.get(setting.get("NUMBA_CPU_NAME"))
    if needed and needed not in FEATURES:
        pytest.skip(f"this processor lacks {needed}")
    result = subprocess.run(
        [sys.executable, "-W", "error", backend_digests.__file__, *folders],
        env=os.environ | PATIENT | setting,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    unsound = {"FloatMatrix", "Int8Matrix"} - set(seen["sound"])
    print(f"{setting}: unsound {sorted(unsound)}, chosen {seen['chosen']}")  # noqa: T201
    assert not unsound & set(seen["chosen"])
    for model, digests in expected.items():
        wrong = {name for name, found in seen["digests"][model].items() if found != digests}
        assert not wrong
