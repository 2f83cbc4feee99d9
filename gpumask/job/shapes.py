"""A geometric mask on the grid of a file, or in a box by its numbers, written with its provenance."""

import numpy as np

import gpumask
from gpumask import backend, io, mask, shapes, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.job.timing import timed
from gpumask.volume import Volume

LABEL = "gpumask {} shape {}, recipe {}"
VOXEL_BYTES = 3 * 4  # the mask, what is measured of it, and the file's bytes
ROUNDING = 1e-9  # px


def read_shape(path):
    """The recipe of a geometric mask from its provenance JSON, or from a recipe in JSON or TOML.

    Returns
    -------
    fields : dict
        Of :class:`gpumask.shapes.ShapeRecipe`.
    options : dict
        The grid, and what else the mask was made with: keywords of :func:`shape`; empty for a bare recipe.
    """
    values, document = inputs.recipe_document(path)
    inputs.text_options(path, values, ("shape",))
    if not document:
        return values, {}
    options = document["options"]
    return values, {
        **inputs.text_options(path, options, ("like", "times", "mode")),
        "box": inputs.triple_option(path, options, "box"),
        "voxel_size": inputs.triple_option(path, options, "voxel_size_angstrom"),
    }


def shape(
    recipe,
    output,
    *,
    like=None,
    box=None,
    voxel_size=None,
    times=None,
    recipe_path=None,
    device=None,
    mode="float32",
    overwrite=False,
    progress=None,
):
    """Make a geometric mask, and write it with its provenance beside it.

    Parameters
    ----------
    recipe : ShapeRecipe
    output : str or Path
        ``mask.mrc`` is written with ``mask.json``, both or none.
    like : str or Path, optional
        A map whose grid the mask gets; only its header is read.
    box : tuple of int, optional
        (z, y, x) voxels, where there is no such map; then `voxel_size` is needed too, and the origin is 0.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); with `like` instead of its header's.
    times : str or Path, optional
        A mask to multiply by the shape, on the same grid; that is the grid where neither `like` nor `box` is given.
        What RELION does with ``--helix --z_percentage``, where the shape is a slab.
    recipe_path : str or Path, optional
        The file that `recipe` is from, which is not written over.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    mode, overwrite
        See :func:`gpumask.write`.
    progress : callable, optional
        Called with the name of each step as it begins.

    Returns
    -------
    dict
        What ``gpumask shape --json`` prints; triples are x, y, z.
    """
    output = outputs.named(output, ".json")
    sidecar = outputs.beside(output, ".json")
    outputs.check([output, sidecar], (like, times, recipe_path), overwrite)
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds, notes = {}, []
    progress("read")
    with timed(seconds, "read"):
        grid, factor = _grid(like, box, voxel_size, times, notes)
    centre = shapes.centre(recipe, grid)
    width = shapes.soft_edge(recipe, grid.voxel_size)
    minimum = None
    if recipe.resolution is not None:
        minimum = units.minimum_soft_edge_px(units.angstrom(recipe.resolution), grid.voxel_size)
    progress("draw")

    def work(device):
        with backend.current(device):
            xp = backend.xp(backend.place_array(np.zeros(0), device))
            soft = shapes.make(recipe, grid, xp)
            if factor is not None:
                soft *= backend.place_array(factor, device)
            _check_made(soft, recipe, grid, times)
            measured = {
                "volume_angstrom3": units.volume_angstrom3(soft.sum(dtype="float64"), grid.voxel_size),
                "equivalent_edge_px": mask.equivalent_edge(soft, units.sampling(grid.voxel_size)),
                "faces_touched": mask.faces_touched(mask.invert(soft) if recipe.invert and factor is None else soft),
            }
            return backend.to_numpy(soft), measured

    with timed(seconds, "draw"):
        (soft, measured), device, steps_down = devices.run(work, device, reason)
    document = {
        "output": str(output),
        "files": [str(output), str(sidecar)],
        "version": gpumask.__version__,
        "verb": "shape",
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "options": {
            "like": None if like is None else str(like),
            "times": None if times is None else str(times),
            "mode": mode,
            "box": None if box is None else units.xyz(box),
            "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
        },
        "times": None if times is None else {"path": str(times), "sha256": io.sha256(times)},
        "box": units.xyz(grid.shape),
        "voxel_size_angstrom": units.xyz(grid.voxel_size),
        "origin_angstrom": units.xyz(grid.origin),
        "centre": {
            "corner_px": units.xyz(centre),
            "centre_px": units.xyz(units.corner_px_to_centre_px(centre, grid.shape)),
            "angstrom": units.xyz(units.corner_px_to_angstrom(centre, grid.voxel_size, grid.origin)),
        },
        "soft_edge_px": width,
        "soft_edge_source": _edge_source(recipe),
        "minimum_soft_edge_px": minimum,
        **measured,
        "verdict": mask.verdict(measured["equivalent_edge_px"], minimum),
        "device": device,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": [*notes, *steps_down, *_warnings(measured, width, minimum, grid.voxel_size)],
    }
    label = LABEL.format(gpumask.__version__, recipe.shape, recipe.hash)
    made = Volume(soft, grid.voxel_size, grid.header)
    progress("write")
    files = [(output, io.encode(made, mode, label)), (sidecar, [outputs.document(document)])]
    io.write_files(files, overwrite)
    return document


def _grid(like, box, voxel_size, times, notes):
    """A Volume of nothing with the grid of the mask, and the data of the mask that it multiplies, or None."""
    grid, told = inputs.grid(times if like is None and box is None else like, box, voxel_size)
    if grid is None:
        raise UsageError("a shape needs a grid: give a map to be like, or a box and a voxel size")
    notes += told
    inputs.check_room(grid.shape, VOXEL_BYTES)
    if times is None:
        return grid, None
    factor, more = inputs.read_mask(times, {"voxel_size": voxel_size})
    note = inputs.check_grid(times, factor, "the box" if like is None else like, grid)
    notes += [text for text in (*more, note) if text and text not in notes]
    return grid, factor.data


def _check_made(soft, recipe, grid, times):
    """Refuse a mask of nothing, or of everything."""
    low, high = float(soft.min()), float(soft.max())
    full, empty = (low == 1, high == 0) if not recipe.invert or times is not None else (high == 0, low == 1)
    if empty and times is not None:
        raise InputRefused(f"the mask is empty: {times} is 0 wherever the {recipe.shape} is not; move or enlarge it")
    box = f"the box of {units.by(grid.shape)} voxels of {units.by(grid.voxel_size, '.4g')} Å (x, y, z)"
    if empty:
        raise InputRefused(f"the mask is empty: no voxel of {box} lies in the {recipe.shape}; move or enlarge it")
    if full:
        raise InputRefused(f"the mask is everything: the {recipe.shape} fills {box}; make it smaller")


def _edge_source(recipe):
    if recipe.soft_edge is not None:
        return "recipe"
    return "default" if recipe.resolution is None else "resolution"


def _warnings(measured, width, minimum, voxel_size):
    found = []
    if measured["faces_touched"]:
        faces = ", ".join(measured["faces_touched"])
        found.append(f"the shape meets the box face{'s' * (faces.count(',') > 0)} {faces}, where it is cut off hard")
    if measured["equivalent_edge_px"] < 1:
        found.append("the mask is binary or all but: a hard edge leaks to all frequencies; give it a soft edge")
    if minimum is not None and 0 < width < minimum - ROUNDING:
        found.append(
            f"the soft edge {units.both(width, voxel_size)} is under 5 x resolution = {units.both(minimum, voxel_size)}"
        )
    return found
