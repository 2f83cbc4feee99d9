"""Atomic models listed, and masks and densities of them written with their provenance."""

from dataclasses import replace

import gpumask
from gpumask import backend, io, mask, models, pipeline, regions, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import core_soft as glycoprotein
from gpumask.job import devices, inputs, outputs
from gpumask.job.micelle import Micelle
from gpumask.job.timing import timed
from gpumask.recipe import lengths
from gpumask.volume import Volume

LABEL = "gpumask {} model{}, recipe {}"
VOXEL_BYTES = 8 + 3 * 4  # distances or a density in float64, the mask, what is measured of it, and the file's bytes
PADDING = 3  # times the resolution of a density, as molmap
MARGIN = 5.0  # px from a mask's edge to the faces of a box that is made for it
OPTIONS = ("like", "box", "voxel_size_angstrom", "padding", "mode", "micelle")


def list_model(path, select=None):
    """What a model holds.

    Parameters
    ----------
    path : str or Path
    select : str, optional
        Of these atoms only, see :meth:`gpumask.models.Model.select`.

    Returns
    -------
    dict
        What ``gpumask model --list --json`` prints: ``input``, ``select``, ``atoms``, ``residues``, ``mass_kda``,
        ``sugars`` (residues: glycans and free ones), ``kinds`` (see :func:`gpumask.models.table`), ``warnings``.
    """
    model = models.read(path)
    chosen = model if select is None else model.select(select)
    rows = models.table(chosen)
    return {
        "input": {"path": str(path), "sha256": io.sha256(path)},
        "select": select,
        "atoms": len(chosen),
        "residues": sum(row["residues"] for row in rows),
        "mass_kda": sum(row["mass_kda"] for row in rows),
        "sugars": sum(chosen.residues[index].sugar for index in set(chosen.residue.tolist())),
        "kinds": rows,
        "warnings": list(model.notes),
    }


def read_model(path):
    """The recipe of a model's mask or density from its provenance JSON, or from a recipe in JSON or TOML.

    Returns
    -------
    fields : dict
        Of :class:`gpumask.models.ModelRecipe`.
    options : dict
        The grid, the mode and the micelle: keywords of :func:`model`; empty for a bare recipe.
    """
    values, document = inputs.recipe_document(path)
    if not document:
        return values, {}
    options = document["options"]
    if set(options) != set(OPTIONS):
        raise UsageError(f"{path}: its options are not those that gpumask model writes; give the recipe alone")
    return values, {
        **inputs.text_options(path, options, ("like", "padding", "mode")),
        "box": inputs.triple_option(path, options, "box"),
        "voxel_size": inputs.triple_option(path, options, "voxel_size_angstrom"),
        "micelle": None if options["micelle"] is None else Micelle.from_dict(options["micelle"]),
    }


def model(
    path,
    output,
    recipe,
    *,
    like=None,
    box=None,
    voxel_size=None,
    padding=None,
    recipe_path=None,
    device=None,
    mode=None,
    overwrite=False,
    core_soft=None,
    micelle=None,
    progress=None,
):
    """Make a mask or a density from an atomic model, and write it with its provenance beside it.

    Parameters
    ----------
    path : str or Path
        PDB or mmCIF, see :func:`gpumask.models.read`.
    output : str or Path
        ``mask.mrc`` is written with ``mask.json``, both or none.
    recipe : ModelRecipe
    like : str or Path, optional
        A map whose grid the result gets; only its header is read.
    box : tuple of int, optional
        (z, y, x) voxels with the origin 0, where there is no such map; needs `voxel_size`.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); alone: in a box around the selected atoms, on the lattice of the origin 0. With `like` instead of
        its header's.
    padding : str, optional
        Length from the outermost atoms to the faces of such a box; default 3 times the resolution for a density, as
        ``molmap``, and for a mask what it reaches and 5 px.
    recipe_path : str or Path, optional
        The file that `recipe` is from, which is not written over.
    device : str, optional
        See :func:`gpumask.backend.choose`. Atoms are laid into the box on the CPU, the soft edge is made on the device.
    mode : str, optional
        See :func:`gpumask.write`; default ``float32``.
    overwrite : bool
        Replace existing files.
    core_soft : Leaks, optional
        Make the mask core-soft (see :mod:`gpumask.job.core_soft`): without a soft edge in `recipe` it gets a very soft
        one, and ``core_soft`` is added to what is returned; its leak is told from the half maps, if it has any.
    micelle : Micelle, optional
        Also write the mask of what the map `like` holds around the model, ``mask_outside.mrc``, and that map under
        both, ``mask_applied.mrc``; ``micelle`` is added to what is returned, with path and SHA-256 of that map.
    progress : callable, optional
        Called with the name of each step as it begins.

    Returns
    -------
    dict
        What ``gpumask model --json`` prints; triples are x, y, z.
    """
    output, mode = outputs.named(output, ".json"), mode or "float32"
    sidecar = outputs.beside(output, ".json")
    targets = [output, sidecar, *([] if micelle is None else micelle.names(output))]
    others = [] if core_soft is None else core_soft.paths
    outputs.check(targets, (path, like, recipe_path, *others), overwrite)
    for asked, flag in ((core_soft, "--core-soft"), (micelle, "--micelle")):
        if asked is not None and (like is None or recipe.density is not None or recipe.invert):
            raise UsageError(
                f"{flag} needs --like MAP, and makes a mask of the particle: leave --density and --invert out"
            )
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}
    progress("read")
    with timed(seconds, "read"):
        whole = models.read(path)
        chosen = whole.select(recipe.select)
        grid, notes = _grid(chosen, recipe, like, box, voxel_size, padding)
        if core_soft is not None:
            recipe = replace(recipe, soft_edge=glycoprotein.completed(recipe.of_base, grid.voxel_size).soft_edge)
        if micelle is not None:
            density, more = io.load(like, voxel_size=voxel_size)
            notes += more
    outside = models.outside(chosen, grid)
    notes += models.outside_note(chosen, grid)
    progress("draw")
    with timed(seconds, "draw"):
        if recipe.density is not None:
            made, facts, warnings = _density(chosen, recipe, grid), {}, []
            device, reason = "cpu", "densities are made on the CPU"
        else:
            work = _mask(chosen, recipe, grid)
            (made, facts, warnings), device, steps_down = devices.run(work, device, reason)
            warnings = [*steps_down, *warnings]
    volume, beside = Volume(made, grid.voxel_size, grid.header), {}
    if core_soft is not None:
        progress("core-soft")

        def bodies(device):
            return glycoprotein.bodies_of_model(whole, chosen, recipe, grid, device)

        with timed(seconds, "core-soft"):
            facts["core_soft"], more = glycoprotein.told(
                volume, recipe.of_base, bodies, core_soft, device, reason, output
            )
        warnings += more
    if micelle is not None:
        progress("micelle")
        with timed(seconds, "micelle"):
            beside, facts["micelle"], more = micelle.made(density, chosen, volume, recipe, device, reason)
            facts["micelle"]["map"] = {"path": str(like), "sha256": io.sha256(like)}
        warnings += more
    document = {
        "output": str(output),
        "files": [str(target) for target in targets],
        "version": gpumask.__version__,
        "verb": "model",
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "input": {"path": str(path), "sha256": io.sha256(path)},
        "options": {
            "like": None if like is None else str(like),
            "box": None if box is None else units.xyz(box),
            "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
            "padding": padding,
            "mode": mode,
            "micelle": None if micelle is None else micelle.to_dict(),
        },
        "selected": models.table(chosen),
        "atoms_outside": outside,
        "box": units.xyz(grid.shape),
        "voxel_size_angstrom": units.xyz(grid.voxel_size),
        "origin_angstrom": units.xyz(grid.origin),
        **facts,
        "device": device,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": [*whole.notes, *notes, *warnings],
    }

    def label(what):
        return LABEL.format(gpumask.__version__, what, recipe.hash)

    progress("write")
    files = [
        (output, io.encode(volume, mode, label("" if recipe.density is None else " density"))),
        (sidecar, [outputs.document(document)]),
        *(
            (target, io.encode(other, "float32", label(f" {name}")))
            for target, (name, other) in zip(targets[2:], beside.items(), strict=True)
        ),
    ]
    io.write_files(files, overwrite)
    return document


def _mask(chosen, recipe, grid):
    """``work(device)`` that gives the mask in host memory, what is known of it, and warnings."""
    size, of_base = grid.voxel_size, recipe.of_base
    radius_px = units.to_px(recipe.radius, size, "radius")
    radius = units.to_angstrom(radius_px, size)
    dilation, width = lengths(of_base, size)
    base = models.base(chosen, radius, grid)
    if not base.any():
        raise InputRefused(
            f"{chosen.name}: no voxel centre lies within {units.both(radius_px, size)} of an atom; widen"
        )

    def work(device):
        with backend.current(device):
            sampling = units.sampling(size)
            if recipe.style == models.SERVALCAT:
                edge = of_base.edge or "cosine"
                soft = models.soft_mask(chosen, radius, units.to_angstrom(width, size), grid, edge)
                soft = backend.place_array(soft, device)
            else:
                placed = backend.place_array(base, device)
                soft = mask.soft_mask(placed, dilation, width, of_base.edge, of_base.style, sampling)
            if bool(soft.min() == 1):
                raise InputRefused(
                    f"the mask is everything: the atoms of {chosen.name} reach every voxel of the box of "
                    f"{units.by(grid.shape)} voxels; take a larger box or a smaller radius"
                )
            islands = regions.component_count(soft >= 0.5)
            checks = pipeline.Checks(
                base_voxels=int(base.sum()),
                total=float(soft.sum(dtype="float64")),
                equivalent_edge_px=mask.equivalent_edge(soft, sampling),
                components=min(islands, 1),  # what it advises on islands is for maps
                faces_touched=mask.faces_touched(soft),
            )
            made = pipeline.judged(of_base, size, grid.shape, 0.5, checks, {})
            advice = []
            if islands > 1:
                advice = [f"the mask has {islands} islands; join them with a larger radius, or select fewer atoms"]
            facts = {
                "radius_px": radius_px,
                "dilation_px": made.dilation_px,
                "soft_edge_px": made.soft_edge_px,
                "minimum_soft_edge_px": made.minimum_soft_edge_px,
                "equivalent_edge_px": made.equivalent_edge_px,
                "base_voxels": made.base_voxels,
                "volume_angstrom3": made.volume_angstrom3,
                "components": islands,
                "faces_touched": made.faces_touched,
                "verdict": made.verdict,
            }
            return backend.to_numpy(mask.invert(soft) if recipe.invert else soft), facts, [*made.warnings, *advice]

    return work


def _density(chosen, recipe, grid):
    return models.density(chosen, units.angstrom(recipe.density), grid)


def _grid(chosen, recipe, like, box, voxel_size, padding):
    """A Volume of nothing with the grid of the result, and notes."""
    if padding is not None and (like is not None or box is not None):
        raise UsageError("padding is of a box around the model: leave like and box out")
    grid, notes = inputs.grid(like, box, voxel_size)
    if grid is None:
        if voxel_size is None:
            raise UsageError(
                "a model needs a grid: give a map to be like, or a voxel size in Å for a box around the model"
            )
        size = units.voxel_edges(voxel_size)
        grid = models.around(chosen, size, _padding(recipe, size, padding))
    inputs.check_room(grid.shape, VOXEL_BYTES)
    return grid, notes


def _padding(recipe, size, padding):
    """Å from the outermost atoms to the faces of a box around them."""
    if padding is not None:
        wanted = units.to_px(padding, size, "padding")
        if wanted < 0:
            raise UsageError(f"padding must be >= 0, got {padding}")
        return units.to_angstrom(wanted, size)
    if recipe.density is not None:
        return PADDING * units.angstrom(recipe.density)
    return units.to_angstrom(units.to_px(recipe.radius, size) + sum(lengths(recipe.of_base, size)) + MARGIN, size)
