"""Sizes of the baselines: frozen configurations, validated on construction."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from mbz.config import ModelConfig, checked, require

Arch = Literal["transformer", "sliding", "perceiver", "paper"]


def _check_stack(prefix: str, width: int, layers: int, heads: int) -> None:
    require(layers >= 0, f"{prefix}layers", "must be at least 0")
    require(heads >= 1, f"{prefix}heads", "must be at least 1")
    whole = width >= 1 and width % (2 * heads) == 0
    require(whole, f"{prefix}width", "must be a multiple of 2 * heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """A transformer over bytes; `mbz.baselines.transformer` says how the kinds differ.

    Attributes:
        arch: "transformer" (every byte sees all before it), "sliding" or "perceiver".
        width, layers, heads: as usual; the MLP is four times as wide.
        span: bytes of a block; of "perceiver" the latents. 0 for "transformer".
        dropout: chance, in [0, 1).
    """

    arch: Literal["transformer", "sliding", "perceiver"]
    width: int
    layers: int
    heads: int
    span: int
    dropout: float

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        _check_stack("", self.width, self.layers, self.heads)
        require(self.layers >= 1, "layers", "must be at least 1")
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)")
        if self.arch == "transformer":
            require(self.span == 0, "span", "must be 0, as all bytes are seen")
        else:
            require(self.span >= 16 and self.span % 16 == 0, "span", "must be a multiple of 16")

    @property
    def patch(self) -> int:
        """Bytes of a patch."""
        return 1

    @property
    def multiply_adds_per_byte(self) -> float:
        """Multiply-adds of all matrices per byte, attention and look-ups left out."""
        return 12 * self.layers * self.width**2 + 256 * self.width

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperConfig:
    """MEGABYTE to the letter, with the paper's options; `mbz.baselines.paper` has the equations.

    Attributes:
        arch: "paper".
        patch: bytes of a patch, P.
        length: bytes of the longest sequence, for which there are positions.
        global_width, global_layers, global_heads: of the global model; 0 layers leave it out. The
            width is a multiple of P.
        local_width, local_layers, local_heads: of the local model; 0 layers leave it out: the bytes
            of a patch are then predicted from the patches before it alone.
        cross_patch: r, keys of the patch before that the local model sees, at most P.
        convolutions: whether patches are made of the output of causal convolutions.
        dropout: chance, in [0, 1).
    """

    arch: Literal["paper"]
    patch: int
    length: int
    global_width: int
    global_layers: int
    global_heads: int
    local_width: int
    local_layers: int
    local_heads: int
    cross_patch: int
    convolutions: bool
    dropout: float

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        require(1 <= self.patch <= 1 << 12, "patch", "must be between 1 and 4096")
        whole = self.length >= 1 and self.length % self.patch == 0
        require(whole, "length", "must be a multiple of patch")
        _check_stack("global_", self.global_width, self.global_layers, self.global_heads)
        _check_stack("local_", self.local_width, self.local_layers, self.local_heads)
        require(self.global_layers + self.local_layers > 0, "global_layers", "must be above 0")
        whole = self.global_width % self.patch == 0
        require(whole, "global_width", "must be a multiple of patch")
        require(0 <= self.cross_patch <= self.patch, "cross_patch", "must be between 0 and patch")
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)")

    @property
    def multiply_adds_per_byte(self) -> float:
        """Multiply-adds of all matrices per byte, attention and look-ups left out."""
        slice_width = self.global_width // self.patch
        wide = 12 * self.global_layers * self.global_width**2 / self.patch
        narrow = 12 * self.local_layers * self.local_width**2 + 256 * self.local_width
        convolved = 15 * slice_width**2 if self.convolutions else 0
        return wide + narrow + slice_width * self.local_width + convolved

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain data."""
        return asdict(self)


NetworkConfig = ModelConfig | TransformerConfig | PaperConfig

ARCHS: dict[str, TransformerConfig | PaperConfig] = {
    "transformer": TransformerConfig(
        arch="transformer", width=384, layers=6, heads=6, span=0, dropout=0.1
    ),
    "sliding": TransformerConfig(
        arch="sliding", width=384, layers=6, heads=6, span=512, dropout=0.1
    ),
    "perceiver": TransformerConfig(
        arch="perceiver", width=384, layers=6, heads=6, span=1024, dropout=0.1
    ),
    "paper": PaperConfig(
        arch="paper",
        patch=8,
        length=8192,
        global_width=768,
        global_layers=8,
        global_heads=12,
        local_width=256,
        local_layers=4,
        local_heads=4,
        cross_patch=4,
        convolutions=False,
        dropout=0.1,
    ),
}


def network_config(data: dict[str, Any]) -> NetworkConfig:
    """The configuration that `to_dict` made plain, of a baseline or of a `Megabyte`.

    Raises:
        ValueError: a field is unknown, missing or out of range.
    """
    arch = data.get("arch")
    if arch is None:
        return ModelConfig.from_dict(data)
    kind = type(default_of(arch))
    return kind(**checked(kind, data))


def default_of(arch: object) -> TransformerConfig | PaperConfig:
    """The sizes that a baseline has unless others are asked for.

    Raises:
        ValueError: there is no such baseline.
    """
    if not isinstance(arch, str) or arch not in ARCHS:
        msg = f"arch {arch!r} is unknown; take one of {', '.join(ARCHS)}"
        raise ValueError(msg)
    return ARCHS[arch]
