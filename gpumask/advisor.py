"""Which mask to take for a goal, why, and what nobody can tell beforehand."""

import math
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy

from gpumask import (
    backend,
    choices,
    correlation,
    edges,
    fourier,
    grids,
    mask,
    pipeline,
    resolution,
    spectrum,
    sweeps,
    units,
)
from gpumask.errors import InputRefused, UsageError
from gpumask.volume import Volume

JUDGED = 0.143  # the FSC that has to be told from 0
SURE = 3.0  # standard errors by which it is passed in a shell that is taken for signal


@dataclass(frozen=True, eq=False)
class Advice:
    """What :func:`advise` finds; undefined is None.

    Attributes
    ----------
    goal, criterion : str
    passes : bool
        Whether the pick does all that the criterion asks, and `fails`, a list of str, what it does not.
    row : dict
        The pick's row of :attr:`sweep`.
    subtraction_error : float
        Of the pick: what is left of the target's power under the mask and taken of the rest's, as a share of it.
    recipe : MaskRecipe
    mask : Volume or array
        What :func:`gpumask.create_mask` makes of the recipe.
    front : list of int
        Rows of the sweep, see :class:`gpumask.choices.Choice`.
    neighbours : list of dict
        ``what``, ``row`` (its number) and ``reason``: the masks one step beside the pick, and those that other rules
        would take, and why they lose.
    sensitivity : list of dict
        The pick's dilation and edge at 20 % more and less threshold: ``threshold``, ``change``, ``row``,
        ``subtraction_error`` and ``fails``, what of the criterion it fails; empty where a base was given. Both rows are
        of one sweep, so that their density is that of the lower threshold, and so is a target that is all that is
        connected to the base; a target that is the base itself, or a region, stays that of the pick.
    resolution : float
        Å, and `resolution_source` where it comes from.
    n_coefficients, n_effective : float
        Of the shell at the resolution: all of them, and the independent ones under the mask.
    band : list
        95 % band of an FSC of 0.143 there.
    judgeable : bool
        Whether that band leaves out 0.
    smallest_diameter_angstrom : float
        Of a ball whose FSC of 0.143 could just be told from 0 in one shell.
    unknowns : list of str
        What is not known.
    least_leak : LeastLeak or None
        The profile of least leak between the ends of the pick's edge (:class:`gpumask.edges.LeastLeak`), where that
        was asked for and the pick has an edge.
    policy : Policy
    sweep : Sweep
    notes : list of str
    """

    goal: str
    criterion: str
    passes: bool
    fails: list
    row: dict
    subtraction_error: Any
    recipe: Any
    mask: Any = field(repr=False)
    front: list
    neighbours: list
    sensitivity: list
    resolution: float
    resolution_source: str
    n_coefficients: int
    n_effective: float
    band: list
    judgeable: bool
    smallest_diameter_angstrom: float
    unknowns: list
    least_leak: edges.LeastLeak | None = field(repr=False)
    policy: choices.Policy
    sweep: sweeps.Sweep = field(repr=False)
    notes: list

    def to_dict(self):
        """Plain values, without masks and the sweep."""
        left = {name: value for name, value in vars(self).items() if name not in ("mask", "sweep")}
        least = None if self.least_leak is None else self.least_leak.to_dict()
        return {**left, "recipe": self.recipe.to_dict(), "least_leak": least, "policy": asdict(self.policy)}


def advise(
    volume,
    half1,
    half2,
    *,
    goal="global",
    threshold=None,
    base=None,
    resolution=None,
    onset=None,
    region=None,
    dilations=None,
    soft_edges=None,
    edges=("cosine",),
    asymmetric_units=1,
    assume_unmasked=False,
    policy=choices.POLICY,
    least_leak=False,
    voxel_size=None,
    progress=None,
    **recipe,
):
    """Pick a mask by how well its target can be detected under it, among those that leak little.

    Detectability d' and mean leak Λ (see :func:`gpumask.sweep`) are told before any refinement. The resolution that
    the half maps reach under a mask is shown but never decides: tight masks that cut density win it by their own FSC.

    ``global``, ``local`` and ``glycoprotein`` take the highest d' with Λ <= 0.05, an FSC of the mask's own <= 0.05 at
    the resolution, 0 at the faces of the box and no more than 6 dB in one direction. ``subtraction`` takes the least
    error of the subtracted images instead, since there the mask's own FSC is not what is paid: the mask is of the part
    that is subtracted (CryoSPARC), or kept (RELION); both errors change places and their sum does not.

    Parameters
    ----------
    volume : Volume or array of float32, shape (z, y, x)
        The map that masks are made from; numpy or CuPy data.
    half1, half2 : Volume or array
        Unmasked, unfiltered half maps.
    goal : str
        ``global``; ``local``, a refinement of the part that the base is; ``subtraction``; ``glycoprotein``: the base is
        the protein, and the soft edge goes through the glycans.
    threshold : str or float, optional
        Of the map; default ``auto``.
    base : Volume or array, optional
        A base, >= 0.5, instead of a threshold: a region, a domain. A Volume may lie on another grid of the lattice.
    resolution : float or str, optional
        The target, Å. Default: that of the half maps, corrected, under a tight mask.
    onset : float or str, optional
        See :func:`gpumask.correlation.onset_shell`; of a refinement to come, the low-pass that it starts from.
    assume_unmasked : bool
        Take the half maps to be unmasked, whatever they look like.
    region : Volume or array, optional
        The target of d', where it is >= 0.5. Default: the base itself for ``local`` and ``subtraction``, else all of
        the particle that is connected to it.
    dilations, soft_edges, edges : list, optional
        What is searched, as in :func:`gpumask.sweep`. Default: multiples of the resolution, see ``choices.GOALS``.
    asymmetric_units : int
        Copies that a symmetry enforces: the number of independent coefficients is divided by it.
    policy : Policy
    least_leak : bool
        Also find the profile of least leak between the two ends of the pick's edge, see
        :func:`gpumask.edges.least_leak`. Memory: 8 bytes a voxel for each pixel of the edge, and 32 beside that.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); only with plain arrays.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.
    **recipe
        Other fields of :class:`gpumask.MaskRecipe`: filter and clean-up.

    Returns
    -------
    Advice

    Raises
    ------
    InputRefused
        Half maps that are masked, that share no signal (an FSC above 0.143 by 3 standard errors in a shell below the
        onset), or whose FSC never drops: nothing can be told then; a base that is empty or has nothing in the box of
        the half maps, or maps that do not fit; a region that is empty or that no mask meets; an onset that leaves no
        shell for Λ; no mask with d' > 0.
    UsageError
        An unknown goal, both a base and a threshold; least leak on voxels that are no cubes.
    OutOfMemory
        The profile of least leak of the widest edge that is searched needs more memory than is free.
    TypeError
        Plain arrays without `voxel_size`.
    """
    if goal not in choices.GOALS:
        raise UsageError(f"goal must be one of {', '.join(choices.GOALS)}, got {goal!r}")
    if base is not None and (threshold is not None or recipe):
        raise UsageError("give a base or a threshold (with filter and clean-up), not both")
    if half1 is None or half2 is None:
        raise UsageError("advice needs both half maps, unmasked")
    if isinstance(asymmetric_units, bool) or not isinstance(asymmetric_units, Integral) or asymmetric_units < 1:
        raise UsageError(f"asymmetric units must be a whole number >= 1, got {asymmetric_units!r}")
    progress = progress or (lambda name, share=None: None)
    wanted, source, density = choices.GOALS[goal], volume, None
    if base is not None:
        source, density, threshold = base, volume, 0.5
    threshold = "auto" if threshold is None else threshold
    sizes = [one.voxel_size for one in (half1, source) if isinstance(one, Volume)]
    if not sizes and voxel_size is None:
        raise TypeError("plain arrays need voxel_size=, in Å")
    if sizes and voxel_size is not None:
        raise UsageError("a Volume has its own voxel size: give voxel_size with plain arrays only")
    size = sizes[0] if sizes else units.voxel_edges(voxel_size)
    with backend.current(half1.data if isinstance(half1, Volume) else half1):
        if base is not None:
            check_base(base, half1)
        resolution, found_in = _target(half1, half2, resolution, assume_unmasked, size, progress)
        steps = [
            _searched(given, multiples, resolution, size)
            for given, multiples in ((dilations, wanted.dilations), (soft_edges, wanted.soft_edges))
        ]
        farthest = [max((units.to_px(text, size) for text in texts), default=0.0) for texts in steps]
        if least_leak:
            _check_least_leak(half1, farthest[1], size)
        names = ("the map" if base is None else "the base", "the half maps")
        made = partial(_made, source, half1, size=size, names=names)
        if region is not None:
            _check_region(region, _found(made, threshold, recipe), sum(farthest), half1, voxel_size)
        elif wanted.target == "base":
            region = _found(made, threshold, recipe)
        progress("half maps")
        given = {} if any(isinstance(one, Volume) for one in (half1, half2)) else {"voxel_size": size}
        halves = sweeps.prepare(half1, half2, onset=onset, assume_unmasked=assume_unmasked, **given)
        common = {
            "resolution": resolution,
            "region": region,
            "density": density,
            "progress": progress,
            "each": partial(_refuse_unjudgeable, goal),
            **recipe,
        }
        done = sweeps.sweep(
            *(source, halves),
            thresholds=threshold,
            dilations=steps[0],
            soft_edges=steps[1],
            edges=edges,
            **common,
        )
        chosen = choices.choose(done, goal, policy)
        pick = done.rows[chosen.index]
        sensitivity = []
        if base is None and pick["threshold"] > 0:
            progress("sensitivity")
            sensitivity = _sensitivity(done, pick, goal, policy, (source, halves), common)
        del halves
        least = _least_leak(made, done, pick, size, progress) if least_leak and pick["soft_edge_px"] > 0 else None
        picked = made(done.recipe(pick))
        return _advice(goal, done, chosen, picked, least, sensitivity, (resolution, found_in), asymmetric_units, policy)


def check_base(base, half1, names=("the base", "the half maps")):
    """Refuse a base of nothing, or of nothing in the box of the half maps: it is no map with a threshold to lower.

    Parameters
    ----------
    base, half1 : Volume or array
    names : tuple of str
        What messages call the two.
    """
    data, (name, other) = base.data if isinstance(base, Volume) else base, names
    inside = data >= 0.5
    if not bool(inside.any()):
        raise InputRefused(
            f"{name} is empty: a base is where it is >= 0.5, and its maximum is {float(data.max()):.6g}; give another"
        )
    if data.shape == half1.shape and bool(inside.all()):
        raise InputRefused(f"{name} fills its box: a base is where it is >= 0.5, and that is everywhere; give another")
    if isinstance(base, Volume) and isinstance(half1, Volume) and base.shape != half1.shape:
        laid, _ = grids.paste(name, base.with_data(inside), other, half1)
        if not bool(laid.data.any()):
            raise InputRefused(f"{name} has nothing in the box of {other}; give another")


def fewest_coefficients():
    """Independent coefficients of a shell from which on the 95 % band of an FSC of 0.143 leaves out 0.

    By Fisher's z as in :func:`gpumask.correlation.band`:
    ``3 + (1.96·sqrt((1 + 2F - F²) / (1 + F)²) / artanh F)²`` with F = 0.143, 183.
    """
    error = math.sqrt((1 + 2 * JUDGED - JUDGED**2) / (1 + JUDGED) ** 2)
    return math.ceil(3 + (correlation.NORMAL_95 * error / math.atanh(JUDGED)) ** 2)


def smallest_diameter(resolution, asymmetric_units=1):
    """Å, of the ball that leaves :func:`fewest_coefficients` at a resolution: under a hard sphere of diameter D the
    shell at k has ``(2π/9)·(D/L)²·4π·(k·L)² = (8π²/9)·(D/resolution)²`` of them, so D is about 4.6 times the
    resolution."""
    return resolution * math.sqrt(fewest_coefficients() * asymmetric_units * 9 / (8 * math.pi**2))


def _target(half1, half2, given, assume_unmasked, size, progress):
    """The resolution in Å, and where it comes from."""
    if given is not None:
        return units.angstrom(given), "given"
    progress("resolution")
    size = None if isinstance(half1, Volume) else size
    found = resolution.fsc(half1, half2, assume_unmasked=assume_unmasked, voxel_size=size)
    _check_signal(found.curve("unmasked"), found.curve("n_coefficients"))
    if found.reported is None:
        raise UsageError("the half maps reach no resolution at an FSC of 0.143; give the one that is hoped for")
    of = (
        "corrected, under a tight mask" if found.headline == "corrected_predicted" else f"{found.headline}, uncorrected"
    )
    return found.reported, f"FSC 0.143 of the half maps, {of}"


def _searched(given, multiples, angstrom, size):
    """Lengths to search: those given, or multiples of the resolution in whole pixels."""
    if given is not None:
        return [given] if numpy.ndim(given) == 0 else given
    pixels = (round(units.to_px(units.Length(abs(m) * angstrom, "A"), size)) * (1 if m >= 0 else -1) for m in multiples)
    return [str(units.Length(units.to_angstrom(px, size), "A")) for px in dict.fromkeys(pixels)]


def _refuse_unjudgeable(goal, done, row, _):
    """With the first mask, not after all of them."""
    if done.onset is None:
        reason = next(note for note in done.notes if note.startswith(sweeps.NO_LEAK))
        raise InputRefused(f"no mask can be advised: {reason.removeprefix(sweeps.NO_LEAK)}")
    shells = fourier.shells(tuple(done.box[::-1]), tuple(done.voxel_size_angstrom[::-1]))
    sure = _check_signal(numpy.array(done.unmasked, float), shells.coefficients[: shells.nyquist + 1])
    if not sure[1 : done.onset["shell"]].any():
        raise InputRefused(
            f"no mask can be advised: the half maps share no signal below the onset, {done.onset['resolution']:.3g} Å, "
            "that masks could be judged by; give a finer onset, such as 20A"
        )
    if goal != "subtraction" and row["leak_mean"] is None and "empty" not in row["flags"]:
        raise InputRefused(choices.no_leak(done))


def _check_signal(unmasked, coefficients):
    """Where the FSC of the half maps is surely above 0.143, a bool for each shell; refused where nowhere, since noise
    has d' and Λ too."""
    limit = 1 - 1e-12  # of what has an artanh
    above = numpy.arctanh(numpy.clip(unmasked, -limit, limit)) - math.atanh(JUDGED)
    sure = above * numpy.sqrt(numpy.maximum(coefficients - 3, 0)) >= SURE
    if not sure[1:].any():
        raise InputRefused(
            "no mask can be advised: the half maps share no signal, in no shell is their unmasked FSC above "
            f"{JUDGED} by {SURE:g} standard errors; give the two half maps of one reconstruction"
        )
    return sure


def _check_region(region, base, reach, half1, voxel_size):
    """Refuse a target that is nothing, or that no mask meets which reaches so many px beyond the base."""
    inside = sweeps.target_voxels(half1, region, voxel_size)
    (grid, base), _ = grids.on_one_grid({"the half maps": half1, "the base": base}, voxel_size)
    widest = mask.soft_mask(base.data, reach, 0.0, sampling=units.sampling(grid.voxel_size))
    if not bool((inside & (widest > 0)).any()):
        raise InputRefused("no mask that is searched meets the region, the target of d'; give one near the base")


def _check_least_leak(half1, widest, size):
    """Refuse early what a profile of least leak cannot be told of."""
    if not units.is_isotropic(size):
        raise UsageError("a profile of least leak has its nodes in pixels, and these voxels are no cubes; leave it out")
    data = half1.data if isinstance(half1, Volume) else half1
    if widest > 0 and not backend.is_cupy(data):
        nodes = len(edges.pixels_between(0.0, widest))
        advice = f"search edges narrower than {widest:g} px, or leave out the profile of least leak"
        edges.check_room(data.shape, nodes, advice)


def _least_leak(made, done, pick, size, progress):
    """The profile of least leak between the ends of the pick's edge, of its base as it is eroded."""
    recipe, start = done.recipe(pick), max(pick["dilation_px"], 0.0)
    core = replace(recipe, soft_edge="0px", edge="cosine", **({"dilation": "0px"} if start else {}))
    base, own = made(core), made(recipe)
    given = {} if isinstance(base, Volume) else {"voxel_size": size}
    ends = start, start + pick["soft_edge_px"]
    return edges.least_leak(base, *ends, own, done.resolution, progress=progress, **given)


def _found(made, threshold, recipe):
    """The base on the grid of the half maps, as numbers."""
    return made(pipeline.build_recipe(threshold=threshold, dilation="0px", soft_edge="0px", **recipe))


def _made(source, grid, recipe, *, size, names):
    """The mask of a recipe on the grid of the half maps, the kind of object that they are."""
    source = source if isinstance(source, Volume) else Volume(source, size)
    elsewhere = isinstance(grid, Volume) and grid.shape != source.shape
    made = pipeline.make(source, recipe, like=grid if elsewhere else None, names=names).volume
    return made if isinstance(grid, Volume) else made.data


def _sensitivity(done, pick, goal, policy, maps, common):
    """The pick's dilation and edge at other thresholds, cleaned as the pick: ``auto`` keeps one component."""
    changes = (-policy.threshold_change, policy.threshold_change)
    cleaned = done.recipes[pick["threshold"]].to_dict()
    common = common | {name: cleaned[name] for name in cleaned if name not in (*sweeps.NOT_SWEPT, "threshold")}
    recipe = done.recipe(pick)
    common |= {"dilations": recipe.dilation, "soft_edges": recipe.soft_edge, "edges": pick["edge"]}
    levels = [(1 + change) * pick["threshold"] for change in changes]
    found = []
    for change, level, (row, error, fails) in zip(
        changes, levels, _at_levels(levels, goal, policy, maps, common), strict=True
    ):
        level = level if row is None else row["threshold"]
        told = {"threshold": level, "change": change, "row": row, "subtraction_error": error, "fails": fails}
        found.append(told)
    return found


def _at_levels(levels, goal, policy, maps, common):
    """The row of each threshold, its error of a subtraction and what it fails; in one sweep, which prepares the half
    maps once, unless one of the thresholds leaves nothing."""
    try:
        moved = sweeps.sweep(*maps, thresholds=levels, **common)
    except InputRefused as error:
        if len(levels) == 1:
            return [(None, None, [str(error)])]
        return [one for level in levels for one in _at_levels([level], goal, policy, maps, common)]
    failed = choices.fails(moved, goal, policy)
    errors = [detail["subtraction_error"] for detail in moved.details]
    return list(zip(moved.rows, errors, failed, strict=True))


def _advice(goal, done, chosen, made, least, sensitivity, target, asymmetric_units, policy):
    pick, (angstrom, source) = done.rows[chosen.index], target
    data, size = (made.data, made.voxel_size) if isinstance(made, Volume) else (made, done.voxel_size_angstrom[::-1])
    shells = fourier.shells(data.shape, size)
    shell = spectrum.shell_of(angstrom, shells)
    effective = float(spectrum.effective_coefficients(data, size)[shell]) / asymmetric_units
    low, high = (float(limit) for limit in correlation.band(JUDGED, effective))
    judgeable = effective >= fewest_coefficients()
    smallest = smallest_diameter(angstrom, asymmetric_units)
    counted = int(shells.coefficients[shell])
    facts = (angstrom, effective, counted, low, high, judgeable, smallest)
    return Advice(
        goal=goal,
        criterion=choices.GOALS[goal].criterion.format(**asdict(policy)),
        passes=chosen.passes,
        fails=chosen.fails,
        row=pick,
        subtraction_error=done.details[chosen.index]["subtraction_error"],
        recipe=done.recipe(pick),
        mask=made,
        front=chosen.front,
        neighbours=_neighbours(done, chosen),
        sensitivity=sensitivity,
        resolution=angstrom,
        resolution_source=source,
        n_coefficients=counted,
        n_effective=effective,
        band=[None if math.isnan(limit) else limit for limit in (low, high)],
        judgeable=judgeable,
        smallest_diameter_angstrom=smallest,
        unknowns=_unknowns(pick, facts, done.onset["resolution"]),
        least_leak=least,
        policy=policy,
        sweep=done,
        notes=_notes(done, chosen, sensitivity, choices.GOALS[goal]),
    )


def _neighbours(done, chosen):
    """The masks one step beside the pick, and those that other rules would take."""
    rows, pick = done.rows, done.rows[chosen.index]
    steps = {name: sorted({row[name] for row in rows}) for name in ("dilation_px", "soft_edge_px")}
    other = {"dilation_px": "soft_edge_px", "soft_edge_px": "dilation_px"}
    found = {}
    for i, row in enumerate(rows):
        same = row["threshold"] == pick["threshold"]
        for name, values in steps.items():
            apart = values.index(row[name]) - values.index(pick[name])
            if same and row["edge"] == pick["edge"] and row[other[name]] == pick[other[name]] and abs(apart) == 1:
                what = "dilation" if name == "dilation_px" else "soft edge"
                found[i] = f"{what} {row[name]:g} px instead of {pick[name]:g} px"
        at = row["dilation_px"] == pick["dilation_px"] and row["soft_edge_px"] == pick["soft_edge_px"]
        if same and at and row["edge"] != pick["edge"]:
            found[i] = f"edge {row['edge']} instead of {pick['edge']}"
    for i, what in _rivals(done):
        if i != chosen.index:
            found[i] = f"{found[i]}; {what}" if i in found else what
    return [{"what": what, "row": i, "reason": chosen.reasons[i]} for i, what in found.items()]


def _rivals(done):
    """Rows that other rules would take."""
    rows = done.rows

    def finest(i):
        return rows[i]["resolution_masked"], rows[i]["dilation_px"], rows[i]["soft_edge_px"]

    masked = [i for i, row in enumerate(rows) if row["resolution_masked"] is not None]
    if masked:
        yield min(masked, key=finest), "the finest resolution under the mask, which never decides"
    told = [i for i, row in enumerate(rows) if row["detectability"] is not None]
    yield max(told, key=lambda i: rows[i]["detectability"]), "the highest d' of all"
    wanted = units.minimum_soft_edge_px(done.resolution, done.voxel_size_angstrom[::-1])
    near = min(told, key=lambda i: (abs(rows[i]["dilation_px"]), abs(rows[i]["soft_edge_px"] - wanted)))
    yield near, "no dilation, and an edge of 5·resolution or the nearest to it"


def _unknowns(pick, facts, onset):
    angstrom, effective, counted, low, high, judgeable, smallest = facts
    mass = units.mass_kda(math.pi / 6 * smallest**3)
    texts = [
        f"The mass in the mask: its {pick['volume_angstrom3']:.0f} Å³ would be {pick['mass_kda']:.0f} kDa if all of it "
        "were protein; solvent counts too, and sugars are denser.",
        f"The FSC at {angstrom:.3g} Å to better than its band: {effective:.0f} of {counted} coefficients of that shell "
        "are independent under this mask"
        + ("." if math.isnan(low) else f", so that one of {JUDGED} is {low:.2f} to {high:.2f} at 95 %."),
    ]
    needs = (
        f"one shell needs {fewest_coefficients()} independent coefficients for an FSC of {JUDGED} to be told from "
        f"0: a ball of {smallest:.0f} Å, {mass:.1f} kDa, at {angstrom:.3g} Å"
    )
    if judgeable:
        texts.append(f"Whether particles can be aligned on it. Its FSC can be judged ({needs}).")
    else:
        texts.append(f"Whether it is any good: it is too small to judge, {needs}.")
    texts.append(
        f"Where a refinement starts from: Λ is of what the half maps share down to {onset:.3g} Å, the onset. If it "
        "starts from a coarser low-pass, the mask leaks from there on: give that as the onset."
    )
    if pick["leak_mean"] is None:
        texts.append("The mean leak: there is no shell to judge between the onset of random phases and the resolution.")
    return texts


def _notes(done, chosen, sensitivity, goal):
    notes, pick = list(done.notes), done.rows[chosen.index]
    if not chosen.passes:
        notes.append(f"no mask of the grid does all that is asked; this one leaks least, but {'; '.join(chosen.fails)}")
    for name, word in (("dilation_px", "dilation"), ("soft_edge_px", "soft edge")):
        values = sorted({row[name] for row in done.rows})
        end = {values[0]: "smallest", values[-1]: "largest"}.get(pick[name])
        # no edge is narrower than 0, and no goal that does not erode by itself is told to
        beyond = len(values) > 1 and (pick[name] != 0 or (word == "dilation" and min(goal.dilations) < 0))
        if end and beyond:
            notes.append(f"the pick has the {end} {word} that was searched, {pick[name]:g} px; search beyond it")
    for moved in sensitivity:
        if moved["fails"] and chosen.passes:
            notes.append(
                f"at {moved['change']:+.0%} of the threshold ({moved['threshold']:.4g}) the pick fails: "
                + "; ".join(moved["fails"])
            )
    return notes
