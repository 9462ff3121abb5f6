"""Frozen configurations of the network, validated on construction."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

# Sums of squares of `width` int8 values must stay exact in float32: 127**2 * 1040 < 2**24.
MAX_WIDTH = 1040
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
    """

    patch: int
    byte_width: int
    projection: Literal["dense", "shared"]
    global_stack: StackConfig
    local_stack: StackConfig

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        require(1 <= self.patch <= 1 << 12, "patch", "must be between 1 and 4096")
        require(1 <= self.byte_width <= 1 << 12, "byte_width", "must be between 1 and 4096")
        require(self.projection in ("dense", "shared"), "projection", "must be dense or shared")
        if self.embeds_patch:
            rule = f"times patch must be at most {MAX_WIDTH}, or equal the global width"
            require(self.patch_width <= MAX_WIDTH, "byte_width", rule)
        if self.projection == "shared":
            whole = self.global_stack.width % self.patch == 0
            require(whole, "projection", "shared needs a global width that patch divides")

    @property
    def patch_width(self) -> int:
        """Width of a patch of concatenated byte embeddings, P * D_G."""
        return self.patch * self.byte_width

    @property
    def embeds_patch(self) -> bool:
        """Whether a matrix projects the concatenated bytes to the global width."""
        return self.patch_width != self.global_stack.width

    @property
    def multiply_adds_per_byte(self) -> float:
        """Multiply-adds of all matrices per byte of text, attention left out."""
        wide, narrow = self.global_stack.width, self.local_stack.width
        patch = self.global_stack.matrix_parameters
        patch += self.patch_width * wide if self.embeds_patch else 0
        patch += wide * narrow * (self.patch if self.projection == "dense" else 1)
        return patch / self.patch + self.local_stack.matrix_parameters + narrow * 256

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain nested dictionaries."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ModelConfig":
        """Builds a configuration from plain data; ValueError on unknown, missing or bad fields."""
        plain = {"global_stack": StackConfig, "local_stack": StackConfig}
        values = dict(_checked(cls, data))
        for name, kind in plain.items():
            values[name] = kind(**_checked(kind, values[name]))
        return cls(**values)


def _checked(kind: type, data: object) -> dict[str, Any]:
    """`data` if it has exactly the fields of the dataclass `kind`, each of its declared type."""
    if not isinstance(data, dict):
        msg = f"{kind.__name__} must be a table"
        raise ValueError(msg)  # noqa: TRY004  (a bad file, not a bad call)
    declared = {field.name: field.type for field in fields(kind)}
    if data.keys() != declared.keys():
        odd = sorted(data.keys() ^ declared.keys())
        msg = f"{kind.__name__} has missing or unknown fields: {', '.join(map(str, odd))}"
        raise ValueError(msg)
    for name, value in data.items():
        if declared[name] is int and type(value) is not int:
            msg = f"{name} must be a whole number"
            raise ValueError(msg)
    return data


TINY = ModelConfig(  # half a million multiply-adds a byte
    patch=8,
    byte_width=24,
    projection="dense",
    global_stack=StackConfig(width=192, layers=4, heads=3, kv_heads=1, window=512, hidden=768),
    local_stack=StackConfig(width=128, layers=2, heads=2, kv_heads=1, window=32, hidden=384),
)
BASE = ModelConfig(
    patch=8,
    byte_width=64,
    projection="dense",
    global_stack=StackConfig(width=512, layers=8, heads=8, kv_heads=2, window=512, hidden=2048),
    local_stack=StackConfig(width=384, layers=4, heads=6, kv_heads=2, window=32, hidden=1536),
)
PRESETS = {"tiny": TINY, "base": BASE}
