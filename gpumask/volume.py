"""Volume: a map or mask with its voxel size and place in space."""

from dataclasses import dataclass, field, replace
from typing import Any

from gpumask import units
from gpumask.errors import UsageError


@dataclass(frozen=True)
class Header:
    """What an MRC header says beyond data and voxel size; triples are (z, y, x).

    Attributes
    ----------
    origin : tuple of float
        The header's ORIGIN field, Å.
    nstart : tuple of int
        The header's NSTART fields, voxels.
    mode : int
        MRC mode of the file, 2 for data that never was in one.
    labels : tuple of str
        The header's text labels.
    """

    origin: tuple = (0.0, 0.0, 0.0)
    nstart: tuple = (0, 0, 0)
    mode: int = 2
    labels: tuple = ()


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional map or mask.

    Attributes
    ----------
    data : array
        Shape (z, y, x), C order, float32; numpy or CuPy.
    voxel_size : tuple of float
        Voxel edges (z, y, x) in Å.
    header : Header
        The facts that are kept from the file this volume came from.
    recipe : MaskRecipe or None
        How a mask was made.
    """

    data: Any = field(repr=False)
    voxel_size: tuple
    header: Header = Header()
    recipe: Any = None

    def __post_init__(self):
        object.__setattr__(self, "voxel_size", units.voxel_edges(self.voxel_size))
        if getattr(self.data, "ndim", None) != 3:
            shape = getattr(self.data, "shape", type(self.data).__name__)
            raise UsageError(f"a volume needs an array of three axes (z, y, x), got {shape}")
        if 0 in self.data.shape:
            raise UsageError(f"a volume needs at least one voxel along each axis, got {self.data.shape}")

    @property
    def shape(self):
        """Box (z, y, x) in voxels."""
        return self.data.shape

    @property
    def origin(self):
        """Position (z, y, x) in Å of voxel (0, 0, 0), by ChimeraX's rule: the header's ORIGIN where any component is
        non-zero, else NSTART times the voxel size."""
        if any(self.header.origin):
            return self.header.origin
        return tuple(n * v for n, v in zip(self.header.nstart, self.voxel_size, strict=True))

    def with_data(self, data, **changes):
        """The same grid and header with other data."""
        return replace(self, data=data, **changes)
