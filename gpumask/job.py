"""Files in, files out: the one path that the command line and every integration share."""

import json
import time
from pathlib import Path

import gpumask
from gpumask import backend, io, mask, pipeline, regions, units
from gpumask._cpu import statistics
from gpumask.errors import InputNotFound, OutOfMemory, UsageError
from gpumask.recipe import loads


def read_recipe(path):
    """Fields of a recipe from a TOML or JSON file; a mask's provenance JSON gives the recipe in it."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputNotFound(f"{path}: cannot be read as a recipe: {error}") from error
    return loads(text, "toml" if path.suffix == ".toml" else "json")


def create(
    map_path,
    output,
    recipe,
    *,
    like=None,
    device=None,
    mode="float32",
    overwrite=False,
    voxel_size=None,
    nan_to=None,
    plot=False,
    progress=None,
):
    """Make a mask from a map file, and write it with its provenance beside it.

    Parameters
    ----------
    map_path, output : str or Path
        ``mask.mrc`` is written with ``mask.json`` (and ``mask.png`` with `plot`), all of them or none.
    recipe : MaskRecipe
    like : str or Path, optional
        A map on the same lattice, whose grid the mask gets.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    mode, overwrite
        See :func:`gpumask.write`.
    voxel_size, nan_to
        See :func:`gpumask.read`.
    plot : bool
        Draw three slices (extra ``plot``).
    progress : callable, optional
        Called with the name of each step as it begins.

    Returns
    -------
    dict
        What ``gpumask create --json`` prints; triples are x, y, z.
    """
    map_path, output = Path(map_path), Path(output)
    sidecar, picture = output.with_suffix(".json"), output.with_suffix(".png")
    outputs = [output, sidecar, *([picture] if plot else [])]
    if len(set(outputs)) < len(outputs):
        raise UsageError(f"{output}: a mask needs a name of its own beside {sidecar.name}; use .mrc")
    for path in outputs:
        io.check_output(path, overwrite)
        for source in (map_path, like):
            if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
                raise UsageError(f"{path}: is an input; give the output another name")
    device, reason = backend.choose(device)
    progress = progress or (lambda name: None)
    seconds = {}
    progress("read")
    start = time.perf_counter()
    volume, notes = io.load(map_path, voxel_size=voxel_size, nan_to=nan_to)
    behind = volume
    if like is not None:
        behind, more = io.load(like)
        volume, pasted = io.paste(map_path.name, volume, Path(like).name, behind)
        notes += [*more, *pasted]
    seconds["read"] = time.perf_counter() - start
    start = time.perf_counter()
    digest = io.sha256(map_path)
    seconds["hash"] = time.perf_counter() - start
    try:
        placed = backend.place(volume, device)
        made = pipeline.make(placed, recipe, progress)
        soft = backend.place(made.volume, "cpu")
    except MemoryError as error:
        raise OutOfMemory(f"{map_path}: a box of {_by(volume.shape)} voxels does not fit in memory: {error}") from error
    seconds |= made.seconds
    document = {
        "output": str(output),
        "files": [str(path) for path in outputs],
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "input": {"path": str(map_path), "sha256": digest},
        "like": None if like is None else str(like),
        "version": gpumask.__version__,
        "voxel_size_angstrom": units.xyz(volume.voxel_size),
        "box": units.xyz(volume.shape),
        "threshold": made.threshold,
        "dilation_px": made.dilation_px,
        "soft_edge_px": made.soft_edge_px,
        "minimum_soft_edge_px": made.minimum_soft_edge_px,
        "equivalent_edge_px": made.equivalent_edge_px,
        "base_voxels": made.base_voxels,
        "volume_angstrom3": made.volume_angstrom3,
        "components": made.components,
        "faces_touched": made.faces_touched,
        "verdict": made.verdict,
        "device": device,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": [*notes, *made.warnings],
    }
    label = f"gpumask {gpumask.__version__} create, recipe {recipe.hash}"
    progress("write")
    start = time.perf_counter()
    chunks = io.encode(soft, mode, label)
    drawing = []
    if plot:
        from gpumask.report.slices import draw

        drawing = [(picture, [draw(soft.data, behind.data, voxel_size=soft.voxel_size, title=output.name)])]
    seconds["write"] = time.perf_counter() - start
    text = (json.dumps(document, indent=2) + "\n").encode()
    io.write_files([(output, chunks), (sidecar, [text]), *drawing], overwrite)
    seconds["write"] = time.perf_counter() - start
    return document


def inspect(path, *, voxel_size=None, nan_to=None):
    """Header and statistics of a file, and what it measures where it is a mask.

    Returns
    -------
    dict
        What ``gpumask inspect --json`` prints; triples are x, y, z.
    """
    volume, notes = io.load(path, voxel_size=voxel_size, nan_to=nan_to)
    low, high, mean, deviation = statistics(volume.data)
    document = {
        "path": str(path),
        "box": units.xyz(volume.shape),
        "voxel_size_angstrom": units.xyz(volume.voxel_size),
        "origin_angstrom": units.xyz(volume.origin),
        "nstart": units.xyz(volume.header.nstart),
        "mode": volume.header.mode,
        "labels": list(volume.header.labels),
        "is_mask": mask.is_mask(low, high),
        "min": low,
        "max": high,
        "mean": mean,
        "standard_deviation": deviation,
        "warnings": notes,
    }
    if document["is_mask"]:
        document |= _measures(volume)
    return document


def _measures(volume):
    data = volume.data
    size = units.volume_angstrom3(data.sum(dtype="float64"), volume.voxel_size)
    centre = mask.centre_of_mass(data)
    box = regions.bounding_box(data > 0)
    edge = mask.equivalent_edge(data)
    return {
        "volume_angstrom3": size,
        "mass_kda": units.mass_kda(size),
        "centre_px": units.xyz(centre),
        "centre_angstrom": units.xyz(units.corner_px_to_angstrom(centre, volume.voxel_size, volume.origin)),
        "bounding_box_px": [units.xyz(s.start for s in box), units.xyz(s.stop for s in box)],
        "equivalent_edge_px": edge,
        "components": regions.component_count(data >= 0.5),
        "faces_touched": mask.faces_touched(data),
        "binary": bool(((data == 0) | (data == 1)).all()),
        "verdict": pipeline.verdict(edge, None),
    }


def _by(shape):
    return " x ".join(str(n) for n in units.xyz(shape))
