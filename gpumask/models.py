"""Atomic models: what they hold, atoms chosen in words, and masks and densities of them (extra ``model``: gemmi).

Positions are (z, y, x) in Å in the frame of the file, which is that of a map's header (ChimeraX). Of atoms in several
conformers the one of highest occupancy is kept (of equals the first), since a mask should hold what is there most of
the time; occupancies weigh nothing else. Only the first of several models is read.

Each residue is of one kind:

* ``protein``, ``nucleic``: what is in a polymer, modified residues and caps included.
* ``glycan``: a sugar bonded to protein or to another glycan, by the file's LINK or struct_conn records or by the
  distance of its anomeric carbon (:data:`gpumask.residues.BOND`) to an atom that is no carbon, or CD1 of tryptophan.
  Sugars that hang on no protein are ligands.
* ``detergent``: a glycoside that is not bonded in this way, that is a sugar with an alkyl chain of six carbons or more
  (or a steroid) in the same residue, and other detergents by name. ``lipid``: by name. ``ion``: single metals and
  halides, and inorganic ions such as sulphate by name. ``water``. All else is ``ligand``, the glycosides of steroids
  that are drugs (digoxin, ouabain) by name.

Names are in :mod:`gpumask.residue_names`; of PDB files also those of four letters that run over column 21.
"""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from gpumask import grids, io, mask, residues, selection, units
from gpumask.errors import InputRefused, UsageError
from gpumask.recipe import STYLES, MaskRecipe
from gpumask.residues import KINDS, LISTED
from gpumask.volume import Header

LARGEST_FILE = 1 << 31  # bytes; the largest entry of the PDB has a ninth of it
SLACK = 1e-6  # px², as in gpumask.mask
CUTOFF = 5  # standard deviations
HYDROGEN = 1
SELECT = "not water"
RADIUS = "3A"  # servalcat's
SERVALCAT = "servalcat"


@dataclass(frozen=True, eq=False)
class Model:
    """Atoms with what they belong to.

    Attributes
    ----------
    name : str
        For messages: the path.
    positions : array of float64, shape (n, 3)
        (z, y, x), Å.
    numbers, masses : arrays, shape (n,)
        Atomic numbers; Da.
    kinds : array of int8, shape (n,)
        Index into :data:`KINDS`.
    names : array of str, shape (n,)
        Names of the atoms, in capitals.
    residue : array of int32, shape (n,)
        Index into `residues`.
    residues : tuple of gpumask.residues.Residue
        Of the whole file, also where atoms were selected.
    notes : tuple of str
        What was left out in reading.
    """

    name: str
    positions: np.ndarray = field(repr=False)
    numbers: np.ndarray = field(repr=False)
    masses: np.ndarray = field(repr=False)
    kinds: np.ndarray = field(repr=False)
    names: np.ndarray = field(repr=False)
    residue: np.ndarray = field(repr=False)
    residues: tuple = field(repr=False)
    notes: tuple = ()

    def __len__(self):
        return len(self.numbers)

    def select(self, words):
        """The atoms that the words mean, such as ``glycan chain A,B`` or ``not (water or ion)``.

        Parameters
        ----------
        words : str
            See :func:`gpumask.selection.atoms`.

        Returns
        -------
        Model

        Raises
        ------
        UsageError
            Words that are not understood.
        InputRefused
            Nothing is selected, or a list names what the model does not hold; the text says what there is.
        """
        chosen = selection.atoms(self, words, KINDS)
        if not chosen.any():
            raise InputRefused(f"{self.name}: holds no {words!r}; it has {_summary(self)}")
        return self._taken(chosen)

    def _taken(self, chosen):
        arrays = ("positions", "numbers", "masses", "kinds", "names", "residue")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})


def read(path):
    """Read a model.

    Parameters
    ----------
    path : str or Path
        PDB or mmCIF, told by its content; may be gzip or bzip2.

    Returns
    -------
    Model

    Raises
    ------
    InputNotFound, InputRefused
        The file is not there, damaged, no model, or holds no atoms.
    MissingExtra
        Without gemmi.
    """
    return parse(io.unpacked(path, LARGEST_FILE), str(path))


def parse(data, name):
    """:func:`read` of a text, bytes or str; `name` is for messages."""
    found = residues.parse(data, name)
    kinds = np.array([residue.kind for residue in found.residues], np.int8)[found.residue]
    return Model(name=name, kinds=kinds, **found._asdict())


def base(model, radius, grid):
    """The voxels within a radius of any atom that is not hydrogen: ``d <= r``.

    Parameters
    ----------
    model : Model
    radius : float
        Å. Hydrogens are left out, as servalcat does, so that a model has one mask with and without them; a model of
        hydrogens alone keeps them.
    grid : Volume
        Its shape, voxel size and origin are used, its data are not. Atoms outside the box count as far as they
        reach in.

    Returns
    -------
    array of bool, shape (z, y, x)
        numpy. An atom within 1e-4 px of a voxel centre lies on it; distances are compared as ``d² <= r² + 1e-6`` px².

    Raises
    ------
    InputRefused
        No atom reaches into the box.
    """
    found = np.zeros(grid.shape, bool)
    radius = _radius(radius, "radius", grid)
    for part, squares in _about_atoms(_heavy(model), radius, grid):
        found[part] |= squares <= radius * radius + SLACK
    return found


def squared_distance(model, reach, grid):
    """Squared distance of the voxels to the nearest atom that is not hydrogen, px².

    Parameters
    ----------
    model, grid
        See :func:`base`.
    reach : float
        Å; beyond it the distance is infinite.

    Returns
    -------
    array of float64, shape (z, y, x)
        On anisotropic voxels in units of the smallest edge.
    """
    found, reach = np.full(grid.shape, np.inf), _radius(reach, "reach", grid)
    for part, squares in _about_atoms(_heavy(model), reach, grid):
        np.minimum(found[part], squares, out=found[part])
    found[found > reach * reach + SLACK] = np.inf
    return found


def soft_mask(model, radius, soft_edge, grid, edge="cosine"):
    """A mask whose soft edge is measured from the atoms, as servalcat's: no steps of the lattice are in it.

    Parameters
    ----------
    model, radius, grid
        See :func:`base`.
    soft_edge : float
        Width in Å outside the radius; the mask falls from 1 to 0 for ``r < d < r + w``, d to the nearest atom.
    edge : str
        Profile, see :func:`gpumask.mask.edge_profile`.

    Returns
    -------
    array of float32, shape (z, y, x)
        numpy. Equal to servalcat's ``mask_from_model`` to the precision of float32.
    """
    inner, width = (_radius(length, what, grid) for length, what in ((radius, "radius"), (soft_edge, "soft edge")))
    squares = squared_distance(model, radius + soft_edge, grid)
    soft = (squares <= inner * inner + SLACK).astype(np.float32)
    if width > 0:
        between = (soft == 0) & np.isfinite(squares)
        soft[between] = mask.edge_profile((np.sqrt(squares[between]) - inner) / width, edge)
    return soft


def density(model, resolution, grid, cutoff=CUTOFF):
    """The density of ChimeraX's ``molmap``: a Gaussian for each atom, hydrogens included.

    ``Σ Z · (2π)^-1.5 · σ^-3 · exp(-d²/2σ²)`` with σ = resolution/(π·√2) = 0.225·resolution, whose transform falls to
    1/e at 1/resolution. Occupancies and B factors weigh nothing.

    Parameters
    ----------
    model : Model
    resolution : float
        Å.
    grid : Volume
        See :func:`base`.
    cutoff : float
        Standard deviations along each axis where a Gaussian is cut (``cutoffRange``).

    Returns
    -------
    array of float32, shape (z, y, x)
        numpy; electrons per Å³, summed in float64 in the order of the atoms.

    Raises
    ------
    InputRefused
        No atom reaches into the box.
    """
    sigma = units.angstrom(resolution) / (np.pi * np.sqrt(2))
    if not 0 < cutoff < np.inf:
        raise UsageError(f"cutoff must be > 0 standard deviations, got {cutoff!r}")
    reach, widths = (units.angstrom_to_corner_px((d,) * 3, grid.voxel_size) for d in (cutoff * sigma, sigma))
    atoms, centres, low, high = _placed(model, reach, grid)
    made = np.zeros(grid.shape, np.float32)
    start, stop = low.min(axis=0), high.max(axis=0)
    total = np.zeros(stop - start)
    weights = model.numbers[atoms] * ((2 * np.pi) ** -1.5 * sigma**-3)
    for weight, centre, first, last in zip(weights, centres, low, high, strict=True):
        z, y, x = (
            np.exp(-0.5 * ((np.arange(a, b) - c) / width) ** 2)
            for a, b, c, width in zip(first, last, centre, widths, strict=True)
        )
        total[_part(first - start, last - start)] += (weight * z)[:, None, None] * (y[:, None] * x)
    made[_part(start, stop)] = total
    return made


def outside(model, grid):
    """The number of atoms that lie outside the box of a Volume."""
    centres = _in_px(model, grid)
    return int(((centres < -0.5) | (centres > np.array(grid.shape) - 0.5)).any(axis=1).sum())


def outside_note(model, grid):
    """A list of one sentence on the atoms that lie outside the box of a Volume, empty where there are none."""
    count = outside(model, grid)
    if not count:
        return []
    lie = "lies" if count == 1 else "lie"
    share = f"{100 * count / len(model):.2g} %"
    return [f"{model.name}: {count} of {len(model)} selected atoms ({share}) {lie} outside the box"]


def around(model, voxel_size, padding):
    """A Volume of nothing, in a box about a model, as ``molmap`` makes one.

    Parameters
    ----------
    model : Model
    voxel_size : float or tuple of float
        Å (z, y, x).
    padding : float
        Å from the outermost atoms to the box faces, or up to two voxels more: sizes are even, and the corner is a
        whole number of voxels from the frame's origin, so that such boxes are on one lattice.

    Returns
    -------
    Volume
        See :func:`gpumask.grids.empty`.
    """
    edges = units.voxel_edges(voxel_size)
    beyond = np.array(units.angstrom_to_corner_px((padding,) * 3, edges))
    places = np.stack(units.angstrom_to_corner_px(model.positions.T, edges), axis=1)
    low = np.floor(places.min(axis=0) - beyond).astype(int).tolist()
    high = np.ceil(places.max(axis=0) + beyond).astype(int).tolist()
    shape = tuple((b - a + 2) // 2 * 2 for a, b in zip(low, high, strict=True))
    return grids.empty(shape, edges, Header(units.corner_px_to_angstrom(low, edges), tuple(low)))


def table(model):
    """What a model holds, a row for each kind that is there, in the order of :data:`KINDS`.

    Returns
    -------
    list of dict
        ``kind``, ``residues`` and ``atoms`` (numbers), ``mass_kda`` (of the atoms that are there), ``chains`` (list),
        ``names`` (of residues, to how many, most frequent first) and, for glycans, ``sites``: a list of ``{"site":
        "A ASN 61", "sugars": {"NAG": 2, "MAN": 1}}``, one for each protein residue that carries sugars.
    """
    rows = []
    for number, kind in enumerate(KINDS):
        chosen = model.kinds == number
        if not chosen.any():
            continue
        found = [model.residues[index] for index in np.unique(model.residue[chosen])]
        row = {
            "kind": kind,
            "residues": len(found),
            "atoms": int(chosen.sum()),
            "mass_kda": float(model.masses[chosen].sum()) / 1000,
            "chains": list(dict.fromkeys(residue.chain for residue in found)),
            "names": _counted(found),
        }
        if kind == "glycan":
            sites = defaultdict(list)
            for residue in found:
                sites[residue.site].append(residue)
            row["sites"] = [
                {"site": str(model.residues[site]), "sugars": _counted(sugars)}
                for site, sugars in sorted(sites.items())
            ]
        rows.append(row)
    return rows


@dataclass(frozen=True)
class ModelRecipe:
    """How a mask or a density is made from a model, in text: lengths ``5px``, ``7A`` or pixels.

    Attributes
    ----------
    select : str
        Which atoms, see :meth:`Model.select`.
    density : str, optional
        Resolution, ``5A``: make the density of :func:`density` in place of a mask.
    radius : str, optional
        Of an atom, default ``3A``, see :func:`base`.
    dilation, soft_edge, edge, resolution, invert
        As of :class:`gpumask.MaskRecipe`: what is done to the base.
    style : str
        As of :class:`gpumask.MaskRecipe`; ``servalcat``: the soft edge is measured from the atoms, see
        :func:`soft_mask`.
    """

    select: str = SELECT
    density: str | None = None
    radius: str | None = None
    dilation: str | None = None
    soft_edge: str | None = None
    edge: str | None = None
    style: str | None = None
    resolution: str | None = None
    invert: bool = False

    def __post_init__(self):
        def put(name, value):
            object.__setattr__(self, name, value)

        if not isinstance(self.select, str):
            raise UsageError(f"a selection must be text such as 'protein or glycan', got {self.select!r}")
        put("select", " ".join(self.select.split()))
        if self.density is not None:
            given = [field.name for field in fields(self)[2:] if getattr(self, field.name) not in (None, False)]
            if given:
                raise UsageError(f"a density has no {given[0].replace('_', ' ')}: that is of a mask; leave it out")
            put("density", str(units.Length(units.angstrom(self.density, "resolution of the density"), "A")))
            return
        radius = units.length(RADIUS if self.radius is None else self.radius, "radius")
        if radius.value < 0:
            raise UsageError(f"radius must be >= 0, got {radius}")
        put("radius", str(radius))
        style = self.style or "euclidean"
        if style not in (*STYLES, SERVALCAT):
            raise UsageError(f"style must be one of {', '.join((*STYLES, SERVALCAT))}, got {style!r}")
        put("style", style)
        of_base = self.of_base
        if style == SERVALCAT and (of_base.edge == "convolved" or units.length(of_base.dilation).value):
            raise UsageError(
                "style servalcat measures the edge from the atoms: give a radius, no dilation or convolution"
            )
        for name in ("dilation", "soft_edge", "edge", "resolution"):
            put(name, getattr(of_base, name))

    @property
    def of_base(self):
        """The :class:`gpumask.MaskRecipe` that makes the mask of the base, whose threshold is 0.5."""
        return MaskRecipe(
            threshold="0.5",
            dilation="0px" if self.dilation is None else self.dilation,
            soft_edge=self.soft_edge,
            edge=self.edge,
            style="euclidean" if self.style == SERVALCAT else self.style,
            resolution=self.resolution,
            invert=self.invert,
        )

    @property
    def hash(self):
        """First 16 hex digits of the SHA-256 of the recipe as canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self):
        """Every field by name, as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """A recipe from a mapping; an unknown key is an error."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise UsageError(f"unknown key in the recipe of a model: {', '.join(unknown)}")
        return cls(**values)


def _counted(found):
    counts = Counter(residue.name for residue in found)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _summary(model):
    """What a model holds, in a line."""
    parts = []
    for row in table(model):
        chains = ",".join(row["chains"][:LISTED]) + (",…" if len(row["chains"]) > LISTED else "")
        names = ",".join(list(row["names"])[:LISTED]) + (",…" if len(row["names"]) > LISTED else "")
        parts.append(f"{row['residues']} {row['kind']} ({names}; chains {chains})")
    return ", ".join(parts)


# in the grid


def _heavy(model):
    """The model without its hydrogens, unless it has nothing else."""
    heavy = model.numbers != HYDROGEN
    return model._taken(heavy) if heavy.any() else model


def _radius(length, what, grid):
    """Å as px of distance."""
    if not 0 <= length <= units.LONGEST:
        raise UsageError(f"{what} must be a number >= 0 Å, got {length!r}")
    return units.to_px(units.Length(float(length), "A"), grid.voxel_size, what)


def _in_px(model, grid):
    """Positions (n, 3) in px from the corner; those within 1e-4 px of a voxel centre are there."""
    places = np.stack(units.angstrom_to_corner_px(model.positions.T, grid.voxel_size, grid.origin), axis=1)
    nearest = np.rint(places)
    return np.where(np.abs(places - nearest) <= units.SNAP, nearest, places)


def _placed(model, reach, grid):
    """Of the atoms that reach into the box: their indices, their positions in px and the corners of the box about each
    (m, 3); refused where there are none. `reach` is in voxels along each axis."""
    places, reach, shape = _in_px(model, grid), np.array(reach) + SLACK, np.array(grid.shape)
    low = np.clip(np.ceil(places - reach), 0, shape).astype(np.int64)
    high = np.clip(np.floor(places + reach) + 1, 0, shape).astype(np.int64)
    atoms = np.flatnonzero((low < high).all(axis=1))
    if not len(atoms):
        raise InputRefused(_off_the_grid(model, grid))
    return atoms, places[atoms], low[atoms], high[atoms]


def _about_atoms(model, radius, grid):
    """For each atom that reaches into the box, a part of the box and the squared distances in it, px²."""
    edges = units.sampling(grid.voxel_size) or (1.0, 1.0, 1.0)
    for centre, first, last in zip(*_placed(model, [radius / edge for edge in edges], grid)[1:], strict=True):
        z, y, x = (
            ((np.arange(a, b) - c) * edge) ** 2 for a, b, c, edge in zip(first, last, centre, edges, strict=True)
        )
        yield _part(first, last), z[:, None, None] + y[:, None] + x


def _part(first, last):
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))


def _off_the_grid(model, grid):
    """Why no atom reaches a voxel of the box: where both lie, how far apart, and what may be wrong."""
    if outside(model, grid) < len(model):
        return (
            f"{model.name}: no voxel centre lies as near to an atom as that; take a larger radius, or for a density a "
            "lower resolution"
        )
    low, high = model.positions.min(axis=0), model.positions.max(axis=0)
    first = np.array(grid.origin)
    last = np.array(units.corner_px_to_angstrom([n - 1 for n in grid.shape], grid.voxel_size, grid.origin))
    gap = np.linalg.norm(np.maximum(0, np.maximum(low - last, first - high)))
    advice = "do they belong together?"
    for there, cause in ((0 * first, "0,0,0"), (-(last - first) / 2, "minus half the box")):
        if (low >= there).all() and (high <= there + last - first).all():
            advice = f"it would lie in the box if the map's origin were {cause}: is that of the header right?"
            break
    return (
        f"{model.name}: lies off the grid by {gap:.0f} Å: its atoms from {_point(low)} to {_point(high)} Å, the box "
        f"from {_point(first)} to {_point(last)} Å (x,y,z); {advice}"
    )


def _point(position):
    return ",".join(f"{part:.0f}" for part in units.xyz(position))
