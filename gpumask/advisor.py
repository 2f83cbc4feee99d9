"""Which mask to take for a goal, why, and what nobody can tell beforehand."""

import math
from dataclasses import asdict, dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

from gpumask import backend, correlation, fourier, pipeline, resolution, spectrum, sweeps, units
from gpumask.errors import InputRefused, UsageError
from gpumask.volume import Volume


@dataclass(frozen=True)
class Policy:
    """Every number that a pick depends on.

    Attributes
    ----------
    leak_mean : float
        Λ that is let pass at the most.
    fsc_at_resolution : float
        FSC that the mask may make by itself at the resolution.
    anisotropy_db : float
        In a cone of 20° at the resolution.
    tie : float
        Relative: values of d' this close are one.
    error_tie : float
        Relative, of the error of a subtraction.
    threshold_change : float
        Relative: how far the threshold is moved to see what depends on it.
    """

    leak_mean: float = 0.05
    fsc_at_resolution: float = 0.05
    anisotropy_db: float = sweeps.ANISOTROPY
    tie: float = 0.01
    error_tie: float = 0.05
    threshold_change: float = 0.2


POLICY = Policy()
JUDGED = 0.143  # the FSC that has to be told from 0


class Goal(NamedTuple):
    """What a mask is for: what is searched, in multiples of the resolution, and whose signal is the target."""

    dilations: tuple
    soft_edges: tuple
    target: str  # "particle": all that is connected to the base; "base": the base itself
    criterion: str


BEST = "highest d' with Λ <= {leak_mean:g}, FSC_n <= {fsc_at_resolution:g} at the resolution, 0 on the box faces, at "
BEST += "most {anisotropy_db:g} dB in one direction; d' within {tie:.0%} is a tie, which the smaller dilation wins"
EXACT = "least error of the subtracted images, what is left of the part under the mask and what is taken of the rest; "
EXACT += "an error within {error_tie:.0%} of the least is a tie, which the lowest Λ wins; 0 on the box faces"
GOALS = {
    "global": Goal((0, 1, 2, 3, 4), (1, 2, 3.5, 5, 7, 10), "particle", BEST),
    "local": Goal((-1, 0, 1, 2, 3), (1, 2, 3.5, 5, 7, 10), "base", BEST),
    "subtraction": Goal((-1, 0, 1, 2), (1, 2, 3.5, 5), "base", EXACT),
    "glycoprotein": Goal((0, 1, 2, 3, 4), (2, 3.5, 5, 7, 10, 14), "particle", BEST),
}


@dataclass(frozen=True)
class Choice:
    """The pick among the rows of a sweep; see :func:`choose`.

    Attributes
    ----------
    index : int
        Of the picked row.
    passes : bool
        False where no row does what is asked: the pick is then the one with the lowest Λ.
    front : list of int
        Rows within the box that no other beats in both d' (in the error, for a subtraction) and Λ, from low Λ to
        high.
    reasons : list of str or None
        Why each other row loses; None for the pick.
    """

    index: int
    passes: bool
    front: list
    reasons: list


@dataclass(frozen=True, eq=False)
class Advice:
    """What :func:`advise` finds; undefined is None.

    Attributes
    ----------
    goal, criterion : str
    passes : bool
        Whether the pick does all that the criterion asks.
    row : dict
        The pick's row of :attr:`sweep`.
    recipe : MaskRecipe
    mask : Volume or array
        What :func:`gpumask.create_mask` makes of the recipe.
    front : list of int
        Rows of the sweep, see :class:`Choice`.
    neighbours : list of dict
        ``what``, ``row`` (its number) and ``reason``: the masks one step beside the pick, and those that other rules
        would take, and why they lose.
    sensitivity : list of dict
        The pick's dilation and edge at 20 % more and less threshold: ``threshold``, ``change``, ``row`` and
        ``fails``, what of the criterion it fails; empty where a base was given.
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
    policy : Policy
    sweep : Sweep
    notes : list of str
    """

    goal: str
    criterion: str
    passes: bool
    row: dict
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
    policy: Policy
    sweep: sweeps.Sweep = field(repr=False)
    notes: list

    def to_dict(self):
        """Plain values, without the mask and the sweep."""
        left = {name: value for name, value in vars(self).items() if name not in ("mask", "sweep")}
        return {**left, "recipe": self.recipe.to_dict(), "policy": asdict(self.policy)}


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
    policy=POLICY,
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
        What is searched, as in :func:`gpumask.sweep`. Default: multiples of the resolution, see ``GOALS``.
    asymmetric_units : int
        Copies that a symmetry enforces: the number of independent coefficients is divided by it.
    policy : Policy
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
        Half maps that are masked, or whose FSC never drops: nothing can be told then; a base or maps that do not fit.
    UsageError
        An unknown goal, both a base and a threshold.
    TypeError
        Plain arrays without `voxel_size`.
    """
    if goal not in GOALS:
        raise UsageError(f"goal must be one of {', '.join(GOALS)}, got {goal!r}")
    if base is not None and (threshold is not None or recipe):
        raise UsageError("give a base or a threshold (with filter and clean-up), not both")
    if half1 is None or half2 is None:
        raise UsageError("advice needs both half maps, unmasked")
    if isinstance(asymmetric_units, bool) or not isinstance(asymmetric_units, Integral) or asymmetric_units < 1:
        raise UsageError(f"asymmetric units must be a whole number >= 1, got {asymmetric_units!r}")
    progress = progress or (lambda name, share=None: None)
    wanted, source, density = GOALS[goal], volume, None
    if base is not None:
        source, density, threshold = base, volume, 0.5
    threshold = "auto" if threshold is None else threshold
    sizes = [one.voxel_size for one in (half1, source) if isinstance(one, Volume)]
    if not sizes and voxel_size is None:
        raise TypeError("plain arrays need voxel_size=, in Å")
    size = sizes[0] if sizes else units.voxel_edges(voxel_size)
    with backend.current(half1.data if isinstance(half1, Volume) else half1):
        resolution, found_in = _target(half1, half2, resolution, assume_unmasked, size, progress)
        if region is None and wanted.target == "base":
            region = _found(source, half1, threshold, recipe, size)
        steps = [
            _searched(given, multiples, resolution, size)
            for given, multiples in ((dilations, wanted.dilations), (soft_edges, wanted.soft_edges))
        ]
        common = {
            "resolution": resolution,
            "onset": onset,
            "region": region,
            "density": density,
            "assume_unmasked": assume_unmasked,
            "voxel_size": voxel_size,
            "progress": progress,
            "each": _refuse_without_leak,
            **recipe,
        }
        done = sweeps.sweep(
            *(source, half1, half2),
            thresholds=threshold,
            dilations=steps[0],
            soft_edges=steps[1],
            edges=edges,
            **common,
        )
        chosen = choose(done, goal, policy)
        pick = done.rows[chosen.index]
        sensitivity = []
        if base is None and pick["threshold"] > 0:
            progress("sensitivity")
            sensitivity = _sensitivity(done, pick, goal, policy, (source, half1, half2), common)
        made = _made(source, half1, done.recipe(pick), size)
        return _advice(goal, done, chosen, made, sensitivity, (resolution, found_in), asymmetric_units, policy)


def choose(sweep, goal="global", policy=POLICY):
    """The pick among the rows of a sweep with half maps, and why the others lose.

    Parameters
    ----------
    sweep : Sweep
        With a resolution.
    goal : str
        See :func:`advise`; ``subtraction`` has another criterion than the rest.
    policy : Policy

    Returns
    -------
    Choice
    """
    judge = _Judge(sweep, goal, policy)
    index, passes = judge.pick()
    reasons = [None if i == index else judge.reason(i, index) for i in range(len(sweep.rows))]
    return Choice(index, passes, judge.front(), reasons)


class _Judge:
    """The rows of a sweep by the criterion of a goal."""

    def __init__(self, sweep, goal, policy):
        self.rows, self.policy, self.subtraction = sweep.rows, policy, goal == "subtraction"
        self.resolution = sweep.resolution
        self.errors = [detail["subtraction_error"] for detail in sweep.details]

    def fails(self, row):
        """What of the criterion a row does not do, in words."""
        policy = self.policy
        if "empty" in row["flags"]:
            return ["nothing is left after erosion"]
        found = ["it meets the faces of the box"] if "touches_border" in row["flags"] else []
        if self.subtraction:
            return found
        if row["detectability"] is not None and row["detectability"] <= 0:
            found.append(f"d' {row['detectability']:.2f} is not above 0: it holds more of the rest than of the target")
        limits = (
            ("leak_mean", policy.leak_mean, "Λ {:.3f} is over {:g}"),
            ("fsc_predicted_at_resolution", policy.fsc_at_resolution, "its own FSC of {:.3f} is over {:g} at "),
            ("anisotropy_db", policy.anisotropy_db, "{:.1f} dB in one direction is over {:g}"),
        )
        for name, limit, text in limits:
            if row[name] is not None and row[name] > limit:
                text = text.format(row[name], limit)
                found.append(f"{text}{self.resolution:.3g} Å" if name.startswith("fsc") else text)
        return found

    def pick(self):
        """Index of the best row, and whether it fails nothing."""
        told = [i for i in range(len(self.rows)) if self._merit(i) is not None]
        if not told:
            raise InputRefused("no mask of the sweep has a detectability; is there signal in the half maps?")
        passing = [i for i in told if not self.fails(self.rows[i])]
        if not passing:
            inside = [i for i in told if not {"touches_border", "empty"} & set(self.rows[i]["flags"])] or told
            return min(inside, key=lambda i: (self._leak(i), -self._merit(i))), False
        best = max(map(self._merit, passing))
        if self.subtraction:
            tied = [i for i in passing if self._merit(i) >= best * (1 + self.policy.error_tie)]  # merit is -error
            return min(tied, key=lambda i: (self._leak(i), *self._size(i))), True
        tied = [i for i in passing if self._merit(i) >= best - abs(best) * self.policy.tie]
        return min(tied, key=lambda i: (self.rows[i]["dilation_px"], self._leak(i), *self._size(i))), True

    def front(self):
        """Rows within the box that no other beats in both merit and Λ."""
        told = [
            i
            for i, row in enumerate(self.rows)
            if self._merit(i) is not None and row["leak_mean"] is not None and "touches_border" not in row["flags"]
        ]
        order = sorted(told, key=lambda i: (self._leak(i), -self._merit(i), *self._size(i)))
        front = []
        for i in order:
            if not front or self._merit(i) > self._merit(front[-1]):
                front.append(i)
        return front

    def reason(self, i, picked):
        """Why row i loses against the picked one."""
        row, pick = self.rows[i], self.rows[picked]
        fails = self.fails(row)
        if fails and not self.fails(pick):
            return "; ".join(fails)
        if self._merit(i) is None:
            return "; ".join(fails) or "its d' is not defined"
        if fails:
            return f"Λ {self._leak(i):.3f} against {self._leak(picked):.3f}, where no mask does all that is asked"
        if self.subtraction:
            told, least = self.errors[i], self.errors[picked]
            if told > least * (1 + self.policy.error_tie):
                return f"error {told:.3f} against {least:.3f}"
            return f"error {told:.3f} against {least:.3f}, and Λ {self._leak(i):.3f} against {self._leak(picked):.3f}"
        told, best = row["detectability"], pick["detectability"]
        text = f"d' {told:.2f} against {best:.2f} ({told / best - 1:+.1%})" if best else f"d' {told:.2f}"
        if told < best * (1 - self.policy.tie):
            return text
        if row["dilation_px"] > pick["dilation_px"]:
            return f"{text}: no better, with a dilation of {row['dilation_px']:g} px against {pick['dilation_px']:g} px"
        return f"{text}: no better, with Λ {self._leak(i):.3f} against {self._leak(picked):.3f}"

    def _merit(self, i):
        if not self.subtraction:
            return self.rows[i]["detectability"]
        return None if self.errors[i] is None else -self.errors[i]

    def _leak(self, i):
        leak = self.rows[i]["leak_mean"]
        return math.inf if leak is None else leak

    def _size(self, i):
        row = self.rows[i]
        return row["dilation_px"], row["soft_edge_px"], row["edge"], row["threshold"]


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
    if found.reported is None:
        raise UsageError("the half maps reach no resolution at an FSC of 0.143; give the one that is hoped for")
    of = (
        "corrected, under a tight mask" if found.headline == "corrected_predicted" else f"{found.headline}, uncorrected"
    )
    return found.reported, f"FSC 0.143 of the half maps, {of}"


def _searched(given, multiples, angstrom, size):
    """Lengths to search: those given, or multiples of the resolution in whole pixels."""
    if given is not None:
        return given
    pixels = (round(units.to_px(units.Length(abs(m) * angstrom, "A"), size)) * (1 if m >= 0 else -1) for m in multiples)
    return [str(units.Length(units.to_angstrom(px, size), "A")) for px in dict.fromkeys(pixels)]


def _refuse_without_leak(done, *_):
    """With the first mask, not after all of them."""
    if done.onset is None:
        reason = next(note for note in done.notes if note.startswith(sweeps.NO_LEAK))
        raise InputRefused(f"no mask can be advised: {reason.removeprefix(sweeps.NO_LEAK)}")


def _found(source, grid, threshold, recipe, size):
    """The base on the grid of the half maps, as numbers."""
    bare = pipeline.build_recipe(threshold=threshold, dilation="0px", soft_edge="0px", **recipe)
    return _made(source, grid, bare, size)


def _made(source, grid, recipe, size):
    """The mask of a recipe on the grid of the half maps, the kind of object that they are."""
    source = source if isinstance(source, Volume) else Volume(source, size)
    elsewhere = isinstance(grid, Volume) and grid.shape != source.shape
    made = pipeline.make(source, recipe, like=grid if elsewhere else None).volume
    return made if isinstance(grid, Volume) else made.data


def _sensitivity(done, pick, goal, policy, maps, common):
    """The pick's dilation and edge at other thresholds, cleaned as the pick: ``auto`` keeps one component."""
    changes = (-policy.threshold_change, policy.threshold_change)
    cleaned = done.recipes[pick["threshold"]].to_dict()
    common = common | {name: cleaned[name] for name in cleaned if name not in (*sweeps.NOT_SWEPT, "threshold")}
    levels = [(1 + change) * pick["threshold"] for change in changes]
    found = []
    for change, level in zip(changes, levels, strict=True):
        recipe = done.recipe(pick)
        given = {"dilations": recipe.dilation, "soft_edges": recipe.soft_edge, "edges": pick["edge"]}
        try:
            moved = sweeps.sweep(*maps, thresholds=level, **given, **common)
        except InputRefused as error:
            found.append({"threshold": level, "change": change, "row": None, "fails": [str(error)]})
            continue
        row = moved.rows[0]
        fails = _Judge(moved, goal, policy).fails(row)
        found.append({"threshold": row["threshold"], "change": change, "row": row, "fails": fails})
    return found


def _advice(goal, done, chosen, made, sensitivity, target, asymmetric_units, policy):
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
        criterion=GOALS[goal].criterion.format(**asdict(policy)),
        passes=chosen.passes,
        row=pick,
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
        policy=policy,
        sweep=done,
        notes=_notes(done, chosen, sensitivity),
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


def _notes(done, chosen, sensitivity):
    notes, pick = list(done.notes), done.rows[chosen.index]
    if not chosen.passes:
        notes.append("no mask of the grid does all that is asked; this one leaks least: search wider soft edges")
    for name, word in (("dilation_px", "dilation"), ("soft_edge_px", "soft edge")):
        values = sorted({row[name] for row in done.rows})
        smallest = values[0] > 0 and pick[name] == values[0]  # what a smaller dilation than 0 does is no advice
        if len(values) > 1 and (smallest or pick[name] == values[-1]):
            end = "smallest" if smallest else "largest"
            notes.append(f"the pick has the {end} {word} that was searched, {pick[name]:g} px; search beyond it")
    for moved in sensitivity:
        if moved["fails"] and chosen.passes:
            notes.append(
                f"at {moved['change']:+.0%} of the threshold ({moved['threshold']:.4g}) the pick fails: "
                + "; ".join(moved["fails"])
            )
    return notes
