"""A geometric mask on the grid of a file, or in a box by its numbers, written with its provenance."""

import json
import math
from pathlib import Path

import gpumask
from gpumask import backend, grids, io, mask, shapes, units
from gpumask.errors import InputNotFound, InputRefused, OutOfMemory, UsageError, WriteFailed
from gpumask.job import devices, inputs, outputs
from gpumask.job.timing import timed
from gpumask.recipe import loads
from gpumask.volume import Volume

LABEL = "gpumask {} shape {}, recipe {}"
VOXEL_BYTES = 3 * 4  # the mask, what is measured of it, and the file's bytes
LARGEST_BOX = 1 << 20  # what a header is read with


def read_shape(path):
    """The recipe of a geometric mask from its provenance JSON, or from a recipe in JSON or TOML.

    Returns
    -------
    fields : dict
        Of :class:`gpumask.shapes.ShapeRecipe`.
    options : dict
        The grid, and what else the mask was made with: keywords of :func:`shape`; empty for a bare recipe.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputNotFound(f"{path}: cannot be read as a recipe: {error}") from error
    if path.suffix == ".toml":
        return loads(text, "toml"), {}
    values = loads(text)
    options = json.loads(text).get("options")
    if not isinstance(options, dict):
        return values, {}
    size, box = options.get("voxel_size_angstrom"), options.get("box")
    return values, {
        "like": options.get("like"),
        "times": options.get("times"),
        "mode": options.get("mode"),
        "box": None if box is None else tuple(reversed(box)),
        "voxel_size": None if size is None else tuple(reversed(size)),
    }


def shape(
    recipe,
    output,
    *,
    like=None,
    box=None,
    voxel_size=None,
    times=None,
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
        A mask to multiply by the shape, on the same grid; that is the grid where neither `like` nor `box` is given. What
        RELION does with ``--helix --z_percentage``, where the shape is a slab.
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
    output = Path(output)
    if not output.name:
        raise WriteFailed(f"{output}: is a folder; give the name of a file")
    sidecar = outputs.beside(output, ".json")
    if output.suffix.lower() == ".json":
        raise UsageError(f"{output}: a mask needs a name of its own beside {sidecar.name}; use .mrc")
    outputs.check([output, sidecar], (like, times), overwrite)
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds, notes = {}, []
    progress("read")
    with timed(seconds, "read"):
        grid, factor = _grid(like, box, voxel_size, times, notes)
    centre = shapes.centre(recipe, grid.shape, grid.voxel_size, grid.origin)
    width = shapes.soft_edge(recipe, grid.voxel_size)
    minimum = None
    if recipe.resolution is not None:
        minimum = units.minimum_soft_edge_px(units.angstrom(recipe.resolution), grid.voxel_size)
    progress("draw")

    def work(device):
        with backend.current(device):
            xp = backend.xp(backend.place_array(_nothing(), device))
            soft = shapes.make(recipe, grid.shape, grid.voxel_size, grid.origin, xp)
            if factor is not None:
                soft *= backend.place_array(factor, device)
            _check_made(soft, output, recipe, grid)
            measured = {
                "volume_angstrom3": units.volume_angstrom3(soft.sum(dtype="float64"), grid.voxel_size),
                "equivalent_edge_px": mask.equivalent_edge(soft, units.sampling(grid.voxel_size)),
                "faces_touched": mask.faces_touched(mask.invert(soft) if recipe.invert else soft),
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


class _Box:
    """A grid by its numbers, with its corner at 0."""

    def __init__(self, box, voxel_size):
        if len(box) != 3 or not all(isinstance(n, int) and 0 < n < LARGEST_BOX for n in box):
            raise UsageError(f"box must be one or three whole numbers of voxels, each > 0 and < {LARGEST_BOX}, got {box}")
        self.shape, self.header = tuple(box), gpumask.Header()
        self.voxel_size = units.voxel_edges(voxel_size)
        self.origin = (0.0, 0.0, 0.0)


def _grid(like, box, voxel_size, times, notes):
    """The grid of the mask, and the data of the mask that it multiplies, or None."""
    if like is not None and box is not None:
        raise UsageError("give like or box, not both: a file has a box of its own")
    factor = None
    if times is not None:
        factor, more = inputs.read_mask(times, {"voxel_size": voxel_size if like is None else None})
        notes += more
    if like is not None:
        source = io.Slabs(like, voxel_size=voxel_size)
        notes += source.notes
        grid = Volume(_Virtual(source.shape), source.voxel_size, source.header)
    elif box is not None:
        if voxel_size is None:
            raise UsageError("a box needs a voxel size in Å; give both, or a map to be like")
        grid = _Box(box, voxel_size)
    elif factor is not None:
        grid = factor
    else:
        raise UsageError("a shape needs a grid: give a map to be like, or a box and a voxel size")
    _check_memory(grid.shape)
    if factor is not None and grid is not factor:
        note = inputs.check_grid(times, factor, like or "the box", grid)
        notes += [note] if note else []
    return grid, None if factor is None else factor.data
