"""Models that score windows: in floating point, or by the coder's integers."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mbz import weights, zoo
from mbz.baselines import Network, build
from mbz.exact import Predictor, open_predictor
from mbz.exact.cores import usable_cores
from mbz.exact.torch_open import find_device
from mbz.layers import LOG2_E
from mbz.model import Megabyte
from mbz.scoring.windows import Engine
from mbz.training import checkpoint
from mbz.training.start import trained

# Bytes at once, on a CPU by each thread. On a GPU its memory is the limit, and of baselines that
# torch's attention takes less than 65536 patches; the integers' 256 counts a byte should stay in a
# cache.
MOST = {"cuda": 1 << 19, "cpu": 1 << 13}
MOST_OF_BASELINE = {"cuda": 1 << 17, "cpu": 1 << 13}


def open_engine(name_or_path: str | None, device: str, threads: int | None) -> Engine:
    """The fastest engine of a model: bfloat16 on CUDA, the coder's integers on the CPU.

    A run folder that has no exported model, not yet or for it is a baseline, runs in floating
    point anywhere.

    Args:
        name_or_path: model or run; None for the default model.
        device: "cuda", "cpu", or "auto" for CUDA where there is one.
        threads: CPU threads; None for all.

    Raises:
        ValueError: no such device here.
        MbzError: there is no such model, or it cannot be read.
    """
    place = find_device(device)
    run = Path(name_or_path) if name_or_path is not None else None
    exported = run is None or checkpoint.newest(run) is None or (run / zoo.WEIGHTS).exists()
    if place.type == "cpu" and exported:
        model = weights.read(zoo.find(name_or_path))
        predictor = open_predictor(model, device, threads)
        return IntegerEngine(predictor, model.config.patch, threads or usable_cores())
    config, state = trained(name_or_path or str(zoo.find(None)))
    network = build(config)
    network.load_state_dict(state)
    return FloatEngine(network.to(place))


class FloatEngine:
    """Any network in torch: bfloat16 products on CUDA, float32 elsewhere."""

    def __init__(self, model: Network) -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.patch = model.config.patch
        is_baseline = not isinstance(model, Megabyte)
        self.most = (MOST_OF_BASELINE if is_baseline else MOST)[self.device.type]

    @torch.inference_mode()
    def bits(self, bytes_BT: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Bits (B, T) of each byte."""
        rows_BT = torch.from_numpy(bytes_BT).to(self.device).int()
        logits = self.model(rows_BT).flatten(0, 1).float()
        nats = F.cross_entropy(logits, rows_BT.flatten().long(), reduction="none")
        bits: NDArray[np.float32] = (nats * LOG2_E).view(rows_BT.shape).cpu().numpy()
        return bits


class IntegerEngine:
    """The coder's own arithmetic over windows in place of lanes."""

    def __init__(self, predictor: Predictor, patch: int, threads: int = 1) -> None:
        self.predictor, self.patch, self.most = predictor, patch, MOST["cpu"] * threads

    def bits(self, bytes_BT: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Bits (B, T) of each byte."""
        self.predictor.reset(len(bytes_BT))
        counts_BTV = self.predictor.score(bytes_BT)
        chosen = np.take_along_axis(counts_BTV, bytes_BT[..., None].astype(np.intp), -1)[..., 0]
        bits: NDArray[np.float32] = 24 - np.log2(chosen + np.float32(1))
        return bits
