"""Does the advisor pick good masks? A simulated domain is refined under many, and the truth tells.

See :mod:`benchmarks.local_refinement` for the particles and the refinement. For every geometry, noise and mask: the
figures that are known before the refinement (Λ, d′) and what came of it. Then Spearman's rank correlation of the ones
with the others over the masks, and what the picks of the advisor and of other rules lose against the best mask there
was. The advisor's thresholds are chosen on the first geometry and scored on the others.
"""

import math
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context

import numpy as np
from scipy import stats

import gpumask
from gpumask import choices, correlation, mask
from gpumask.errors import UsageError

from . import Findings
from . import local_refinement as simulated

DILATIONS = (-4, -2, 0, 2, 4, 6, 8)
EDGES = (0, 2, 4, 8, 12, 16)
NOISES = (0.3, 0.45, 0.6)
TARGET = simulated.BOX * simulated.VOXEL / simulated.LIMIT  # Å
RULE_EDGE = math.ceil(5 * TARGET / simulated.VOXEL)
RULES = {  # dilation and edge in voxels, style
    "5·resolution/voxel": (0, RULE_EDGE, "euclidean"),
    "RELION's default, 3 + 3": (3, 3, "relion"),  # of its mask creation job: pipeline_jobs.cpp, version 5
    "the thread's 6 + 30": (6 / 3, 30 / 3, "euclidean"),  # of voxels of some 1 Å
    "the thread's 20 + 12": (20 / 3, 12 / 3, "euclidean"),
}
POLICIES = [  # the first is the one that the advisor has, the thresholds are chosen from all
    choices.POLICY,
    *(
        replace(choices.POLICY, leak_mean=leak, fsc_at_resolution=fsc, anisotropy_db=direction, tie=tie)
        for leak, fsc, direction, tie in product(
            (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3), (0.05, 0.15, 1.0), (6.0, 12.0, math.inf), (0.01, 0.05)
        )
    ),
]
BEFORE = {"leak_mean": "Λ", "detectability": "-d′"}  # both are better where lower
AFTER = {
    "noise_correlation": "noise correlation",
    "turn_error": "turn error",
    "shift_error": "shift error",
    "loss": "loss of FSC",
}
NEAR = 0.05  # loss of FSC that counts as near the best
RESAMPLED, INTERVAL = 2000, (2.5, 97.5)
SINGLE = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Form:
    """How much is run: indices of geometries, noises, particles in a half, masks."""

    geometries: tuple
    noises: tuple
    count: int
    dilations: tuple
    edges: tuple


FORMS = {
    "short": Form((0,), NOISES[1:2], 60, (-2, 0, 2, 6), (0, 4, 12)),
    "long": Form((0, 1, 2), NOISES, 200, DILATIONS, EDGES),
}


def tables(box, form="short"):
    if box is not None:
        raise UsageError("benchmark 'advise' has a box of its own; leave the box out")
    if form not in FORMS:
        raise UsageError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    rows = runs(FORMS[form])
    yield what_came(rows)
    yield ranks(rows)
    if form == "long":
        yield losses(rows)


def runs(form):
    """A row for each geometry, noise and mask: what was known before, and what came of it."""
    tasks = [(g, noise, form) for g in form.geometries for noise in form.noises]
    workers = min(len(tasks), len(os.sched_getaffinity(0)))
    # A process for each core, each with one thread: the sums are the same on every machine with the same BLAS.
    with _environment(SINGLE), ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return [row for rows in pool.map(condition, *zip(*tasks, strict=True)) for row in rows]


@contextmanager
def _environment(values):
    saved = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def condition(geometry, noise, form):
    """All masks of one geometry at one noise."""
    particles = simulated.Particles(simulated.GEOMETRIES[geometry], form.count)
    noisy = particles.noisy(noise)
    first, second = particles.half_maps(noise)
    known = Known(particles.base, first, second, form)
    domain = particles.domain >= simulated.BASE_LEVEL * particles.domain.max()
    evaluation = mask.soft_mask(domain, *simulated.EVALUATION)
    rows = []
    for name, dilation, edge, style, volume in masks(particles.base, form):
        poses, resolution = simulated.refine(particles, noisy, volume)
        result = simulated.judge(particles, noisy, poses, resolution, evaluation, known.band)
        rows.append(
            {
                "geometry": particles.geometry.name,
                "noise": noise,
                "mask": name,
                "dilation_px": dilation,
                "soft_edge_px": edge,
                **known.of(dilation, edge, style),
                **result._asdict(),
            }
        )
    best = max(row["area"] for row in rows if row["mask"] == "grid")
    return [{**row, "loss": 1 - row["area"] / best} for row in rows]


def masks(base, form):
    """Name, dilation, edge, style and mask: of the grid where erosion leaves anything, and of each rule."""
    for dilation in form.dilations:
        for edge in form.edges:
            volume = mask.soft_mask(base, dilation, edge)
            if volume.any():
                yield "grid", dilation, edge, "euclidean", volume
    for name, (dilation, edge, style) in RULES.items():
        yield name, dilation, edge, style, mask.soft_mask(base, dilation, edge, style=style)


class Known:
    """What is known of masks of a base before any refinement, from the half maps alone.

    `band` are the first and the last shell of Λ.
    """

    def __init__(self, base, half1, half2, form):
        self.given = base.astype(np.float32), half1, half2
        self.fixed = {"thresholds": 0.5, "region": base, "resolution": TARGET, "voxel_size": simulated.VOXEL}
        self.grid = self._sweep(form.dilations, form.edges)
        self.band = self.grid.onset["shell"] + correlation.SKIPPED + 1, simulated.LIMIT
        picks = [choices.choose(self.grid, "local", policy).index for policy in POLICIES]
        self.picked_by = {}  # row to the numbers of policies
        for number, index in enumerate(picks):
            self.picked_by.setdefault(index, []).append(number)

    def _sweep(self, dilations, edges):
        return gpumask.sweep(*self.given, dilations=dilations, soft_edges=edges, **self.fixed)

    def of(self, dilation, edge, style):
        """Λ and d′ of a mask, and by which policies the advisor would take it."""
        cells = [(row["dilation_px"], row["soft_edge_px"]) for row in self.grid.rows]
        if style == "euclidean" and (dilation, edge) in cells:
            index = cells.index((dilation, edge))
            row, picked_by = self.grid.rows[index], self.picked_by.get(index, [])
        else:
            if style == "relion":
                dilation = math.sqrt(dilation**2 - 1)  # d² < r² of whole numbers; its edge is measured in two steps
            row, picked_by = self._sweep(dilation, edge).rows[0], []
        return {**{name: row[name] for name in BEFORE}, "picked_by": picked_by}


def conditions(rows):
    """Rows by geometry and noise, in their order."""
    found = {}
    for row in rows:
        found.setdefault((row["geometry"], row["noise"]), []).append(row)
    return found


def what_came(rows):
    """Every run."""
    columns = ("dilation_px", "soft_edge_px", *BEFORE, *simulated.Result._fields, "loss")
    named = [{"name": f"{r['geometry']} {r['noise']:g} {r['mask']}", **r} for r in rows]
    note = f"loss: of the mean FSC with the truth up to {TARGET:.1f} Å against the best mask of the grid."
    return Findings("Refined under every mask", columns, named, note)


def ranks(rows):
    """Spearman's rank correlation over the masks of the grid, with its interval."""
    grids = {key: [r for r in found if r["mask"] == "grid"] for key, found in conditions(rows).items()}
    columns = [f"{a}: {b}" for a in AFTER.values() for b in BEFORE.values()]
    found = []
    for key, runs_ in grids.items():
        found.append({"name": f"{key[0]} {key[1]:g}", **_correlations([runs_])})
    if len(grids) > 1:
        cutting = {key: [r for r in runs_ if r["dilation_px"] < 0] for key, runs_ in grids.items()}
        others = {key: [r for r in runs_ if r["dilation_px"] >= 0] for key, runs_ in grids.items()}
        for name, parts in (("all", grids), ("those that erode", cutting), ("the others", others)):
            found.append({"name": f"mean, {name}", **_correlations(list(parts.values()))})
    note = f"95 % intervals from {RESAMPLED} samples of the masks. Λ and -d′ are both better where lower."
    return Findings("Spearman's ρ of what came with what was known before", columns, found, note)


def _correlations(grids):
    """Mean ρ over the conditions, and its interval by drawing the masks again."""
    found = {}
    for after, what in AFTER.items():
        for before, name in BEFORE.items():
            sign = -1 if before == "detectability" else 1
            pairs = [np.array([(r[after], sign * r[before]) for r in runs_]).T for runs_ in grids]
            drawn = [_resampled(*pair) for pair in pairs]
            low, high = np.percentile(np.mean(drawn, axis=0), INTERVAL)
            rho = float(np.mean([spearman(*pair) for pair in pairs]))
            found[f"{what}: {name}"] = [rho, float(low), float(high)]
    return found


def spearman(x, y):
    """Spearman's rank correlation along the last axis; 0 where one side has one value only."""
    x, y = (stats.rankdata(values, axis=-1) for values in (x, y))
    x, y = (ranked - ranked.mean(axis=-1, keepdims=True) for ranked in (x, y))
    scale = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return (x * y).sum(-1) / np.where(scale > 0, scale, 1)


def _resampled(x, y):
    drawn = np.random.default_rng(0).integers(0, len(x), (RESAMPLED, len(x)))
    return spearman(x[drawn], y[drawn])


def cost(row):
    """What a policy is chosen by: the loss of FSC plus the noise correlation."""
    return row["loss"] + max(row["noise_correlation"], 0)


def frozen(rows):
    """The number of the policy whose picks cost least on the first geometry; of equals the first."""
    first = [row for row in rows if row["geometry"] == simulated.GEOMETRIES[0].name and row["mask"] == "grid"]
    return min(range(len(POLICIES)), key=lambda number: sum(cost(r) for r in first if number in r["picked_by"]))


def chosen(found, number):
    """The masks that each rule would take, of the runs of one condition; of equals all."""
    grid = [row for row in found if row["mask"] == "grid"]
    finest = min(row["resolution"] for row in grid)
    rules = {
        "advisor as shipped": [row for row in grid if 0 in row["picked_by"]],
        "advisor, thresholds of the first geometry": [row for row in grid if number in row["picked_by"]],
        "greatest d′": [max(grid, key=lambda row: row["detectability"])],
        "least Λ": [min(grid, key=lambda row: row["leak_mean"])],
        "best nominal resolution": [row for row in grid if row["resolution"] == finest],
        "any mask of the grid": grid,
    }
    rules.update({row["mask"]: [row] for row in found if row["mask"] != "grid"})
    return rules


def losses(rows):
    """What each rule loses, on the geometry its threshold was chosen on and on the others."""
    number, first = frozen(rows), simulated.GEOMETRIES[0].name
    groups = {
        first: lambda name: name == first,
        "others": lambda name: name != first,
        "glycoprotein": lambda name: name == "glycoprotein",
    }
    found = {}  # rule, group, condition: the four figures
    for (name, _), runs_ in conditions(rows).items():
        for rule, picked in chosen(runs_, number).items():
            for group, holds in groups.items():
                if holds(name):
                    values = [np.mean([row[key] for row in picked]) for key in AFTER]
                    found.setdefault(rule, {}).setdefault(group, []).append(values)
    table = []
    for rule, by_group in found.items():
        row = {"name": rule}
        for group, values in by_group.items():
            for i, what in enumerate(AFTER.values()):
                each = [float(v[i]) for v in values]
                row[f"{what}, {group}"] = [float(np.mean(each)), min(each), max(each)]
            near = sum(v[-1] <= NEAR for v in values)
            row[f"near the best, {group}"] = f"{near} of {len(values)}"
        table.append(row)
    columns = [f"{what}, {group}" for what in (*AFTER.values(), "near the best") for group in groups]
    policy = POLICIES[number]
    note = (
        f"Rules that leave several masks get their mean; near the best is a loss of at most {NEAR:.0%}. Thresholds of "
        f"the first geometry: Λ {policy.leak_mean:g}, FSC at the resolution {policy.fsc_at_resolution:g}, "
        f"{policy.anisotropy_db:g} dB, tie {policy.tie:g}."
    )
    return Findings("What each rule gets: mean (least to most) over geometries and noises", columns, table, note)
