"""The recipe for glycoproteins: a mask to the protein's edge, with a very soft edge through the glycans.

What it keeps and what it leaks, beside a mask that covers the glycans with a narrower edge: of refinements under such
masks streaks along the glycans were reported ("Masking out glycans", CryoSPARC Discuss), and none with the soft one.

The lower leak is that of the wider edge: a mask that covers the glycans with the same edge, which stands beside the
two, leaks no more. What the core-soft mask has over that one is that the glycans weigh less the farther they reach out.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from gpumask import backend, correlation, coverage, grids, mask, models, pipeline, regions, spectrum, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs
from gpumask.recipe import DEFAULT_SOFT_EDGE, lengths, preset

PRESET = preset("glycoprotein")
SELECT, DILATION = "protein or nucleic", "3A"  # of a model: 6 Å from its atoms in all
DENSITY = 2.0  # of the Nyquist resolution, that is 4 voxels: of a model's density where no resolution is given
COVER_SOFT_EDGE = units.length(DEFAULT_SOFT_EDGE).value  # px, of the thread's masks that cover the glycans too
LEAK = ("leak_mean", "k_leak", "mask_limited_resolution")
LOWER = 0.5  # of the threshold: where weak density ends
WEAK = "weaker density around it"


class Bodies(NamedTuple):
    """What a core-soft mask is judged with; arrays (z, y, x) on its grid, numpy or CuPy.

    Attributes
    ----------
    names : list of str
        What the core is, and the weak part where there is one.
    densities : list of arrays
        Of each, 0 elsewhere.
    cover : array of bool
        The base that holds both.
    """

    names: list
    densities: list
    cover: Any


def defaults(preset, fields):
    """Fields that the recipe of a core-soft mask of a map gets beside these, which options and files give."""
    if preset is not None:
        raise UsageError("--core-soft is the preset glycoprotein, with what it keeps and cuts: leave --preset out")
    is_grown = any(fields.get(name) is not None for name in ("dilation", "near"))
    return {} if is_grown else {"dilation": PRESET["dilation"]}


def leaks(core_soft, given, voxel_size):
    """:class:`Leaks` of the options of half maps that are given, by name; without `core_soft` None, and none may be."""
    if core_soft:
        return Leaks(**given, voxel_size=voxel_size)
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise UsageError(f"{names}: for the leak of a core-soft mask; give --core-soft too")
    return None


def completed(recipe, voxel_size):
    """The recipe with the very soft edge where it names none: 25 px, or 5·resolution/voxel where that is more, rounded
    up."""
    if recipe.invert:
        raise UsageError("a core-soft mask is one of the particle; leave --invert out")
    if recipe.soft_edge is not None or recipe.near is not None:
        return recipe
    width = units.to_px(PRESET["soft_edge"], voxel_size, "soft edge of --core-soft")
    if recipe.resolution is not None:
        width = max(width, lengths(recipe, voxel_size)[1])
    return replace(recipe, soft_edge=f"{units.plain(width)}px")


def bodies_of_map(volume, recipe, level, like=None):
    """Core and weak density of a map without a model.

    The core is the base of `recipe`. Weak density lies around it: what of the filtered map is at or above half the
    threshold, 26-connected with the core and no part of it; within the clip sphere, where the recipe has one.

    Parameters
    ----------
    volume : Volume
    recipe : MaskRecipe
    level : float
        The threshold in numbers.
    like : Volume, optional
        Whose grid the mask has.

    Returns
    -------
    bodies : Bodies
    warnings : list of str
    """
    if not level > 0:
        raise InputRefused(
            f"--core-soft takes density down to half the threshold for glycans, and the threshold is {level:.6g}: give "
            "one above 0"
        )
    low, notes = LOWER * level, []
    bare = replace(
        recipe, dilation="0px", soft_edge="0px", near=None, far=None, edge=None, style="euclidean", resolution=None
    )
    core = pipeline.make(volume, bare).volume.data > 0
    density = pipeline.filtered(volume, recipe)
    if recipe.absolute_value:
        density = abs(density)
    around = mask.threshold(density, low)
    if recipe.clip_radius is not None:
        place = pipeline.Place.of(recipe, volume)
        around = regions.clip(around, place.clip_centre_px, place.clip_radius_px, place.sampling)
    cover = regions.holding(around | core, core)
    if set(mask.faces_touched(cover)) - set(mask.faces_touched(core)):
        notes.append(
            f"density at half the threshold, {low:.6g}, reaches the faces of the box: that is noise; low-pass the map "
            "first (--lowpass 10A)"
        )
    arrays = [density * core, density * (cover & ~core), cover]
    if like is not None:
        arrays = [grids.paste("the map", volume.with_data(array), "the reference", like)[0].data for array in arrays]
    *densities, cover = arrays
    names = [f"density >= {level:.6g}", f"{WEAK} >= {low:.6g}"]
    if not bool((densities[1] > 0).any()):
        notes.append("there is no weaker density around the core: half the threshold adds no voxel")
        del names[1], densities[1]
    return Bodies(names, densities, cover), notes


def bodies_of_model(whole, chosen, recipe, grid, device):
    """Core and glycans of a model.

    Parameters
    ----------
    whole, chosen : Model
        The core is what is chosen; the glycans are those of the whole that are not chosen.
    recipe : ModelRecipe
    grid : Volume
    device : str
        Where the arrays go.

    Returns
    -------
    bodies : Bodies
        Densities are molmap's at the resolution of the recipe, or of 4 voxels.
    warnings : list of str
    """
    size = grid.voxel_size
    radius = units.to_angstrom(units.to_px(recipe.radius, size, "radius"), size)
    resolution = DENSITY * units.nyquist_resolution(size)
    if recipe.resolution is not None:
        resolution = units.angstrom(recipe.resolution)
    parts, notes = {recipe.select: chosen}, []
    try:
        parts["glycans"] = whole.select(f"glycan and not ({recipe.select})")
    except InputRefused:
        notes.append(f"{whole.name}: has no glycans beside what is selected, through which an edge would be soft")
    cover = np.zeros(grid.shape, bool)
    names, densities = [], []
    for words, part in parts.items():
        names.append(f"{words}: density of {len(part)} atoms at {resolution:.3g} Å")
        densities.append(backend.place_array(models.density(part, resolution, grid), device))
        cover |= models.base(part, radius, grid)
    return Bodies(names, densities, backend.place_array(cover, device)), notes


class Leaks:
    """Half maps that the leak of masks is judged with, if they are given.

    Parameters
    ----------
    half1, half2 : str or Path, optional
        The second is found by the name of the first where it is left out.
    onset : float or str, optional
        See :func:`gpumask.correlation.onset_shell`.
    assume_unmasked : bool
        Take them to be unmasked, whatever they look like.
    voxel_size, nan_to
        See :func:`gpumask.read`.

    Attributes
    ----------
    records : dict or None
        Path and SHA-256 of both half maps.
    notes : list of str
    """

    def __init__(self, half1=None, half2=None, onset=None, assume_unmasked=False, voxel_size=None, nan_to=None):
        if half1 is None and (half2 is not None or onset is not None or assume_unmasked):
            raise UsageError("--half2, --onset and --assume-unmasked are for half maps: give the first with --half1")
        self.maps = None if half1 is None else inputs.Maps(half1, half2, voxel_size=voxel_size, nan_to=nan_to)
        self.onset, self.assume_unmasked = onset, assume_unmasked
        self.records, self.notes = None, []

    @property
    def paths(self):
        """Of the files that are read."""
        return [] if self.maps is None else list(self.maps.paths.values())

    def read(self, name, grid):
        """Read the half maps; refused where they are not on the grid of the mask."""
        if self.maps is not None:
            self.maps.read()
            self.records = self.maps.records
            self.notes += self.maps.notes
            note = inputs.check_grid(self.maps.paths["half1"], self.maps.half1, name, grid)
            self.notes += [note] if note else []

    def prepared(self, device, voxel_size):
        """See :func:`gpumask.correlation.half_maps`; None without half maps."""
        if self.maps is None:
            return None
        placed = [backend.place(half, device).data for half in (self.maps.half1, self.maps.half2)]
        return correlation.half_maps(*placed, voxel_size, self.onset, assume_unmasked=self.assume_unmasked)


def told(soft, recipe, bodies, leaks, device, reason, name):
    """:func:`compared` on a device, else on the CPU.

    Parameters
    ----------
    soft : Volume
        The mask that was made, in host memory.
    recipe : MaskRecipe
    bodies : callable
        ``bodies(device)`` gives the :class:`Bodies` there, and warnings.
    leaks : Leaks
    device, reason : str
        See :func:`gpumask.backend.choose`.
    name : str or Path
        What messages call the mask.

    Returns
    -------
    facts : dict
        As of :func:`compared`, and ``half_maps``, path and SHA-256 of each or None.
    warnings : list of str
    """
    leaks.read(name, soft)

    def work(device):
        with backend.current(device):
            made, notes = bodies(device)
            halves = leaks.prepared(device, soft.voxel_size)
            facts, more = compared(backend.place(soft, device), recipe, made, halves)
            return facts, [*notes, *more]

    (facts, notes), _, steps_down = devices.run(work, device, reason)
    return {**facts, "half_maps": leaks.records}, [*leaks.notes, *notes, *steps_down]


def compared(soft, recipe, bodies, halves=None):
    """A core-soft mask beside masks that cover the glycans: the same dilation, an edge of 12 px and its own edge.

    Parameters
    ----------
    soft : Volume
        The core-soft mask; numpy or CuPy data.
    recipe : MaskRecipe
        How it was made of its base.
    bodies : Bodies
    halves : HalfMaps, optional

    Returns
    -------
    facts : dict
        ``core`` and ``weak``, what they are; ``resolution_angstrom``; ``masks``, ``core_soft``, ``cover`` and
        ``cover_same_edge`` (None where there is nothing to cover), each with ``dilation_px``, ``soft_edge_px``, the
        :class:`Shares` of ``core`` and ``weak``, and of its leak ``leak_mean``, ``k_leak``, ``mask_limited_resolution``
        and ``predicted_fsc`` (at the resolution), None where it cannot be told.
    warnings : list of str
    """
    size, resolution = soft.voxel_size, recipe.resolution
    radius, width = lengths(recipe, size)
    edges = {"core_soft": width, "cover": COVER_SOFT_EDGE, "cover_same_edge": width}
    measured = dict.fromkeys(edges)
    for name, edge in edges.items():
        one = soft
        if name != "core_soft":
            if len(bodies.densities) == 1:
                continue
            cover = mask.soft_mask(bodies.cover, radius, edge, recipe.edge, recipe.style, units.sampling(size))
            one = soft.with_data(cover, recipe=None)
        kept = dict.fromkeys(("core", "weak"))
        for body, density in zip(kept, bodies.densities, strict=False):
            kept[body] = coverage.shares(one.data, density)._asdict()
        measured[name] = {"dilation_px": radius, "soft_edge_px": edge, **kept, **_leak(one, resolution, halves)}
    facts = {
        **dict(zip(("core", "weak"), (*bodies.names, None), strict=False)),
        "resolution_angstrom": None if resolution is None else units.angstrom(resolution),
        "masks": measured,
    }
    if halves is None:
        return facts, []
    return facts, [*halves.notes, *([f"no leak is told: {halves.refusal}"] if halves.refusal else [])]


def _leak(soft, resolution, halves):
    """What a mask leaks; None where that cannot be told."""
    facts = dict.fromkeys((*LEAK, "predicted_fsc"))
    if halves is None:
        return facts
    found = spectrum.mask_spectrum(soft, resolution, halves=halves, seeds=0)
    facts |= {name: getattr(found, name) for name in LEAK}
    if resolution is not None and found.predicted_fsc is not None:
        target = units.angstrom(resolution)
        nearest = min(found.shells, key=lambda row: abs(row["frequency"] - 1 / target))
        facts["predicted_fsc"] = found.predicted_fsc[nearest["index"]]
    return facts
