"""Recipe → mask, in named and timed steps."""

import math
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from gpumask import backend, filters, grids, mask, morphology, positions, regions, thresholds, units
from gpumask.errors import GpumaskWarning, InputRefused, UsageError
from gpumask.recipe import MaskRecipe, lengths, parse_butterworth, parse_threshold, preset
from gpumask.volume import Volume

CLEAN_UP = ("clip_radius", "hysteresis", "opening", "dust", "seed", "largest", "closing")  # and fill_holes
NOTHING_LEFT = {
    "clip_radius": "nothing above the threshold lies within {clip_radius} of the clip centre; move it or clip wider",
    "hysteresis": "no component reaches the hysteresis level {hysteresis}; lower it",
    "opening": "the opening by {opening} leaves nothing; open less or lower the threshold",
    "dust": "every component is dust below {dust:g} Å³; lower --dust or the threshold",
}
MAIN_SHARE = 0.9  # of the voxels above the level, that the largest component should hold


@dataclass(frozen=True)
class Made:
    """A mask and what is known about it; lengths in px (:func:`gpumask.units.pixel_edge` on anisotropic voxels)."""

    volume: Volume | None
    threshold: float
    dilation_px: float
    soft_edge_px: float
    base_voxels: int
    volume_angstrom3: float
    equivalent_edge_px: float
    minimum_soft_edge_px: float | None
    components: int
    faces_touched: list
    verdict: str | None
    seconds: dict = field(repr=False)
    warnings: list = field(repr=False)
    threshold_why: str | None = None
    hysteresis: thresholds.Level | None = None
    survey: tuple | None = field(default=None, repr=False)  # of the volume's data, see io.encode_pieces


def create_mask(volume, recipe=None, *, voxel_size=None, preset=None, like=None, **parameters):
    """Make a soft mask from a map.

    Filter → threshold → clean-up → dilate or erode → soft edge → invert; only the threshold is required.

    Parameters
    ----------
    volume : Volume or array of float32, shape (z, y, x)
        The map; numpy or CuPy data. An array needs `voxel_size`.
    recipe : MaskRecipe, optional
        Where to start from.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); only with a plain array.
    preset : str, optional
        ``cryosparc-v4``, ``cryosparc-v5:3.5A``, ``subtraction`` or ``glycoprotein``, see ``gpumask.recipe.PRESETS``.
    like : Volume, optional
        A map on the same lattice whose grid the mask gets; with a Volume only.
    **parameters
        Fields of :class:`MaskRecipe`, which override preset and recipe: ``threshold``, ``dilation``, ``soft_edge``, …
        Lengths are ``"5px"``, ``"7A"`` or a number of pixels.

    Returns
    -------
    Volume or array
        What was given: a Volume with ``recipe`` set, or a float32 array. Values are in [0, 1].

    Raises
    ------
    UsageError
        A parameter that cannot be used.
    InputRefused
        The mask would be empty, or everything.
    TypeError
        A plain array without `voxel_size`.

    Warns
    -----
    GpumaskWarning
        The edge meets a face of the box, the mask is binary, has islands, or a soft edge under 5·resolution/voxel.

    Examples
    --------
    >>> import numpy as np
    >>> box = np.zeros((64, 64, 64), np.float32)
    >>> box[32, 32, 32] = 1
    >>> mask = create_mask(box, voxel_size=1.4, threshold=0.5, dilation="7A", soft_edge="17px")
    >>> float(mask[32, 32, 37]), round(float(mask[32, 32, 38]), 4)
    (1.0, 0.9915)
    """
    recipe = build_recipe(recipe, preset, **parameters)
    if isinstance(volume, Volume):
        if voxel_size is not None:
            raise UsageError("a Volume has its own voxel size: give voxel_size with plain arrays only")
        made = make(volume, recipe, like=like)
    else:
        if voxel_size is None:
            raise TypeError("create_mask of a plain array needs voxel_size=, in Å")
        if like is not None:
            raise UsageError("like needs to know where the map lies: give a Volume, not a plain array")
        made = make(Volume(volume, voxel_size), recipe)
    for text in made.warnings:
        warnings.warn(text, GpumaskWarning, stacklevel=2)
    return made.volume if isinstance(volume, Volume) else made.volume.data


def build_recipe(recipe=None, preset_name=None, **parameters):
    """A recipe from, in rising order of precedence, a recipe, a preset and single fields (None: not given)."""
    values = recipe.to_dict() if isinstance(recipe, MaskRecipe) else dict(recipe or {})
    layers = [
        preset(preset_name) if preset_name else {},
        {k: v for k, v in parameters.items() if v is not None},
    ]
    for layer in layers:
        if "near" in layer or "far" in layer:  # one pair replaces the other
            values = {k: v for k, v in values.items() if k not in ("dilation", "soft_edge")}
        elif "dilation" in layer or "soft_edge" in layer:
            values = {k: v for k, v in values.items() if k not in ("near", "far")}
        if any(name in layer for name in ("lowpass", "butterworth", "rect", "gaussian")):
            values = {k: v for k, v in values.items() if k not in ("lowpass", "butterworth", "rect", "gaussian")}
        values.update(layer)
    return MaskRecipe.from_dict(values)


def make(volume, recipe, progress=None, like=None, names=("the map", "the reference")):
    """Run a recipe.

    Parameters
    ----------
    volume : Volume
    recipe : MaskRecipe
    like : Volume, optional
        A map on the same lattice: filter, threshold and clean-up see `volume` alone, the mask is on this grid.
    names : tuple of str
        What messages call the two.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.

    Returns
    -------
    Made
    """
    with backend.current(volume.data):
        return _make(volume, recipe, progress, like, names)


def _make(volume, recipe, progress, like, names):
    target = like or volume
    radius, width = lengths(recipe, target.voxel_size)
    seconds, notes = {}, []
    step = timer(seconds, progress)
    with step("filter"):
        check_finite(volume.data, names[0])
        data = filtered(volume, recipe)
        backend.synchronize(data)
    base, level, high, more = found_base(data, recipe, volume, step)
    notes += more
    del data
    if like is not None:
        with step("paste"):
            base, more = grids.paste(names[0], volume.with_data(base), names[1], like)
            base, notes = base.data, [*notes, *more]
            check_overlap(bool(base.any()), *names)
    with step("soft edge"):
        sampling = units.sampling(target.voxel_size)
        soft = mask.soft_mask(base, radius, width, recipe.edge, recipe.style, sampling)
        backend.synchronize(soft)
    with step("checks"):
        found = backend.of(soft).survey(soft)
        checks = Checks(
            base_voxels=int(base.sum()),
            total=found[0][2] * soft.size,
            equivalent_edge_px=mask.equivalent_edge(soft, sampling),
            components=regions.component_count(soft >= 0.5),
            faces_touched=mask.faces_touched(soft),
        )
    made = judged(recipe, target.voxel_size, target.shape, level.value, checks, seconds)
    if recipe.invert:
        soft = mask.invert(soft)
        found = None
    return replace(
        made,
        volume=target.with_data(soft, recipe=recipe),
        survey=found,
        threshold_why=level.why,
        hysteresis=high,
        warnings=[*notes, *level.warnings, *(high.warnings if high else ()), *made.warnings],
    )


def found_base(data, recipe, grid, step):
    """The binary base of a recipe.

    Parameters
    ----------
    data : array of float32
        The filtered map, see :func:`filtered`.
    recipe : MaskRecipe
    grid : Volume
        Whose grid `data` is on.
    step : callable
        See :func:`timer`.

    Returns
    -------
    base : array of bool
    level, high : Level
        The threshold, and that of hysteresis or None.
    notes : list of str
    """
    with step("threshold"):
        level, high = (
            None if text is None else thresholds.level(data, text, grid.voxel_size, recipe.absolute_value)
            for text in (recipe.threshold, recipe.hysteresis)
        )
        base = mask.threshold(data, level.value, recipe.absolute_value)
        check_foreground(bool(base.any()), level.value, top(data, recipe))
        cores = None
        if high is not None:
            check_hysteresis(level, high)
            cores = mask.threshold(data, high.value, recipe.absolute_value)
    if not cleans(recipe):
        return base, level, high, []
    with step("clean-up"):
        base, notes = _cleaned(base, cores, recipe, Place.of(recipe, grid))
    return base, level, high, notes


@dataclass(frozen=True)
class Place:
    """The lengths and positions of a recipe's clean-up on one grid, in px, (z, y, x) from the corner."""

    dust_voxels: float | None
    seed_voxel: tuple | None
    clip_centre_px: tuple | None
    clip_radius_px: float | None
    opening_px: float | None
    closing_px: float | None
    sampling: tuple | None

    @classmethod
    def of(cls, recipe, grid):
        """`grid` has shape, voxel_size and origin (z, y, x)."""
        size = grid.voxel_size

        def pixels(name):
            text = getattr(recipe, name)
            return None if text is None else units.to_px(text, size, name.replace("_", " "))

        seed = centre = None
        if recipe.seed is not None:
            seed = tuple(math.floor(p + 0.5) for p in positions.point(recipe.seed, grid))
        if recipe.clip_radius is not None:
            centre = tuple(n // 2 for n in grid.shape)
            if recipe.clip_centre is not None:
                centre = positions.point(recipe.clip_centre, grid)
        return cls(
            None if recipe.dust is None else units.voxels_in(recipe.dust, size),
            seed,
            centre,
            pixels("clip_radius"),
            pixels("opening"),
            pixels("closing"),
            units.sampling(size),
        )


def cleans(recipe):
    """Whether the recipe has a step between threshold and dilation."""
    return recipe.fill_holes or any(getattr(recipe, name) is not None for name in CLEAN_UP)


@dataclass(frozen=True)
class Checks:
    """What is measured of a mask before it is inverted."""

    base_voxels: int
    total: float  # sum of the mask values
    equivalent_edge_px: float
    components: int
    faces_touched: list


def judged(recipe, voxel_size, shape, level, checks, seconds):
    """The result of a recipe, without the volume; an empty mask and a mask of everything are refused."""
    radius, width = lengths(recipe, voxel_size)
    size = math.prod(shape)
    if not checks.components:
        raise InputRefused("the mask is empty: nothing is left after erosion; erode less or lower the threshold")
    if checks.total == size:
        raise InputRefused(f"the mask is everything: raise the threshold {level:.6g} or dilate less")
    minimum = None
    if recipe.resolution:
        minimum = units.minimum_soft_edge_px(units.angstrom(recipe.resolution), voxel_size)
    total = size - checks.total if recipe.invert else checks.total
    return Made(
        volume=None,
        threshold=level,
        dilation_px=radius,
        soft_edge_px=width,
        base_voxels=checks.base_voxels,
        volume_angstrom3=units.volume_angstrom3(total, voxel_size),
        equivalent_edge_px=checks.equivalent_edge_px,
        minimum_soft_edge_px=minimum,
        components=checks.components,
        faces_touched=checks.faces_touched,
        verdict=mask.verdict(checks.equivalent_edge_px, minimum),
        seconds=seconds,
        warnings=_warnings(checks, width, minimum, voxel_size),
    )


def top(data, recipe):
    """The highest value that the threshold of `recipe` is compared with."""
    high = float(data.max())
    return max(high, -float(data.min())) if recipe.absolute_value else high


def check_finite(data, name):
    """Refuse a map with NaN or Inf."""
    bad = data.size - int(backend.xp(data).isfinite(data).sum())
    if bad:
        raise InputRefused(f"{name} has {bad} voxels that are NaN or Inf; replace them")


def check_foreground(any_foreground, level, highest):
    """Refuse a threshold above the map."""
    if not any_foreground:
        raise InputRefused(f"threshold {level:.6g} gives an empty mask: the map's maximum is {highest:.6g}; lower it")


def check_overlap(any_foreground, name, other_name):
    """Refuse a map whose foreground lies outside the box of the reference."""
    if not any_foreground:
        raise InputRefused(f"the mask is empty: nothing of {name} above the threshold lies in the box of {other_name}")


def check_hysteresis(low, high):
    """Refuse a second level below the first."""
    if high.value < low.value:
        raise InputRefused(
            f"hysteresis must be at or above the threshold, got {high.value:.6g} and {low.value:.6g}; swap them"
        )


def check_left(any_foreground, recipe, name):
    """Refuse a clean-up step, a field of the recipe, that leaves nothing."""
    if not any_foreground:
        raise InputRefused(NOTHING_LEFT[name].format(**recipe.to_dict()))


def main_share_note(recipe, kept, before):
    """What to say where the default of ``auto``, one component, drops much; a list."""
    if parse_threshold(recipe.threshold)[0] != "auto" or kept >= MAIN_SHARE * before:
        return []
    return [
        f"the largest component holds {100 * kept / before:.0f} % of what threshold auto found; the rest was dropped: "
        "low-pass a noisy map first (--lowpass 15A), or keep more with --largest N"
    ]


def memory_needed(shape, voxel_size, recipe):
    """Bytes that :func:`make` takes at its peak, the map included."""
    per_voxel = 4 + 1 + 2 + 2 * 4  # map, base, counts and a copy of the base, mask twice
    if any(parse_threshold(t)[0] in thresholds.WHOLE_BOX for t in (recipe.threshold, recipe.hysteresis) if t):
        per_voxel = 4 + 3 * 4 + 8  # map, what is over the background, smoothed on the way; distances from the centre
    if recipe.lowpass or recipe.butterworth or recipe.rect:
        per_voxel = 4 + 3 * 8  # map, and its transform in float64
    needed = per_voxel * math.prod(shape)
    if recipe.edge == "convolved":
        needed += mask.convolved_bytes(shape, lengths(recipe, voxel_size)[1], units.sampling(voxel_size))
    return needed


def filtered(volume, recipe):
    """The map that the threshold of a recipe is compared with, float32."""
    size = volume.voxel_size
    if recipe.lowpass:
        return filters.lowpass(volume.data, units.angstrom(recipe.lowpass), size)
    if recipe.rect:
        return filters.rect(volume.data, units.angstrom(recipe.rect), size)
    if recipe.butterworth:
        resolution, order = parse_butterworth(recipe.butterworth)
        return filters.butterworth(volume.data, resolution, size, order)
    if recipe.gaussian:
        return filters.gaussian(volume.data, units.angstrom(recipe.gaussian), size)
    xp = backend.xp(volume.data)
    return xp.ascontiguousarray(volume.data, xp.float32)


def _cleaned(base, cores, recipe, place):
    """The base after every step of clean-up, and what to say about it."""
    notes = []
    if recipe.clip_radius is not None:
        base = regions.clip(base, place.clip_centre_px, place.clip_radius_px, place.sampling)
        check_left(bool(base.any()), recipe, "clip_radius")
    if recipe.hysteresis is not None:
        base = regions.holding(base, cores)
        check_left(bool(base.any()), recipe, "hysteresis")
    if recipe.opening is not None:
        base = morphology.opening(base, place.opening_px, place.sampling)
        check_left(bool(base.any()), recipe, "opening")
    if recipe.dust is not None:
        base = regions.drop_dust(base, place.dust_voxels)
        check_left(bool(base.any()), recipe, "dust")
    if recipe.seed is not None:
        base = regions.flood(base, place.seed_voxel)
    if recipe.largest is not None:
        before = int(base.sum())
        base = regions.largest(base, recipe.largest)
        notes = main_share_note(recipe, int(base.sum()), before)
    if recipe.closing is not None:
        base = morphology.closing(base, place.closing_px, place.sampling)
    return (regions.fill_holes(base) if recipe.fill_holes else base), notes


def _warnings(checks, width, minimum, voxel_size):
    found = []
    if checks.faces_touched:
        faces = ", ".join(checks.faces_touched)
        found.append(
            f"the mask meets the box face{'s' * (len(checks.faces_touched) > 1)} {faces}, where it is cut off hard; "
            "use a larger box, less dilation or a narrower edge"
        )
    if checks.equivalent_edge_px < 1:
        kind = "binary" if checks.equivalent_edge_px == 0 else "all but binary"
        found.append(f"the mask is {kind}: a hard edge leaks to all frequencies; give it a soft edge")
    if checks.components > 1:
        found.append(
            f"the mask has {checks.components} islands; keep the largest with --largest 1, "
            "or drop small ones with --dust"
        )
    if minimum is not None and 0 < width < minimum - 1e-9:
        found.append(
            f"the soft edge {units.both(width, voxel_size)} is under 5 x resolution = {units.both(minimum, voxel_size)}"
        )
    return found


def timer(seconds, progress):
    """A context manager that names a step as it begins and puts its time into `seconds`."""

    @contextmanager
    def step(name):
        if progress:
            progress(name)
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start

    return step
