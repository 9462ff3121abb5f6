"""Mixing on a CUDA device, where the network is: equal to `mbz.mixing` bit for bit.

Mixing is a long chain of small steps for each block, so that a device gains by many blocks only. It
then does the work of many processors, and the counts of the network need not leave it.
"""

import logging
from typing import TYPE_CHECKING

from mbz.exact import Resident
from mbz.mixing.experts import SETS

if TYPE_CHECKING:
    from mbz.mixing.cuda.mixing import Mixing

__all__ = ["mixing_of"]

log = logging.getLogger(__name__)

TEXT = ("lean", "middle", "rich")
"""Sets that go with a network; the others are of numbers."""


def mixing_of(predictor: Resident, experts: int, lanes: int) -> "Mixing | None":
    """What mixes blocks beside this network, on its device; None where it cannot.

    Args:
        predictor: the network.
        experts: number of the set of experts, from 1 on.
        lanes: most lanes of a block.
    """
    if experts > len(SETS) or SETS[experts - 1] not in TEXT or predictor.device.type != "cuda":
        return None
    from mbz.mixing.cuda.mixing import Mixing  # noqa: PLC0415 - torch is heavy

    try:
        mixing = Mixing(predictor)
    except (RuntimeError, OSError) as error:
        log.info("mixing on the CPU, slower (%s)", error)
        return None
    return mixing if mixing.takes(SETS[experts - 1], lanes) else None
