"""Frozen configurations of the network, validated on construction."""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal

# Sums of squares of `width` int8 values must stay exact in float32: 127**2 * 1040 < 2**24.
MAX_WIDTH = 1040
# The same of a patch of encoder rows stay in the table of roots: 127**2 * 8321 < 2**27.
MAX_PATCH_WIDTH = 8321
# Bytes that the keys and values of all lanes of a block may take (docs/format.md, section 9).
MAX_CACHE = 1 << 28
# Sums of 2 * window softmax weights of at most 2**12 must stay exact in float32.
MAX_WINDOW = 2048


def require(ok: bool, field: str, rule: str) -> None:
    """Raises ValueError naming the field and what it must be, unless `ok`."""
    if not ok:
        msg = f"{field} {rule}"
        raise ValueError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class StackConfig:
    """One causal transformer, the global or the local one.

    Attention is blockwise: position t sees its own block of `window` positions up to itself, and
    the whole block before. All sizes are counts; `hidden` is the inner width of the MLP.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int
    window: int
    hidden: int

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        for field in fields(self):
            require(getattr(self, field.name) >= 1, field.name, "must be at least 1")
        require(self.width <= MAX_WIDTH, "width", f"must be at most {MAX_WIDTH}")
        require(self.hidden <= 1 << 16, "hidden", "must be at most 65536")
        require(self.layers <= 1 << 10, "layers", "must be at most 1024")
        require(self.window <= MAX_WINDOW, "window", f"must be at most {MAX_WINDOW}")
        require(self.width % (2 * self.heads) == 0, "width", "must be a multiple of 2 * heads")
        require(self.heads % self.kv_heads == 0, "heads", "must be a multiple of kv_heads")

    @property
    def head_dim(self) -> int:
        """Width of one head, always even."""
        return self.width // self.heads

    @property
    def cache_bytes(self) -> int:
        """Keys and values that one lane remembers, a byte for each number."""
        return self.layers * 2 * self.kv_heads * self.head_dim * 2 * self.window

    @property
    def matrix_parameters(self) -> int:
        """Weights in the matrices of the whole stack, which is also multiply-adds per position."""
        qkv = self.width * (self.width + 2 * self.kv_heads * self.head_dim)
        return self.layers * (qkv + self.width**2 + 2 * self.width * self.hidden)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """MEGABYTE (arXiv 2305.07185): a global model over patches, a local model over bytes.

    patch: bytes per patch, P.
    byte_width: D_G, the width of one byte's embedding in the global model. Where P * D_G is not
        the width of the global model, a matrix projects the patch to it.
    projection: from the global state to the local inputs of a patch. "shared" is the paper's: the
        state is cut into P slices and one matrix serves all; "dense" gives each byte of the patch
        a matrix of its own over the whole state.

    Two parts that the paper's network has not; the defaults leave them out:

    encoder_layers: layers like those of the local model that run over the bytes before patching.
        A patch is then the concatenation of their rows, not of embeddings, so `byte_width` is the
        local width, and a matrix always projects the patch.
    ngram_orders: for each N a table, read at a hash of the N bytes before a position. Its row is
        added to the byte's embedding; the rows of all tables lie side by side.
    ngram_rows, ngram_width: rows of each table, a power of two, and the width of a row.
    """

    patch: int
    byte_width: int
    projection: Literal["dense", "shared"]
    global_stack: StackConfig
    local_stack: StackConfig
    encoder_layers: int = 0
    ngram_orders: tuple[int, ...] = ()
    ngram_rows: int = 0
    ngram_width: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        require(1 <= self.patch <= 1 << 12, "patch", "must be between 1 and 4096")
        require(1 <= self.byte_width <= 1 << 12, "byte_width", "must be between 1 and 4096")
        require(self.projection in ("dense", "shared"), "projection", "must be dense or shared")
        require(self.encoder_layers >= 0, "encoder_layers", "must be at least 0")
        if self.encoder is not None:
            same = self.byte_width == self.local_stack.width
            require(same, "byte_width", "must be the local width where there is an encoder")
            rule = f"times the local width must be at most {MAX_PATCH_WIDTH}"
            require(self.patch_width <= MAX_PATCH_WIDTH, "patch", rule)
        elif self.embeds_patch:
            rule = f"times patch must be at most {MAX_WIDTH}, or equal the global width"
            require(self.patch_width <= MAX_WIDTH, "byte_width", rule)
        if self.projection == "shared":
            whole = self.global_stack.width % self.patch == 0
            require(whole, "projection", "shared needs a global width that patch divides")
        self._check_ngrams()

    def _check_ngrams(self) -> None:
        orders, rows = self.ngram_orders, self.ngram_rows
        require(all(2 <= n <= 8 for n in orders), "ngram_orders", "must be between 2 and 8")
        require(orders == tuple(sorted(set(orders))), "ngram_orders", "must ascend")
        if orders:
            power = 1 <= rows <= 1 << 20 and rows.bit_count() == 1
            require(power, "ngram_rows", "must be a power of two up to 1048576")
            fits = 1 <= self.ngram_width <= self.local_stack.width // len(orders)
            require(fits, "ngram_width", "must be at least 1 and fit the local width, side by side")
        else:
            require(rows == 0, "ngram_rows", "must be 0 without ngram_orders")
            require(self.ngram_width == 0, "ngram_width", "must be 0 without ngram_orders")

    @property
    def encoder(self) -> StackConfig | None:
        """The stack that runs over the bytes before patching, where there is one."""
        if self.encoder_layers == 0:
            return None
        return replace(self.local_stack, layers=self.encoder_layers)

    @property
    def most_lanes(self) -> int:
        """Lanes that a block may have, so that restoring it takes no more than MAX_CACHE."""
        return max(1, MAX_CACHE // self.cache_bytes)

    @property
    def cache_bytes(self) -> int:
        """What a lane remembers, each number counted as a byte."""
        stacks = (self.encoder, self.global_stack, self.local_stack)
        return sum(s.cache_bytes for s in stacks if s is not None)

    @property
    def patch_width(self) -> int:
        """Width of a patch of concatenated rows of bytes, P * D_G."""
        return self.patch * self.byte_width

    @property
    def embeds_patch(self) -> bool:
        """Whether a matrix projects the concatenated rows to the global width."""
        return self.encoder is not None or self.patch_width != self.global_stack.width

    @property
    def multiply_adds_per_byte(self) -> float:
        """Multiply-adds of all matrices per byte of text, attention and look-ups left out."""
        wide, narrow = self.global_stack.width, self.local_stack.width
        patch = self.global_stack.matrix_parameters
        patch += self.patch_width * wide if self.embeds_patch else 0
        patch += wide * narrow * (self.patch if self.projection == "dense" else 1)
        byte = self.local_stack.matrix_parameters + narrow * 256
        byte += self.encoder.matrix_parameters if self.encoder else 0
        return patch / self.patch + byte

    @property
    def parameters(self) -> int:
        """Weights of all matrices and tables; nearly the bytes of the weights file."""
        wide, narrow = self.global_stack.width, self.local_stack.width
        dense = self.projection == "dense"
        matrices = self.global_stack.matrix_parameters + self.local_stack.matrix_parameters
        matrices += self.encoder.matrix_parameters if self.encoder else 0
        matrices += self.patch_width * wide if self.embeds_patch else 0
        matrices += wide * narrow * self.patch if dense else wide // self.patch * narrow
        matrices += narrow * 256
        return matrices + len(self.ngram_orders) * self.ngram_rows * self.ngram_width

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain nested dictionaries and lists."""
        return {**asdict(self), "ngram_orders": list(self.ngram_orders)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ModelConfig":
        """Builds a configuration from plain data; ValueError on unknown, missing or bad fields.

        Fields that have a default may be absent, as they are in files older than the fields.
        """
        plain = {"global_stack": StackConfig, "local_stack": StackConfig}
        values = dict(checked(cls, data))
        for name, kind in plain.items():
            values[name] = kind(**checked(kind, values[name]))
        values["ngram_orders"] = tuple(values.get("ngram_orders", ()))
        return cls(**values)


def checked(kind: type, data: object) -> dict[str, Any]:
    """`data` if it has the fields of the dataclass `kind`, each of its declared type."""
    if not isinstance(data, dict):
        msg = f"{kind.__name__} must be a table"
        raise ValueError(msg)  # noqa: TRY004  (a bad file, not a bad call)
    declared = {field.name: field.type for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    odd = (data.keys() - declared.keys()) | (needed - data.keys())
    if odd:
        msg = f"{kind.__name__} has missing or unknown fields: {', '.join(sorted(map(str, odd)))}"
        raise ValueError(msg)
    for name, value in data.items():
        if declared[name] is int and type(value) is not int:
            msg = f"{name} must be a whole number"
            raise ValueError(msg)
        if declared[name] is float and type(value) not in (int, float):
            msg = f"{name} must be a number"
            raise ValueError(msg)
        if declared[name] is bool and type(value) is not bool:
            msg = f"{name} must be true or false"
            raise ValueError(msg)
        if declared[name] == tuple[int, ...] and not (
            isinstance(value, list) and all(type(n) is int for n in value)
        ):
            msg = f"{name} must be a list of whole numbers"
            raise ValueError(msg)
    return data


TINY = ModelConfig(  # half a million multiply-adds a byte
    patch=4,
    byte_width=128,
    projection="dense",
    global_stack=StackConfig(width=192, layers=2, heads=3, kv_heads=1, window=512, hidden=768),
    local_stack=StackConfig(width=128, layers=1, heads=2, kv_heads=1, window=32, hidden=384),
    encoder_layers=1,
    ngram_orders=(2, 3, 4, 6),
    ngram_rows=1 << 13,
    ngram_width=32,
)
SMALL = ModelConfig(  # 3 million
    patch=4,
    byte_width=256,
    projection="dense",
    global_stack=StackConfig(width=384, layers=2, heads=6, kv_heads=2, window=1024, hidden=1536),
    local_stack=StackConfig(width=256, layers=2, heads=4, kv_heads=2, window=32, hidden=1024),
    encoder_layers=1,
    ngram_orders=(2, 3, 4, 6),
    ngram_rows=1 << 15,
    ngram_width=36,
)
BASE = ModelConfig(  # 9 million
    patch=4,
    byte_width=384,
    projection="dense",
    global_stack=StackConfig(width=512, layers=6, heads=8, kv_heads=2, window=1024, hidden=2048),
    local_stack=StackConfig(width=384, layers=2, heads=6, kv_heads=2, window=32, hidden=1536),
    encoder_layers=1,
    ngram_orders=(2, 3, 4, 6),
    ngram_rows=1 << 16,
    ngram_width=44,
)
LARGE = ModelConfig(  # 40 million
    patch=4,
    byte_width=640,
    projection="dense",
    global_stack=StackConfig(width=1024, layers=8, heads=16, kv_heads=4, window=1024, hidden=4096),
    local_stack=StackConfig(width=640, layers=3, heads=10, kv_heads=2, window=32, hidden=2560),
    encoder_layers=1,
    ngram_orders=(2, 3, 4, 6),
    ngram_rows=1 << 17,
    ngram_width=80,
)
PRESETS = {"tiny": TINY, "small": SMALL, "base": BASE, "large": LARGE}
