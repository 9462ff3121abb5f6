"""The exact network in torch, on CPU or CUDA: equal to `reference.py` bit for bit, and fast.

Many positions go through at once, in both models, whether a stream is being scored or decoded: one
method, `extend`, takes any number S >= 1 of next positions. Keys and values live in a ring of 2W
slots that is attended as it lies, since integer sums don't depend on their order.

Shapes: B lanes, S positions, P patch, D width, H query heads, G key heads, R = H / G, E head width,
N keys, L blocks of W positions.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbz.config import ModelConfig, StackConfig
from mbz.exact import fixed
from mbz.exact.torch_arithmetic import Arithmetic, Linear, Ngrams
from mbz.exact.torch_matrix import Matrix
from mbz.weights import Tensors

ROWS = {"cpu": 1 << 11, "cuda": 1 << 15}
"""Positions times lanes in one pass: as many as keep a processor's cache, or a GPU, filled."""

MANY = 1 << 10
"""Lanes that a GPU steps in little more time than it takes for a few."""


def pieces(t: int, count: int, window: int) -> Iterator[tuple[int, int]]:
    """Cuts positions t .. t + count - 1 into runs that lie in one block or are whole blocks."""
    end = t + count
    while t < end:
        whole = (end - t) // window * window if t % window == 0 else 0
        size = whole or min(end - t, window - t % window)
        yield t, size
        t += size


class Heads(NamedTuple):
    """What attention takes in, all integers but the roots; positions in the last but one axis."""

    q: Tensor  # (B, G, R, S, E)
    q_root: Tensor  # (B, G, R, S, 1), times the sharpness
    k: Tensor  # (B, G, S, E)
    k_root: Tensor  # (B, G, S, 1)
    v: Tensor  # (B, G, S, E)

    def narrow(self, start: int, size: int) -> "Heads":
        """A run of positions."""
        return Heads(*(part.narrow(-2, start, size) for part in self))


Look: TypeAlias = "Callable[[Block, Heads], Tensor]"
Made: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class Block:
    """3.2 and 3.3: one layer and its ring of keys and values."""

    def __init__(
        self, arithmetic: Arithmetic, tensors: Tensors, stack: str, index: int, config: StackConfig
    ) -> None:
        name = f"{stack}.{index}"
        self.a, self.config = arithmetic, config
        self.qkv = Linear(arithmetic, tensors, f"{name}.qkv")
        self.out = Linear(arithmetic, tensors, f"{name}.out")
        self.up = Linear(arithmetic, tensors, f"{name}.up")
        self.down = Linear(arithmetic, tensors, f"{name}.down")
        self.sharpness = arithmetic.put(tensors[f"{name}.sharpness"])[:, None]
        self.heads = [config.heads, config.kv_heads, config.kv_heads]
        self.value_scale = float(fixed.value_scale(config.head_dim))
        self.keys_BGNE = self.key_roots_BGN = self.values_BGNE = torch.empty(0)

    def reset(self, lanes: int) -> None:
        """Empties the ring, which stays where it is if there were as many lanes."""
        c = self.config
        shape = (lanes, c.kv_heads, 2 * c.window)
        if self.key_roots_BGN.shape == shape:
            for ring in (self.keys_BGNE, self.key_roots_BGN, self.values_BGNE):
                ring.zero_()
            return
        device = self.a.device
        self.keys_BGNE = torch.zeros((*shape, c.head_dim), device=device)
        self.key_roots_BGN = torch.zeros(shape, device=device)
        self.values_BGNE = torch.zeros((*shape, c.head_dim), device=device)

    def extend(self, x_BSD: Tensor, rotary_S: tuple[Tensor, Tensor], look: Look) -> Tensor:
        """The layer at the next S positions; `look` is what attends from there."""
        q, largest = self.a.quantise(self.attend(x_BSD, rotary_S, look))
        x_BSD = x_BSD + self.out(q).mul_(largest.mul_(self.a.step))
        q, _ = self.a.quantise(x_BSD)
        u = self.up(q).clamp_min_(0)
        u, largest = self.a.quantise(u.mul_(u))
        return x_BSD.add_(
            self.down(u).mul_(largest.mul_(self.a.step).div_(self.a.sum_of_squares(q)))
        )

    def attend(self, x_BSD: Tensor, rotary_S: tuple[Tensor, Tensor], look: Look) -> Tensor:
        """3.2: integer sums of values, all heads side by side."""
        a, c = self.a, self.config
        qkv = self.qkv(a.quantise(x_BSD)[0]).unflatten(-1, (-1, c.head_dim))
        turned = c.heads + c.kv_heads
        qkv[:, :, :turned] = rotate(qkv[:, :, :turned], rotary_S)
        qkv, _ = a.quantise(qkv.transpose(1, 2))  # (B, heads, S, E)
        roots = a.root(qkv)
        q, k, v = qkv.split(self.heads, 1)
        q_root, k_root, v_root = roots.split(self.heads, 1)
        v = (v * (v_root * self.value_scale)).round_().clamp_(-127, 127)
        groups = (c.kv_heads, c.heads // c.kv_heads)
        q_root = q_root * self.sharpness[:, None]
        heads = Heads(q.unflatten(1, groups), q_root.unflatten(1, groups), k, k_root, v)
        return look(self, heads).flatten(1, 2).transpose(1, 2).flatten(2)

    def look_from(self, heads: Heads, t: int) -> Tensor:
        """Attention of positions t .. t + S - 1, (B, G, R, S, E)."""
        window = self.config.window
        out = [
            self.one_block(heads.narrow(at - t, size), at)
            if size <= window
            else self.whole_blocks(heads.narrow(at - t, size), at)
            for at, size in pieces(t, heads.k.shape[2], window)
        ]
        return out[0] if len(out) == 1 else torch.cat(out, 3)

    def one_block(self, heads: Heads, t: int) -> Tensor:
        """Attention of positions inside one block to the ring as it lies."""
        q, q_root, k, k_root, v = heads
        window, size = self.config.window, k.shape[2]
        slot, end = t % (2 * window), t % (2 * window) + size
        self.keys_BGNE[:, :, slot:end] = k
        self.key_roots_BGN[:, :, slot:end] = k_root[..., 0]
        self.values_BGNE[:, :, slot:end] = v
        # The block before is whole and lies in the other half; the own half is causal.
        even = t // window % 2 == 0
        used = 2 * window if even and t >= window else end
        own_end = min(used, window if even else 2 * window)
        keys = self.keys_BGNE[:, :, :used]
        scores = self.scores(q, q_root, keys, self.key_roots_BGN[:, :, :used])
        if size == 1:
            scores[..., end:own_end] = -torch.inf
        else:
            slots = torch.arange(slot, own_end, device=k.device)
            hidden = slots > slots[:size, None]
            scores[..., slot:own_end].masked_fill_(hidden, -torch.inf)
        p = self.a.softmax(scores)
        values = self.values_BGNE[:, :, :used]
        return (p.flatten(2, 3) @ values).unflatten(2, p.shape[2:4])

    def whole_blocks(self, heads: Heads, t: int) -> Tensor:
        """Attention of L whole blocks at once, each to itself and the block before."""
        q, q_root, k, k_root, v = heads
        window, count = self.config.window, k.shape[2] // self.config.window
        other = slice(0, window) if t // window % 2 else slice(window, 2 * window)

        def with_previous(ring: Tensor, new: Tensor) -> Tensor:  # (B, L, G, 2W, E)
            blocks = torch.cat([ring[:, :, other], new], 2).unflatten(2, (count + 1, window))
            both = torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], 3)
            last = both[:, :, -1].unflatten(2, (2, window))  # in the order of time
            ring.copy_((last if (t // window + count) % 2 == 0 else last.flip(2)).flatten(2, 3))
            return both.transpose(1, 2)

        keys = with_previous(self.keys_BGNE, k)
        key_roots = with_previous(self.key_roots_BGN[..., None], k_root)[..., 0]
        values = with_previous(self.values_BGNE, v)

        def in_blocks(x: Tensor) -> Tensor:  # (B, L, G, R, W, E)
            return x.unflatten(3, (count, window)).permute(0, 3, 1, 2, 4, 5)

        scores = self.scores(
            in_blocks(q).flatten(0, 1),
            in_blocks(q_root).flatten(0, 1),
            keys.flatten(0, 1),
            key_roots.flatten(0, 1),
        )
        index = torch.arange(window, device=k.device)
        scores[..., window:].masked_fill_(index > index[:, None], -torch.inf)
        if t == 0:
            scores.unflatten(0, (-1, count))[:, 0, ..., :window] = -torch.inf
        p = self.a.softmax(scores)
        o = (p.flatten(2, 3) @ values.flatten(0, 1)).unflatten(2, p.shape[2:4])
        return o.unflatten(0, (-1, count)).permute(0, 2, 3, 1, 4, 5).flatten(3, 4)

    def scores(self, q: Tensor, q_root: Tensor, keys: Tensor, key_roots: Tensor) -> Tensor:
        """Scores (B, G, R, S, N) in 1/64 octaves, from integer products below 2**24."""
        dots = q.flatten(2, 3) @ keys.transpose(-1, -2)
        scores = dots.unflatten(2, q.shape[2:4]).mul_(q_root)
        return scores.mul_(key_roots[:, :, None, None])


def rotate(x_BSHE: Tensor, rotary_S: tuple[Tensor, Tensor]) -> Tensor:
    """2.5: rotary embedding; the pair of element i is i + E / 2."""
    cos, sin = rotary_S
    a, b = x_BSHE.chunk(2, -1)
    return torch.cat([(a * cos).sub_(b * sin), (b * cos).add_(a * sin)], -1)


def periodic(table: Tensor, t: int, count: int) -> Tensor:
    """Rows t .. t + count - 1 of a table (..., period, D) that repeats for ever."""
    period = table.shape[-2]
    start, repeats = t % period, -(-(t % period + count) // period)
    if repeats > 1:
        table = torch.cat([table] * repeats, -2)
    return table.narrow(-2, start, count)


def intervals_of(counts_BSV: Tensor, symbols_BS: Tensor) -> Tensor:
    """Start and size of the shares of these bytes, (B, S, 2) int32."""
    counts, symbols = counts_BSV.int(), symbols_BS[..., None]
    sizes = counts.gather(-1, symbols).add_(1)
    ends = counts.cumsum(-1, dtype=torch.int32).gather(-1, symbols).add_(symbols + 1)
    return torch.cat([ends - sizes, sizes], -1)


class Stack:
    """3.4 in torch operations."""

    def __init__(
        self, arithmetic: Arithmetic, tensors: Tensors, name: str, config: StackConfig
    ) -> None:
        self.config = config
        self.rotary = arithmetic.put(tensors[f"{name}.rotary"])
        self.blocks = [Block(arithmetic, tensors, name, i, config) for i in range(config.layers)]

    def reset(self, lanes: int) -> None:
        """Goes back to position 0."""
        self.t = 0
        for block in self.blocks:
            block.reset(lanes)

    def extend(self, x_BSD: Tensor) -> Tensor:
        """The residual stream after all layers at the next S positions."""
        count = x_BSD.shape[1]
        cos, sin = periodic(self.rotary, self.t, count)[:, :, None]
        for block in self.blocks:
            x_BSD = block.extend(x_BSD, (cos, sin), lambda at, heads: at.look_from(heads, self.t))
        self.t += count
        return x_BSD


class TorchPredictor:
    """The `Predictor` of these weights on a torch device."""

    stack: ClassVar[Any] = Stack  # what it is made of; `triton_backend.py` has its own
    linear: ClassVar[Any] = Linear

    def __init__(
        self,
        config: ModelConfig,
        tensors: Tensors,
        device: torch.device,
        matrix: type[Matrix],
    ) -> None:
        self.config, self.most_lanes = config, config.most_lanes
        self.lanes_at_once = 1
        if device.type == "cuda":
            # Each number that lanes remember is a float32 there.
            lanes = torch.cuda.mem_get_info(device)[0] // 4 // (4 * config.cache_bytes)
            self.lanes_at_once = min(MANY, lanes)
        self.a = a = Arithmetic(device, matrix)
        self.local_bytes, self.local_position, self.local_start = (
            a.put(tensors[f"local.{part}"]) for part in ("bytes", "position", "start")
        )
        self.ngrams = Ngrams(a, tensors, config) if config.ngram_orders else None
        stack, linear = self.stack, self.linear
        self.encoder = stack(a, tensors, "encoder", config.encoder) if config.encoder else None
        if self.encoder is None:
            self.global_bytes, self.global_position = (
                a.put(tensors[f"global.{part}"]) for part in ("bytes", "position")
            )
        self.global_start = a.put(tensors["global.start"])
        self.embed = linear(a, tensors, "embed") if config.embeds_patch else None
        self.global_stack = stack(a, tensors, "global", config.global_stack)
        self.project = linear(a, tensors, "project")
        self.local_stack = stack(a, tensors, "local", config.local_stack)
        self.head = linear(a, tensors, "head")

    @property
    def rows(self) -> int:
        """Positions times lanes in one pass."""
        return ROWS[self.a.device.type]

    @torch.inference_mode()
    def reset(self, lanes: int) -> None:
        """Starts `lanes` empty streams."""
        for stack in (self.encoder, self.global_stack, self.local_stack):
            if stack is not None:
                stack.reset(lanes)
        self.t = 0
        reach = max(self.config.ngram_orders, default=1)
        self.before_BH = torch.zeros((lanes, reach), dtype=torch.long, device=self.a.device)
        self.waiting: list[Tensor] = []
        self.states_BSD = self.patch_states(self.global_start.expand(lanes, 1, -1))

    @torch.inference_mode()
    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, (B, 256)."""
        counts = self.a.fetch(self.counts_of(self.extend(self.before_BH))[:, 0])
        self.a.wait()
        found: NDArray[np.float32] = counts.numpy()
        return found

    @torch.inference_mode()
    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane."""
        symbols = self.a.put(symbols_B).long()[:, None]
        self.before_BH = torch.cat([self.before_BH[:, 1:], symbols], 1)

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Counts before each of S given bytes, (B, S, 256)."""
        return self.scored(symbols_BS, lambda x_BSD, _: self.counts_of(x_BSD))

    def intervals(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Where the share of each of S given bytes starts and its size, (B, S, 2)."""
        return self.scored(symbols_BS, self.intervals_of).view(np.uint32)

    def scored(self, symbols_BS: NDArray[np.uint8], made: Made) -> NDArray[Any]:
        """What is made on the device of rows of the local model and the bytes they predict."""
        size = max(1, self.rows // len(symbols_BS))
        starts = range(0, symbols_BS.shape[1], size)
        parts = [self.a.fetch(self.score_part(symbols_BS[:, i : i + size], made)) for i in starts]
        self.a.wait()
        found: NDArray[Any] = (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).numpy()
        return found

    @torch.inference_mode()
    def score_part(self, symbols_BS: NDArray[np.uint8], made: Made) -> Tensor:
        """`scored` of so few bytes that what they need in between fits in the cache."""
        reach = self.before_BH.shape[1]
        known = torch.cat([self.before_BH, self.a.put(symbols_BS).long()], 1)
        self.before_BH = known[:, -reach:]
        return made(self.extend(known[:, :-1]), known[:, reach:])

    def extend(self, bytes_BN: Tensor) -> Tensor:
        """3.6 at the next S positions: rows of the local model, from S - 1 + H bytes before."""
        reach, t = self.before_BH.shape[1], self.t
        last_BS = bytes_BN[:, reach - 1 :]
        count = last_BS.shape[1]
        x_BSD = self.local_input(bytes_BN)
        if self.encoder is not None:
            x_BSD = self.encoder.extend(x_BSD)
        rows = last_BS if self.encoder is None else x_BSD
        self.extend_patches(rows if t else rows[:, 1:])
        from_global, self.states_BSD = self.states_BSD[:, :count], self.states_BSD[:, count:]
        self.t += count
        return self.local_stack.extend(x_BSD + from_global)

    def local_input(self, bytes_BN: Tensor) -> Tensor:
        """3.6: the rows (B, S, D) of the next S positions."""
        reach = self.before_BH.shape[1]
        last_BS = bytes_BN[:, reach - 1 :]
        x_BSD = self.local_bytes[last_BS]
        if self.t == 0:
            x_BSD[:, 0] = self.local_start
        x_BSD += periodic(self.local_position, self.t, last_BS.shape[1])
        self.add_ngrams(x_BSD, bytes_BN.unfold(1, reach, 1))
        return x_BSD

    def add_ngrams(self, x_BSD: Tensor, before_BSH: Tensor) -> None:
        """3.6: adds what the tables hold for the bytes before each position, if there are any."""
        if self.ngrams is not None:
            values = self.ngrams(before_BSH)
            x_BSD[..., : values.shape[-1]] += values

    def counts_of(self, x_BSD: Tensor) -> Tensor:
        """3.6: counts (B, S, 256) from the rows of the local model."""
        q, _ = self.a.quantise(x_BSD)
        return self.a.counts(self.head(q) * self.a.root(q))

    def intervals_of(self, x_BSD: Tensor, symbols_BS: Tensor) -> Tensor:
        """Start and size of the shares of these bytes, (B, S, 2) int32."""
        return intervals_of(self.counts_of(x_BSD), symbols_BS)

    def patches(self, rows_BND: Tensor) -> Tensor:
        """3.1: the bytes, or rows of the encoder, of whole patches side by side (B, K, P * D)."""
        if self.encoder is not None:
            return rows_BND.unflatten(1, (-1, self.config.patch)).flatten(2)
        h_BKD = self.global_bytes[rows_BND].unflatten(1, (-1, self.config.patch)).flatten(2)
        return h_BKD + self.global_position

    def extend_patches(self, rows: Tensor) -> None:
        """3.1: takes what patches are made of, bytes or rows of the encoder, as they become known.

        The states of the patches after those that are now complete join `states_BSD`.
        """
        patch = self.config.patch
        self.waiting.append(rows)
        length = sum(part.shape[1] for part in self.waiting)
        if length < patch:
            return
        rows = torch.cat(self.waiting, 1)
        whole = length // patch * patch
        rows, self.waiting = rows[:, :whole], [rows[:, whole:]]
        self.states_BSD = torch.cat([self.states_BSD, self.patch_states(self.patches(rows))], 1)

    def patch_states(self, h_BKD: Tensor) -> Tensor:
        """3.1 and 3.5: what the global model says to each byte of K patches, (B, K * P, D)."""
        return self.said(self.global_stack.extend(self.embedded(h_BKD)))

    def embedded(self, h_BKD: Tensor) -> Tensor:
        """3.1: patches as the global model takes them."""
        if self.embed is None:
            return h_BKD
        q, _ = self.a.quantise(h_BKD)
        return self.embed(q) * self.a.root(q)

    def said(self, x_BKD: Tensor) -> Tensor:
        """3.5: rows of the global model as what they say to each byte."""
        a, patch = self.a, self.config.patch
        q, _ = a.quantise(x_BKD)
        r = a.root(q)[..., None]
        if self.config.projection == "dense":
            return (self.project(q).unflatten(-1, (patch, -1)) * r).flatten(1, 2)
        return (self.project(q.unflatten(-1, (patch, -1))) * r).flatten(1, 2)
