"""A mask from a map: recipes read, one box at a time made in memory or in slabs, and written with its provenance."""

import json
import math
import time
from pathlib import Path

import numpy as np

import gpumask
from gpumask import backend, io, pipeline, slabs, units
from gpumask.errors import InputNotFound, InputRefused, OutOfMemory, UsageError
from gpumask.job import outputs
from gpumask.recipe import loads, parse_threshold

LABEL = "gpumask {} create, recipe {}"
MEMORY_SHARE = 0.8  # of what is free


def read_recipe(path):
    """A recipe from a TOML or JSON file, or from a mask's provenance JSON.

    Returns
    -------
    fields : dict
        Of :class:`MaskRecipe`.
    options : dict
        What else the mask was made with: ``like``, ``mode``, ``nan_to``, ``voxel_size``; empty for a bare recipe.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputNotFound(f"{path}: cannot be read as a recipe: {error}") from error
    if path.suffix == ".toml":
        return loads(text, "toml"), {}
    fields = loads(text)
    document = json.loads(text)
    options = document.get("options")
    if not isinstance(options, dict):
        return fields, {}
    size, like = options.get("voxel_size_angstrom"), document.get("like")
    sizes = isinstance(size, list) and len(size) == 3 and all(isinstance(v, (int, float)) for v in size)
    if not (size is None or sizes) or not (like is None or isinstance(like, str)):
        raise InputRefused(f"{path}: its options are not those that gpumask writes; give the recipe alone")
    return fields, {
        "like": like,
        "mode": options.get("mode"),
        "nan_to": options.get("nan_to"),
        "voxel_size": None if size is None else tuple(reversed(size)),
    }


def _explained(level):
    return {"method": level.method, "value": level.value, "why": level.why}


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
    memory=None,
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
    memory : int, optional
        Bytes to stay within; a box that needs more is made in slabs. Default: 80 % of what is free.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.

    Returns
    -------
    dict
        What ``gpumask create --json`` prints; triples are x, y, z.
    """
    map_path, output = Path(map_path), outputs.named(output, ".json", ".png")
    sidecar, picture = outputs.beside(output, ".json"), outputs.beside(output, ".png")
    targets = [output, sidecar, *([picture] if plot else [])]
    outputs.check(targets, (map_path, like), overwrite)
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    run = _Run(recipe, device, backend.is_demanded(reason), memory, progress)
    names = (map_path.name, None if like is None else Path(like).name)
    progress("read")
    start = time.perf_counter()
    source = io.Slabs(map_path, voxel_size=voxel_size, nan_to=nan_to)
    digest = io.sha256(map_path)
    grid, reference = source, None
    streamed = like is None and run.budget(source) < pipeline.memory_needed(source.shape, source.voxel_size, recipe)
    if streamed and plot:
        raise UsageError(f"{map_path}: is made in slabs for want of memory, so that there is no figure; drop --plot")
    if not streamed:
        volume = source.whole()
        if like is not None:
            reference, more = io.load(like)
            run.notes += more
        grid = reference or volume
    seconds = {"read": time.perf_counter() - start}
    progress("load")
    seconds["load"] = backend.first_call_seconds(device)  # compiling, the first time on a machine; else finding it

    def document():
        made = run.made
        return {
            "output": str(output),
            "files": [str(path) for path in targets],
            "recipe": recipe.to_dict(),
            "recipe_hash": recipe.hash,
            "input": {"path": str(map_path), "sha256": digest},
            "like": None if like is None else str(like),
            "options": {
                "mode": mode,
                "nan_to": nan_to,
                "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
            },
            "version": gpumask.__version__,
            "voxel_size_angstrom": units.xyz(grid.voxel_size),
            "box": units.xyz(grid.shape),
            "threshold": {
                "method": parse_threshold(recipe.threshold)[0],
                "value": made.threshold,
                "why": made.threshold_why,
            },
            "hysteresis": None if made.hysteresis is None else _explained(made.hysteresis),
            "dilation_px": made.dilation_px,
            "soft_edge_px": made.soft_edge_px,
            "soft_edge_source": _edge_source(recipe),
            "minimum_soft_edge_px": made.minimum_soft_edge_px,
            "equivalent_edge_px": made.equivalent_edge_px,
            "base_voxels": made.base_voxels,
            "volume_angstrom3": made.volume_angstrom3,
            "components": made.components,
            "faces_touched": made.faces_touched,
            "verdict": made.verdict,
            "device": run.device,
            "device_reason": reason,
            "seconds": {**seconds, **made.seconds},
            "warnings": [*source.notes, *run.notes, *made.warnings],
        }

    def write_document(stream):
        stream.write((json.dumps(document(), indent=2) + "\n").encode())

    label = LABEL.format(gpumask.__version__, recipe.hash)
    if streamed:
        run.notes.append(f"{map_path}: made in slabs, since the whole box needs more memory than may be used")

        def write_mask(stream):
            def slabs_to(write):
                run.in_slabs(source, write)

            io.encode_slabs(stream, source.shape, source.voxel_size, source.header, mode, label, slabs_to)

        files = [(output, write_mask), (sidecar, write_document)]
    else:
        soft = run.whole(volume, reference, names)
        files = [(output, io.encode(soft, mode, label)), (sidecar, write_document)]
        if plot:
            from gpumask.report.slices import draw

            progress("plot")
            start = time.perf_counter()
            drawn = draw(soft.data, grid.data, voxel_size=soft.voxel_size, origin=soft.origin, title=output.name)
            files.append((picture, [drawn]))
            seconds["plot"] = time.perf_counter() - start
    progress("write")
    start = time.perf_counter()
    io.write_files(files, overwrite)
    seconds["write"] = time.perf_counter() - start - (sum(run.made.seconds.values()) if streamed else 0)
    return document()


class _Run:
    """A recipe on its way to a mask: in memory if it fits, else in slabs, else, unless the device was demanded, on the
    CPU; each step down is noted."""

    def __init__(self, recipe, device, demanded, memory, progress):
        self.recipe, self.device, self.demanded, self.memory = recipe, device, demanded, memory
        self.progress, self.notes, self.made = progress, [], None

    def budget(self, source):
        """Bytes that may be used for a box."""
        available = backend.available_memory()
        limits = [self.memory, None if available is None else int(MEMORY_SHARE * available)]
        return min(limit for limit in (*limits, math.inf) if limit is not None)

    def whole(self, volume, like, names):
        """The mask as a Volume in host memory, on the grid of `like` where that is given."""
        rungs = [("at once", self.device, self._at_once)]
        if self.device != "cpu":
            rungs += [("with the device's caches freed", self.device, self._after_freeing)]
        if like is None:
            rungs += [("in slabs", self.device, self._by_slabs)]
        if self.device != "cpu" and not self.demanded:
            rungs += [("on the CPU", "cpu", self._at_once)]
            rungs += [("in slabs on the CPU", "cpu", self._by_slabs)] if like is None else []
        for (name, device, rung), following in zip(rungs, [*rungs[1:], None], strict=True):
            try:
                soft = rung(volume, device, like, names)
            except MemoryError as error:
                if following is None:
                    raise OutOfMemory(
                        f"a box of {units.by(volume.shape)} voxels does not fit in memory: {error}"
                    ) from error
                self.notes.append(f"out of memory {name} on {device}; going on {following[0]}")
            else:
                self.device = device
                return soft
        return None

    def in_slabs(self, source, write, device=None):
        """Run in slabs from `source` to `write`."""
        device = device or self.device
        budget = self.budget(source)
        if device != "cpu":
            budget = min(budget, int(MEMORY_SHARE * backend.device_memory(device)))
        self.made = slabs.make(source, self.recipe, write, budget, device, self.progress)

    def _at_once(self, volume, device, like, names):
        volume = backend.place(volume, device)
        self.made = pipeline.make(volume, self.recipe, self.progress, like, names)
        return backend.place(self.made.volume, "cpu")

    def _after_freeing(self, volume, device, like, names):
        backend.free_memory(device)
        return self._at_once(volume, device, like, names)

    def _by_slabs(self, volume, device, *_):
        made = []
        self.in_slabs(slabs.InMemory(volume), made.append, device)
        return volume.with_data(np.concatenate(made), recipe=self.recipe)


def _edge_source(recipe):
    """Where the width of the soft edge comes from: ``recipe``, ``resolution`` (5·resolution/voxel) or ``default``."""
    if recipe.soft_edge is not None or recipe.near is not None:
        return "recipe"
    return "default" if recipe.resolution is None else "resolution"
