"""Networks that MEGABYTE is compared with, under the same training code.

They run in floating point only: there is no exact arithmetic for them, so no archive can use them.
`mbz train --arch` trains them, and `mbz score -m RUN` measures them.
"""

from mbz.baselines.config import NetworkConfig, PaperConfig
from mbz.baselines.paper import Paper
from mbz.baselines.transformer import Transformer
from mbz.config import ModelConfig
from mbz.model import Megabyte

Network = Megabyte | Transformer | Paper


def build(config: NetworkConfig) -> Network:
    """A network with random weights, whatever its architecture."""
    if isinstance(config, ModelConfig):
        return Megabyte(config)
    return Paper(config) if isinstance(config, PaperConfig) else Transformer(config)
