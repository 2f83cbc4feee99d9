"""Many masks of one map compared: a table of thresholds, dilations, soft edges and edges, from few distance fields."""

import math
from collections import namedtuple
from dataclasses import dataclass, field, replace

import numpy

from gpumask import backend, correlation, coverage, fourier, grids, mask, pipeline, regions, resolution, spectrum, units
from gpumask.errors import InputRefused, UsageError
from gpumask.recipe import parse_edge
from gpumask.volume import Volume

COLUMNS = (
    *("threshold", "dilation_px", "soft_edge_px", "edge", "volume_angstrom3", "mass_kda", "kept", "in_edge", "cut"),
    *("db_at_resolution", "leakage", "effective_voxels", "detectability", "leak_mean", "fsc_predicted_at_resolution"),
    *("k_leak", "resolution_unmasked", "resolution_masked", "resolution_corrected", "anisotropy_db", "flags"),
)
CURVES = ("power_db", "masked", "predicted", "corrected")
NO_LEAK = "no leak is told: "
CUT = 0.01  # of the density: what a mask of the whole particle may cut
ANISOTROPY = 6.0  # dB in a cone of 20°: a flat face
NOT_SWEPT = ("dilation", "soft_edge", "near", "far", "edge", "invert", "style", "resolution")  # of a recipe

_Cell = namedtuple("_Cell", "threshold dilation_px soft_edge_px edge")


@dataclass(frozen=True, eq=False)
class Sweep:
    """What :func:`sweep` finds; undefined is None.

    Attributes
    ----------
    rows : list of dict
        A mask each, in the order thresholds, dilations, soft edges, edges:

        ``threshold`` (the level), ``dilation_px``, ``soft_edge_px``, ``edge``; ``volume_angstrom3`` (Σm), ``mass_kda``
        (of as much protein, 0.81 Da/Å³) · ``kept``, ``in_edge``, ``cut``: shares of the map's density within the base
        of the lowest threshold (:func:`gpumask.coverage.shares`) · ``db_at_resolution``, ``leakage``,
        ``anisotropy_db``: mean power over P(0), share of it beyond, and highest power in a cone, at the resolution, as
        in :class:`gpumask.MaskSpectrum` · ``effective_voxels``: ``(Σm²)² / Σm⁴``.

        With half maps: ``detectability``, d' (see :func:`sweep`) · ``leak_mean`` (Λ), ``fsc_predicted_at_resolution``,
        ``k_leak`` (1/Å): of the FSC that the mask makes by itself, as in :class:`gpumask.MaskSpectrum` ·
        ``resolution_unmasked``, ``resolution_masked``, ``resolution_corrected``: Å at 0.143, the last shell before
        the first value below; corrected with the predicted FSC.

        ``flags``: codes of what is to be known, see ``FLAGS``.
    details : list of dict
        For each row the curves ``power_db``, ``masked``, ``predicted``, ``corrected`` (a value a shell, 0 to Nyquist,
        or None), and ``subtraction_error`` (see :func:`sweep`).
    transforms : dict
        Transforms of the box that each mask took on average, counted where they are made and told in units of a real
        array's (an even array's is half the work): ``spectrum``, ``leak`` and ``masked``; ``mask``: of the
        ``convolved`` edge, in a box of its own. Empty where no mask was measured.
    transforms_once : float
        Those of the half maps that serve every mask, of this sweep and of others that are given the same
        :class:`Halves`.
    box, voxel_size_angstrom : list
        x, y, z; Å.
    resolution : float or None
        The target, Å.
    onset : dict or None
        ``shell`` and ``resolution`` from which on phases are taken to be random.
    frequency : list
        1/Å, of the shells of the curves.
    unmasked : list or None
        FSC of the half maps.
    recipes : dict
        Level → the recipe of its base (:class:`gpumask.MaskRecipe`); but for the threshold they are the same.
    notes : list of str
    """

    rows: list
    details: list = field(repr=False)
    transforms: dict
    transforms_once: float
    box: list
    voxel_size_angstrom: list
    resolution: float | None
    onset: dict | None
    frequency: list = field(repr=False)
    unmasked: list | None = field(repr=False)
    recipes: dict = field(repr=False)
    notes: list

    def recipe(self, row):
        """The :class:`gpumask.MaskRecipe` that makes the mask of a row."""
        size = self.voxel_size_angstrom[::-1]

        def length(pixels):
            if units.is_isotropic(size):
                return str(units.Length(pixels, "px"))
            return str(units.Length(units.to_angstrom(pixels, size), "A"))

        base = self.recipes[row["threshold"]]
        lengths = {name: length(row[f"{name}_px"]) for name in ("dilation", "soft_edge")}
        return replace(base, threshold=row["threshold"], edge=row["edge"], **lengths)

    def to_dict(self):
        """Plain values, as ``sweep.json`` holds them."""
        return {**vars(self), "recipes": {repr(level): recipe.to_dict() for level, recipe in self.recipes.items()}}


@dataclass(frozen=True, eq=False)
class Halves:
    """Half maps with all of them that no mask changes, for any number of sweeps; see :func:`prepare`.

    Attributes
    ----------
    pair : list of Volume
    maps : correlation.HalfMaps
    power, particle : array or None
        Of :meth:`gpumask.correlation.HalfMaps.signal`; None where no leak can be told.
    noise : numpy array or None
        Variance of a half map's noise in each shell, 0 to Nyquist, as it adds to that of a voxel.
    notes : list of str
    transforms : float
        That it took.
    """

    pair: list
    maps: correlation.HalfMaps
    power: object = field(repr=False)
    particle: object = field(repr=False)
    noise: object = field(repr=False)
    notes: list
    transforms: float


def prepare(half1, half2, *, onset=None, assume_unmasked=False, voxel_size=None):
    """Make what no mask changes of two half maps, so that several sweeps share it.

    Parameters
    ----------
    half1, half2, onset, assume_unmasked, voxel_size
        See :func:`sweep`. Memory: 17 bytes a voxel beside the half maps.

    Returns
    -------
    Halves
        For `half1` of :func:`sweep`.

    Raises
    ------
    InputRefused
        Half maps that do not lie on one grid, or that cannot be used.
    UsageError
        An onset that is none.
    TypeError
        Plain arrays without `voxel_size`.
    """
    given = {"the first half map": half1, "the second half map": half2}
    pair, notes = grids.on_one_grid(given, voxel_size)
    size, halves = pair[0].voxel_size, [one.data for one in pair]
    power = particle = noise = None
    with backend.current(halves[0]), fourier.counting() as counted:
        maps = correlation.half_maps(*halves, size, onset, assume_unmasked=assume_unmasked)
        if not maps.refusal:
            maps.prepare()
            power, particle = maps.signal()
            mean, _ = correlation.noise_spectrum(*halves, size)  # of the mean: half of a half map's
            noise = 2 * mean * maps.shells.coefficients[: len(mean)] / math.prod(maps.shape)
    return Halves(pair, maps, power, particle, noise, [*notes, *maps.notes], counted.made)


def target_voxels(half1, region, voxel_size=None):
    """Where a region, the target of d', is >= 0.5 on the grid of the half maps; refused where it is nowhere."""
    (_, placed), _ = grids.on_one_grid({"the half maps": half1, "the region": region}, voxel_size)
    inside = placed.data >= 0.5
    if not bool(inside.any()):
        raise InputRefused("the region is empty: the target of d' is where it is >= 0.5; give a mask that holds one")
    return inside


FLAGS = {
    "empty": "nothing is left after erosion",
    "touches_border": "the mask meets a face of the box",
    "islands": "more than one component",
    "hard": "the edge is under 1 px wide",
    "narrow": "the edge is under 5·resolution/voxel",
    "cuts_density": f"more than {CUT:.0%} of the density is outside",
    "anisotropic": f"over {ANISOTROPY:g} dB in one direction: a flat face",
    "mask_fsc_high": f"the mask makes an FSC over {resolution.MASK_FSC} at the resolution by itself",
    "unmasked_beyond_corrected": "the unmasked FSC reaches further than the corrected: the mask cuts signal",
}


def sweep(
    volume,
    half1=None,
    half2=None,
    *,
    thresholds,
    dilations,
    soft_edges,
    edges=("cosine",),
    resolution=None,
    onset=None,
    region=None,
    density=None,
    assume_unmasked=False,
    voxel_size=None,
    known=(),
    each=None,
    progress=None,
    **recipe,
):
    """Make the masks of every threshold, dilation, soft edge and edge, and measure each.

    One distance field serves all masks of a threshold with dilations >= 0, so that a mask is a table that is looked up.
    Erosions share one field of the inside, and each has another of what it leaves; a mask with a ``convolved`` edge
    measures its own. Of the half maps everything that no mask changes is made once.

    With half maps, the detectability of a target under the mask m,
    ``d' = (Σ m·p_t - Σ m·p_o) / sqrt(Σ m²·p_t + Σ m²·p_o + σ²·Σ m²)``: p is the signal's power
    (:meth:`gpumask.correlation.HalfMaps.signal`), p_t of the target, p_o of the rest of the particle, σ² the variance
    of a half map's noise up to the resolution. The error of a subtraction,
    ``(Σ (1 - m)²·p_t + Σ m²·p_o) / Σ p_t``, is what the mask leaves of the target and takes of the rest.

    Parameters
    ----------
    volume : Volume or array of float32, shape (z, y, x)
        The map that the masks are made from; numpy or CuPy data. A Volume may lie on another grid of the same lattice
        than the half maps: the masks are on theirs.
    half1, half2 : Volume or array, optional
        Unmasked, unfiltered half maps. Or, as `half1` alone, what :func:`prepare` has made of them, with their onset.
    thresholds : str, float or list of them
        As in :func:`gpumask.create_mask`, all with one filter and clean-up: where ``auto`` is among them, which keeps
        the largest component, all do, unless `recipe` says what is kept. Those that give the same level are one.
    dilations, soft_edges : list of str or float
        Lengths: ``"5px"``, ``"7A"``, or a number of pixels. Negative dilations erode.
    edges : list of str
        Profiles, see :func:`gpumask.mask.soft_mask`.
    resolution : float or str, optional
        The target, Å.
    onset : float or str, optional
        See :func:`gpumask.correlation.onset_shell`.
    region : Volume or array, optional
        The target of d', where it is >= 0.5: a domain, for masks of it. Default: all of the particle that is connected
        to the base of the lowest threshold.
    density : Volume or array, optional
        A map on the grid of the masks, of which ``kept``, ``in_edge`` and ``cut`` are told; `volume` is then a base,
        not a map. Default: `volume`.
    assume_unmasked : bool
        Take the half maps to be unmasked, whatever they look like.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); only with plain arrays.
    known : iterable of (dict, dict)
        Rows and details of an earlier sweep of the same maps, which are taken over instead of measured.
    each : callable, optional
        ``each(sweep, row, mask)`` is called with what is there so far after each mask that was measured.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.
    **recipe
        Other fields of :class:`gpumask.MaskRecipe`: filter and clean-up.

    Returns
    -------
    Sweep

    Raises
    ------
    UsageError
        A grid that cannot be, one half map without the other.
    InputRefused
        A threshold above the map; maps that do not lie on one grid, or half maps that cannot be used; an empty region.
    TypeError
        Plain arrays without `voxel_size`.
    """
    prepared = half1 if isinstance(half1, Halves) else None
    if prepared is not None:
        if half2 is not None or onset is not None or assume_unmasked:
            raise UsageError("prepared half maps have their onset and are a pair; give nothing of it again")
        half1, half2 = prepared.pair
    if (half1 is None) != (half2 is None):
        raise UsageError("give both half maps or none")
    if half1 is None and (onset is not None or region is not None or assume_unmasked):
        raise UsageError("an onset, a region or that half maps are unmasked says nothing without half maps; give both")
    progress = progress or (lambda name, share=None: None)
    name = "the map" if density is None else "the base"
    run = _Run(name, volume, half1, half2, voxel_size, resolution, progress)
    with backend.current(run.volume.data):
        run.base(thresholds, recipe, density)
        cells = run.cells(dilations, soft_edges, edges)
        if half1 is not None:
            inside = None if region is None else target_voxels(run.grid, region)
            progress("half maps")
            run.half_maps(prepared or prepare(*run.pair, onset=onset, assume_unmasked=assume_unmasked), inside)
        return run.measured(cells, known, each)


class _Run:
    """A sweep on its way, a step at a time."""

    def __init__(self, name, volume, half1, half2, voxel_size, target, progress):
        self.name, self.progress = name, progress
        self.elsewhere = half1 is not None and isinstance(volume, Volume) and volume.shape != half1.shape
        halves = {"the first half map": half1, "the second half map": half2}
        maps = halves if self.elsewhere else {name: volume, **halves}
        placed, self.notes = grids.on_one_grid(maps, voxel_size)
        self.grid, self.pair = placed[0], [one for one in placed[-2:] if one is not None]
        self.volume = volume if self.elsewhere else placed[0]
        self.size, self.shape = self.grid.voxel_size, self.grid.shape
        self.sampling = units.sampling(self.size)
        self.shells = fourier.shells(self.shape, self.size)
        self.target = None if target is None else units.angstrom(target)
        finest = units.nyquist_resolution(self.size)
        if self.target is not None and (self.target < finest * (1 - spectrum.ROUNDING) or not self.shells.nyquist):
            raise UsageError(f"resolution {self.target:g} Å is beyond Nyquist, {finest:.4g} Å; give a coarser one")
        self.shell = None if self.target is None else spectrum.shell_of(self.target, self.shells)
        self.minimum = None if self.target is None else units.minimum_soft_edge_px(self.target, self.size)
        self.halves = self.signal = None
        self.made, self.made_once = dict.fromkeys(("mask", "spectrum", "leak", "masked"), 0.0), 0.0

    def base(self, thresholds, fields, density):
        """The bases of all thresholds, and the density of the lowest."""
        swept = sorted(set(fields) & set(NOT_SWEPT))
        if swept:
            raise UsageError(f"a sweep has its own {' and '.join(swept)}; leave it out of the recipe")
        recipes = self._alike(thresholds, fields)
        self.progress("filter")
        pipeline.check_finite(self.volume.data, self.name)
        step = pipeline.timer({}, self.progress)
        recipe = recipes[0]
        data = pipeline.filtered(self.volume, recipe)
        self.bases, self.recipes = {}, {}
        for one in recipes:
            base, level, _, notes = pipeline.found_base(data, one, self.volume, step)
            self._note(*notes, *level.warnings)
            value = float(str(numpy.float32(level.value)))  # 0.1, not 0.10000000149: the same in float32
            if value in self.bases:
                first = self.recipes[value].threshold
                self._note(f"thresholds {first} and {one.threshold} are one level, {value:g}; its masks are made once")
                continue
            base = self._laid(base)
            pipeline.check_overlap(bool(base.any()), self.name, "the half maps")
            self.bases[value], self.recipes[value] = base, one
        self.lowest = self.bases[min(self.bases)]
        if density is not None:
            data = grids.on_one_grid({"the masks": self.grid, "the density": density})[0][1].data
        else:
            data = self._laid(abs(data) if recipe.absolute_value else data)
        self.density = data * self.lowest
        self.dense = regions.bounding_box(self.density > 0)
        if self.dense is None:
            if density is not None:
                raise InputRefused(f"no voxel of {self.name} has density above 0; give one that lies in the particle")
            raise InputRefused(f"the map has no density above 0 at {min(self.bases):.6g}; give a threshold above 0")

    def _alike(self, thresholds, fields):
        """The recipe of each threshold, all with the same clean-up: that of ``auto``, where it is among them."""
        thresholds = [thresholds] if numpy.ndim(thresholds) == 0 else list(thresholds)
        if not thresholds:
            raise UsageError("a sweep needs a threshold")
        recipes = [pipeline.build_recipe(threshold=text, **fields) for text in thresholds]
        largest = {recipe.largest for recipe in recipes}
        if len(largest) > 1:
            (kept,) = largest - {None}
            recipes = [replace(recipe, largest=kept) for recipe in recipes]
            self._note(
                "threshold auto keeps the largest component, so that all thresholds of this sweep do; say how many "
                "are kept to have it otherwise (--largest N)"
            )
        return recipes

    def _note(self, *texts):
        self.notes += [text for text in texts if text not in self.notes]

    def _laid(self, array):
        """An array of the map's grid on that of the half maps."""
        if not self.elsewhere:
            return array
        laid, notes = grids.paste(self.name, self.volume.with_data(array), "the half maps", self.grid)
        self._note(*notes)
        return laid.data

    def cells(self, dilations, soft_edges, edges):
        """Every mask that is asked for."""
        edges = [edges] if isinstance(edges, str) else list(edges)
        for edge in edges:
            parse_edge(edge)
        dilations, soft_edges = (
            [units.to_px(text, self.size, what) for text in ([texts] if numpy.ndim(texts) == 0 else texts)]
            for texts, what in ((dilations, "dilation"), (soft_edges, "soft edge"))
        )
        if not (dilations and soft_edges and edges):
            raise UsageError("a sweep needs a dilation, a soft edge and an edge at the least")
        if min(soft_edges) < 0:
            raise UsageError(f"soft edge must be >= 0 px, got {min(soft_edges):g} px")
        parts = [dict.fromkeys(values) for values in (self.bases, dilations, soft_edges, edges)]
        return [_Cell(t, d, w, e) for t in parts[0] for d in parts[1] for w in parts[2] for e in parts[3]]

    def half_maps(self, prepared, region):
        """What no mask changes."""
        self.halves, self.made_once = prepared.maps, prepared.transforms
        self._note(*prepared.notes)
        if self.halves.refusal:
            self.notes.append(f"{NO_LEAK}{self.halves.refusal}")
            return
        self.signal = _Signal(prepared, self.lowest, region, self.shell)

    def measured(self, cells, known, each):
        """The sweep, mask after mask."""
        found = {_Cell(*(row[name] for name in _Cell._fields)): (row, detail) for row, detail in known}
        there = [cell for cell in cells if cell in found]
        missing = len(cells) - len(there)
        count = 0
        for level, base in self.bases.items():
            masks = _Masks(base, [c for c in cells if c.threshold == level and c not in found], self.sampling)
            for cell in masks.cells:
                self.progress("masks", count / missing)
                with fourier.counting() as counted:
                    soft = masks.make(cell)
                self.made["mask"] += counted.made
                found[cell] = self._measure(cell, soft)
                count += 1
                if each is not None:
                    each(self._sweep([c for c in cells if c in found], found, count), found[cell][0], soft)
        return self._sweep(cells, found, count)

    def _sweep(self, cells, found, count):
        halves = self.halves
        told = halves is not None and not halves.refusal
        onset = {"shell": halves.onset, "resolution": 1 / (halves.onset * self.shells.step)} if told else None
        return Sweep(
            rows=[found[cell][0] for cell in cells],
            details=[found[cell][1] for cell in cells],
            transforms={name: made / count for name, made in self.made.items() if made} if count else {},
            transforms_once=self.made_once,
            box=units.xyz(self.shape),
            voxel_size_angstrom=units.xyz(self.size),
            resolution=self.target,
            onset=onset,
            frequency=self.shells.frequency[: self.shells.nyquist + 1].tolist(),
            unmasked=None if halves is None else spectrum.listed(halves.unmasked),
            recipes=self.recipes,
            notes=list(self.notes),
        )

    def _measure(self, cell, soft):
        """Row and details of one mask."""
        row = dict(zip(_Cell._fields, cell, strict=True)) | dict.fromkeys(COLUMNS[len(_Cell._fields) :])
        detail = dict.fromkeys((*CURVES, "subtraction_error"))
        volume, energy, fourth = _moments(soft)
        row["volume_angstrom3"] = units.volume_angstrom3(volume, self.size)
        row["mass_kda"] = units.mass_kda(row["volume_angstrom3"])
        if not volume:
            row["flags"] = ["empty"]
            return row, detail
        share = coverage.shares(soft[self.dense], self.density[self.dense])
        row |= {"kept": share.kept, "in_edge": share.edge, "cut": share.cut, "effective_voxels": energy**2 / fourth}
        with fourier.counting() as counted:
            transform = fourier.rfftn(soft, "float32")
        self.made["spectrum"] += counted.made
        power = fourier.shell_sums(transform, transform, self.shape, self.size)
        mean = power / self.shells.coefficients
        detail["power_db"] = [spectrum.decibel(p / mean[0]) for p in mean[: self.shells.nyquist + 1]]
        if self.target is not None:
            row["db_at_resolution"] = detail["power_db"][self.shell]
            row["leakage"] = float(power @ spectrum.shares_beyond(self.target, self.shells) / power.sum())
            turn = spectrum.anisotropy(*fourier.coefficients_on_shell(transform, self.shape, self.size, self.shell))
            row["anisotropy_db"] = turn and turn["max_db"]
        if self.halves is not None:
            self._correlated(row, detail, soft, transform)
        if self.signal is not None:
            row["detectability"], detail["subtraction_error"] = self.signal.under(soft, energy)
        row["flags"] = self._flags(row, soft)
        return row, detail

    def _correlated(self, row, detail, soft, transform):
        """The FSC under the mask, what the mask makes of it by itself, and what is left without that."""
        halves = self.halves
        with fourier.counting() as counted:
            pair = [fourier.rfftn(half.data * soft, "float32") for half in self.pair]
        self.made["masked"] += counted.made
        masked = correlation.curve(*fourier.shell_products(*pair, self.shape, self.size))[: self.shells.nyquist + 1]
        del pair
        curves = {"masked": masked}
        row["resolution_unmasked"], row["resolution_masked"] = map(self._resolution, (halves.unmasked, masked))
        if not halves.refusal:
            with fourier.counting() as counted:
                predicted = halves.predicted(soft, transform)
            self.made["leak"] += counted.made
            start = halves.onset + correlation.SKIPPED
            corrected = masked.copy()
            corrected[start:] = correlation.corrected(masked[start:], predicted[start:])
            curves |= {"predicted": predicted, "corrected": corrected}
            row["resolution_corrected"] = self._resolution(corrected)
            row["k_leak"] = spectrum.leak_limit(predicted, self.shells)
            if self.shell is not None:
                row["leak_mean"] = spectrum.leak_mean(predicted, halves.onset, self.shell)
                row["fsc_predicted_at_resolution"] = spectrum.listed(predicted[self.shell : self.shell + 1])[0]
        detail |= {name: spectrum.listed(curve) for name, curve in curves.items()}

    def _resolution(self, curve):
        return resolution.crossing(curve, 0.143, self.shells)["first"]

    def _flags(self, row, soft):
        edge = mask.equivalent_edge(soft, self.sampling)
        verdict = mask.verdict(edge, self.minimum)
        corrected, unmasked = row["resolution_corrected"], row["resolution_unmasked"]
        further = row["resolution_masked"] is not None and unmasked is not None and self.signal is not None
        further = further and (corrected is None or unmasked < corrected * (1 - spectrum.ROUNDING))
        told = {
            "touches_border": bool(mask.faces_touched(soft)),
            "islands": regions.component_count(soft >= 0.5) > 1,
            "hard": verdict == "hard",
            "narrow": verdict == "narrow",
            "cuts_density": row["cut"] > CUT,
            "anisotropic": row["anisotropy_db"] is not None and row["anisotropy_db"] > ANISOTROPY,
            "mask_fsc_high": (row["fsc_predicted_at_resolution"] or 0.0) > resolution.MASK_FSC,
            "unmasked_beyond_corrected": further,
        }
        return [code for code in FLAGS if told.get(code)]


class _Signal:
    """The signal of a target and of the rest of the particle, and the noise, that masks are judged by."""

    def __init__(self, halves, base, region, shell):
        particle = halves.particle
        if region is None:
            region = regions.holding(particle | base, base)
        rest = particle & ~region
        self.box = regions.bounding_box(particle | region)
        inside = halves.power[self.box]
        self.parts = [inside * where[self.box] for where in (region, rest)]
        self.target = float(self.parts[0].sum(dtype="float64"))
        self.variance = float(halves.noise[: None if shell is None else shell + 1].sum())

    def under(self, soft, energy):
        """d' and the error of a subtraction; None where they are undefined. `energy` is Σm²."""
        soft = soft[self.box]
        (kept, kept_squared), (taken, taken_squared) = (_moments(soft, part) for part in self.parts)
        below = kept_squared + taken_squared + self.variance * energy
        error = self.target - 2 * kept + kept_squared + taken_squared
        return (
            (kept - taken) / math.sqrt(below) if below > 0 else None,
            error / self.target if self.target > 0 else None,
        )


class _Masks:
    """The masks of one base, from one distance field, and one for each erosion."""

    def __init__(self, base, cells, sampling):
        self.base, self.cells, self.sampling = base, cells, sampling
        self.inside = self.eroded_by = self.field = None

    def make(self, cell):
        """The mask of a cell, with the bytes of :func:`gpumask.mask.soft_mask`."""
        radius, width = cell.dilation_px, cell.soft_edge_px
        if cell.edge == "convolved" and width > 0:
            return mask.soft_mask(self.base, radius, width, cell.edge, sampling=self.sampling)
        erosion = max(-radius, 0.0)
        if self.field is None or erosion != self.eroded_by:
            self._measure(erosion)
        edge = "cosine" if cell.edge == "convolved" else cell.edge  # without a width there is no edge
        return mask.from_distance(self.field, max(radius, 0.0), width, edge, self.sampling)

    def _measure(self, erosion):
        """The distances from the base, eroded where asked, as far as its masks reach."""
        self.field, base = None, self.base
        if erosion:
            if self.inside is None:
                deepest = -min(cell.dilation_px for cell in self.cells)
                self.inside = mask.squared_distance(self.base, deepest, self.sampling, inverted=True)
            base = mask.erode(self.base, erosion, self.sampling, self.inside)
        reach = max(
            max(cell.dilation_px, 0.0) + cell.soft_edge_px
            for cell in self.cells
            if max(-cell.dilation_px, 0.0) == erosion
        )
        self.field, self.eroded_by = mask.squared_distance(base, reach, self.sampling), erosion


def _moments(soft, weight=None):
    """``Σm, Σm², Σm⁴``, or ``Σm·p, Σm²·p`` of a weight p; float64, in an order that no thread changes."""
    xp = backend.xp(soft)
    sums = xp.zeros((len(soft), 3 if weight is None else 2))

    def add(start, stop):
        values = soft[start:stop].astype(xp.float64)
        squares = values * values
        if weight is None:
            terms = values, squares, squares * squares
        else:
            terms = values * weight[start:stop], squares * weight[start:stop]
        for i, term in enumerate(terms):
            sums[start:stop, i] = term.sum(axis=(1, 2))

    fourier.over_planes(add, soft)
    return tuple(float(total) for total in sums.sum(axis=0))
