"""What the mixing coder is given of a network that it steps by itself."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Steps(NamedTuple):
    """Steps of all lanes that compiled code can call for, see `mbz.pointers.call`."""

    call: NDArray[np.int64]  # (2,): a function and its argument; gives the counts of the next byte
    symbols: NDArray[np.uint8]  # (B,): takes the byte of each lane before the next call
    counts: NDArray[np.uint32]  # (B, 256)
    crew: int = 0  # address of what its threads share, if there are several (`mbz.exact.crew`)
