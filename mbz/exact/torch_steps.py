"""One byte of all lanes as a fixed sequence of operations, which a CUDA device records and repeats.

`TorchPredictor` decides on the host what each step needs: which slots of a ring are filled, whether
a patch begins. Launching its some hundred small operations one by one takes longer than they do. So
here all that changes from step to step lies in one small buffer of numbers on the device, and the
two kinds of steps, with a new patch and without, are recorded once each as a CUDA graph.

Shapes as in `torch_backend.py`.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbz.exact.torch_backend import Block, Heads, Made, Stack, TorchPredictor

_PLACE = 2  # numbers for each stack

AHEAD = 64
"""Steps that the host may be ahead of the device, which still reads the numbers of each."""


def place(t: int, window: int) -> tuple[int, int]:
    """The slot of position t in the ring of 2W; it does not see those from there to the second."""
    slot = t % (2 * window)
    even = t // window % 2 == 0
    hidden_to = window if even and t >= window else 2 * window
    return slot, hidden_to


class Places:
    """The place of a position in a stack: numbers on the device that later steps overwrite."""

    def __init__(self, numbers: Tensor, stack: Stack) -> None:
        self.slot, self.hidden_to = numbers.split(1)
        self.stack = stack
        self.slots = torch.arange(2 * stack.blocks[0].config.window, device=numbers.device)

    def __call__(self, x_BSD: Tensor) -> Tensor:
        """`Stack.extend` by one position."""
        self.hidden = (self.slots > self.slot) & (self.slots < self.hidden_to)
        cos, sin = self.stack.rotary.index_select(-2, self.slot)[:, :, None]
        for block in self.stack.blocks:
            x_BSD = block.extend(x_BSD, (cos, sin), self.look)
        return x_BSD

    def look(self, block: Block, heads: Heads) -> Tensor:
        """`Block.one_block` over the whole ring."""
        q, q_root, k, k_root, v = heads
        block.keys_BGNE.index_copy_(2, self.slot, k)
        block.key_roots_BGN.index_copy_(2, self.slot, k_root[..., 0])
        block.values_BGNE.index_copy_(2, self.slot, v)
        scores = block.scores(q, q_root, block.keys_BGNE, block.key_roots_BGN)
        p = block.a.softmax(scores.masked_fill_(self.hidden, -torch.inf))
        return (p.flatten(2, 3) @ block.values_BGNE).unflatten(2, p.shape[2:4])


class Steps:
    """Steps of a predictor from its present state on, until `back` gives the state back to it."""

    places: ClassVar[Any] = Places
    place = staticmethod(place)

    def __init__(self, predictor: TorchPredictor) -> None:
        self.of, config = predictor, predictor.config
        lanes, device = len(predictor.before_BH), predictor.a.device
        # Two numbers of the patch, then those of the stacks, then the bytes that came.
        self.stacks = [s for s in (predictor.local_stack, predictor.encoder) if s is not None]
        self.size = 2 + _PLACE * (len(self.stacks) + 1)
        self.host = torch.zeros(self.size + lanes, dtype=torch.long)
        if device.type == "cuda":
            self.host = self.host.pin_memory()
        self.ahead = torch.zeros((AHEAD, self.size), dtype=torch.long)
        if device.type == "cuda":
            self.ahead = self.ahead.pin_memory()
        self.numbers = self.host.to(device)
        self.in_patch, self.behind, *_ = self.numbers.split(1)
        parts = [*self.numbers[2 : self.size].split(_PLACE)]
        self.global_step = self.places(parts[0], predictor.global_stack)
        self.local_step = self.places(parts[1], predictor.local_stack)
        self.encode = self.places(parts[2], predictor.encoder) if predictor.encoder else None
        self.symbols = self.numbers[self.size :, None]

        self.before_BH = predictor.before_BH.clone()
        width = config.local_stack.width
        self.states_BPD = torch.zeros((lanes, config.patch, width), device=device)
        kind = torch.long if self.encode is None else torch.float32
        shape = (lanes, config.patch, *([] if self.encode is None else [width]))
        self.rows = torch.zeros(shape, dtype=kind, device=device)
        self.counts = torch.zeros((lanes, 256), device=device)
        self.graphs: dict[bool, torch.cuda.CUDAGraph] = {}

    def begin(self) -> None:
        """Takes over the predictor's state, at a position above 0."""
        self.t = self.of.t
        # The step to come appends the last byte itself.
        self.before_BH[:, 1:] = self.of.before_BH[:, :-1]
        self.symbols.copy_(self.of.before_BH[:, -1:])
        self.host[self.size :] = self.of.before_BH[:, -1]
        self.pushed = True
        waiting = torch.cat(self.of.waiting, 1)
        self.rows[:, : waiting.shape[1]] = waiting
        if self.t % self.of.config.patch:
            self.states_BPD[:, self.t % self.of.config.patch :] = self.of.states_BSD

    def back(self) -> None:
        """Gives the state back to the predictor."""
        patch = self.of.config.patch
        if self.pushed:
            self.numbers.copy_(self.host)
            self.shift()
        self.of.t = self.t
        self.of.before_BH = self.before_BH.clone()
        self.of.waiting = [self.rows[:, : (self.t - 1) % patch].clone()]
        self.of.states_BSD = self.states_BPD[:, self.t % patch or patch :].clone()
        for stack in self.stacks:
            stack.t = self.t
        self.of.global_stack.t = 1 + (self.t - 1) // patch

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Takes the bytes that came."""
        self.host[self.size :] = torch.from_numpy(symbols_B)
        self.pushed = True

    def next(self) -> NDArray[np.float32]:
        """`TorchPredictor.counts` at the next position."""
        self.host[: self.size] = self.place_numbers()
        self.numbers.copy_(self.host, non_blocking=True)
        self.run(starts=self.t % self.of.config.patch == 0)
        self.t += 1
        self.pushed = False
        counts = self.of.a.fetch(self.counts)
        self.of.a.wait()
        found: NDArray[np.float32] = counts.numpy()
        return found

    def next_there(self) -> Tensor:
        """`next` where all that changes is on the device: the bytes that came, in `symbols`, too.

        The caller waits for the device at least every `AHEAD` steps.
        """
        numbers = self.ahead[self.t % AHEAD].copy_(self.place_numbers())
        self.numbers[: self.size].copy_(numbers, non_blocking=True)
        self.run(starts=self.t % self.of.config.patch == 0)
        self.t += 1
        return self.counts

    def place_numbers(self) -> Tensor:
        """What changes from step to step but the bytes."""
        patch = self.of.config.patch
        numbers = [self.t % patch, (self.t - 1) % patch]
        numbers += self.place(self.t // patch, self.of.config.global_stack.window)
        for stack in self.stacks:
            numbers += self.place(self.t, stack.config.window)
        return torch.tensor(numbers)

    def run(self, *, starts: bool) -> None:
        """One step, recorded when it comes for the first time."""
        if self.of.a.device.type != "cuda":
            self.step(starts=starts)
            return
        if starts not in self.graphs:
            before_BH = self.before_BH.clone()  # all else is written over by the step to come
            self.step(starts=starts)  # so that libraries take what memory they need
            self.before_BH.copy_(before_BH)
            torch.cuda.synchronize()
            self.graphs[starts] = torch.cuda.CUDAGraph()
            # Graphs of an earlier predictor may be collected meanwhile, which is no error.
            with torch.cuda.graph(self.graphs[starts], capture_error_mode="relaxed"):
                self.step(starts=starts)
        self.graphs[starts].replay()

    def step(self, *, starts: bool) -> None:
        """`TorchPredictor.extend` by one position; `starts`: with it begins a patch."""
        of = self.of
        self.shift()
        last_B1 = self.before_BH[:, -1:]
        x_BSD = self.local_input()
        if self.encode is not None:
            x_BSD = self.encode(x_BSD)
        self.rows.index_copy_(1, self.behind, last_B1 if self.encode is None else x_BSD)
        if starts:
            h_BKD = of.embedded(of.patches(self.rows))
            self.states_BPD.copy_(of.said(self.global_step(h_BKD)))
        x_BSD = self.local_step(x_BSD + self.states_BPD.index_select(1, self.in_patch))
        self.counts.copy_(of.counts_of(x_BSD)[:, 0])

    def local_input(self) -> Tensor:
        """3.6: the row of the position in each lane, (B, 1, D)."""
        of = self.of
        rows = of.local_bytes[self.before_BH[:, -1:]]
        x_B1D = rows + of.local_position.index_select(-2, self.in_patch)
        of.add_ngrams(x_B1D, self.before_BH[:, None])
        return x_B1D

    def shift(self) -> None:
        """Appends the bytes that came."""
        self.before_BH.copy_(torch.cat([self.before_BH[:, 1:], self.symbols], 1))


class SteppingPredictor(TorchPredictor):
    """`TorchPredictor` whose single steps are recorded."""

    steps_kind: ClassVar[type[Steps]] = Steps
    steps: Steps | None = None
    recording = False

    @torch.inference_mode()
    def reset(self, lanes: int) -> None:
        """Starts `lanes` empty streams; keeps what was recorded if there were as many."""
        self.recording = False
        if self.steps is not None and len(self.steps.before_BH) != lanes:
            self.steps = None
        super().reset(lanes)

    @torch.inference_mode()
    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, (B, 256)."""
        return super().counts() if self.t == 0 else self.recorded().next()

    def recorded(self) -> Steps:
        """The steps, at the position of the predictor, which is above 0."""
        if self.steps is None:
            self.steps = self.steps_kind(self)
        if not self.recording:
            self.steps.begin()
            self.recording = True
        return self.steps

    @torch.inference_mode()
    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane."""
        if self.recording and self.steps is not None:
            self.steps.push(symbols_B)
        else:
            super().push(symbols_B)

    @torch.inference_mode()
    def score_part(self, symbols_BS: NDArray[np.uint8], made: Made) -> Tensor:
        """`scored` of so few bytes that what they need in between fits in the cache."""
        if self.recording and self.steps is not None:
            self.steps.back()
            self.recording = False
        return super().score_part(symbols_BS, made)

    @torch.inference_mode()
    def counts_there(self) -> Tensor:
        """`counts` on the device, for `push_there`; the caller waits every `AHEAD` steps."""
        if self.t == 0:
            return self.counts_of(self.extend(self.before_BH))[:, 0]
        return self.recorded().next_there()

    @torch.inference_mode()
    def push_there(self, symbols_B: Tensor) -> None:
        """`push` of bytes (B,) in int64 on the device."""
        if self.recording and self.steps is not None:
            self.steps.symbols.copy_(symbols_B[:, None])
        else:
            self.before_BH = torch.cat([self.before_BH[:, 1:], symbols_B[:, None]], 1)

    def score_there(self, symbols_BS: NDArray[np.uint8]) -> Tensor:
        """`score` on the device, of at most `rows` positions in all lanes."""
        return self.score_part(symbols_BS, lambda x_BSD, _: self.counts_of(x_BSD))

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.a.device
