"""64 masks, 8 dilations by 8 soft edges, measured: a sweep against a loop of gpumask's own calls, and RELION."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import gpumask
from gpumask import MaskRecipe, io, pipeline, simulation

from . import Case, Table
from .create import RELION_BOX, THREADS

EXTENT = 281.6  # Å, of the box of the simulated particle: 1.1 Å/px at 256³
THRESHOLD, RESOLUTION = 0.05, 4.4  # of the noise-free density; Å, above Nyquist from 128³ on
DILATIONS, SOFT_EDGES = range(0, 16, 2), range(4, 36, 4)  # px
LOOP = ((0, 4), (4, 12), (8, 20), (14, 32))  # cells of the loop that are run; the others are taken to cost as much
CELL = (4, 12)
CELLS = len(DILATIONS) * len(SOFT_EDGES)


def tables(box):
    box = box or 256
    yield swept(*inputs(box))
    yield relion(*inputs(min(box, RELION_BOX)))


def inputs(box):
    """A map, two half maps, and the voxel size in Å."""
    size = EXTENT / box
    made = simulation.particle(box, size)
    return made.density, made.half1, made.half2, size


def sweep(volume, pair, size):
    return gpumask.sweep(
        *(volume, *pair),
        thresholds=THRESHOLD,
        dilations=list(DILATIONS),
        soft_edges=list(SOFT_EDGES),
        resolution=max(RESOLUTION, 2.2 * size),
        voxel_size=size,
    )


def recipe(dilation, width):
    return {"threshold": THRESHOLD, "dilation": dilation, "soft_edge": width}


def swept(volume, half1, half2, size):
    pair = (half1, half2)
    grid = gpumask.Volume(volume, size)
    halves = [gpumask.Volume(half, size) for half in pair]

    def loop(*cells):
        for cell in cells:
            soft = pipeline.make(grid, MaskRecipe(**recipe(*cell))).volume
            gpumask.fsc(*halves, soft)

    found = {}

    def with_halves():
        found["sweep"] = sweep(volume, pair, size)

    with_halves()
    done = found["sweep"]
    error = largest_difference(done, grid, halves)
    count = ", ".join(f"{name} {value:g}" for name, value in done.transforms.items())
    cases = [
        Case(f"gm.sweep, {CELLS} masks with half maps", with_halves, error, 1),
        Case(f"gm.sweep, {CELLS} masks without half maps", lambda: sweep(volume, (), size), None, 1),
        Case(
            f"create + gm.fsc, {len(LOOP)} cells run, times {CELLS // len(LOOP)}",
            lambda: loop(*LOOP),
            None,
            1,
            len(LOOP) / CELLS,
        ),
    ]
    note = f"Transforms a mask, in units of one of a real box: {sum(done.transforms.values()):g} ({count}), and "
    note += f"{done.transforms_once:g} once. max |Δ|: masked and predicted curves against gm.fsc."
    return Table(
        f"{CELLS} masks, arrays in memory, warm: {len(volume)}³, {THREADS} threads", cases, cases[0].name, note=note
    )


def largest_difference(done, grid, halves):
    """Of the curves of one cell from those of gm.fsc under the mask of :func:`gpumask.create_mask`."""
    i = next(i for i, row in enumerate(done.rows) if (row["dilation_px"], row["soft_edge_px"]) == CELL)
    soft = pipeline.make(grid, done.recipe(done.rows[i])).volume
    curves = gpumask.fsc(*halves, soft)
    differences = [
        np.abs(curves.curve(name) - np.array(done.details[i][name], float))[1:] for name in ("masked", "predicted")
    ]
    return float(np.nanmax(differences))


def relion(volume, half1, half2, size):
    """One cell by RELION's programs, whole processes, extrapolated to the sweep."""
    cases = [Case(f"gm.sweep, {CELLS} masks", lambda: sweep(volume, (half1, half2), size), None, 3)]
    cases[0].run()
    make, post = shutil.which("relion_mask_create"), shutil.which("relion_postprocess")
    if make and post:
        folder = Path(tempfile.mkdtemp(prefix="gpumask-bench-"))
        for name, array in (("map", volume), ("half1", half1), ("half2", half2)):
            io.write(folder / f"{name}.mrc", gpumask.Volume(array, size))
        path, (dilation, width) = str(folder / "mask.mrc"), CELL
        masked = [make, "--i", str(folder / "map.mrc"), "--o", path, "--ini_threshold", str(THRESHOLD)]
        masked += ["--extend_inimask", str(dilation), "--width_soft_edge", str(width), "--j", str(THREADS)]
        judged = [post, "--i", str(folder / "half1.mrc"), "--i2", str(folder / "half2.mrc"), "--mask", path]
        judged += ["--angpix", f"{size:.6f}", "--skip_fsc_weighting", "--adhoc_bfac", "0", "--o", str(folder / "post")]

        def cell():
            for command in (masked, judged):
                subprocess.run(command, check=True, capture_output=True)

        name = f"relion_mask_create --j {THREADS} + relion_postprocess, 1 cell, times {CELLS}"
        cases.append(Case(name, cell, None, 1, 1 / CELLS))
    title = f"{CELLS} masks, ours in memory, RELION's as processes: {len(volume)}³, {THREADS} threads"
    note = f"The cell: dilation {CELL[0]} px, edge {CELL[1]} px. RELION's other cells are taken to cost as much."
    return Table(title, cases, cases[0].name, note=note)
