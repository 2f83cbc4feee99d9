"""A mask from a map: recipes read, one box at a time made in memory or in slabs, and written with its provenance."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import gpumask
from gpumask import backend, io, pipeline, slabs, units
from gpumask.errors import OutOfMemory, UsageError
from gpumask.job import core_soft as glycoprotein
from gpumask.job import inputs, outputs
from gpumask.job.timing import timed
from gpumask.recipe import parse_threshold

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
    fields, document = inputs.recipe_document(path)
    if not document:
        return fields, {}
    options = document["options"]
    return fields, {
        **inputs.text_options(path, document, ("like",)),
        **inputs.text_options(path, options, ("mode",)),
        "nan_to": options.get("nan_to"),
        "voxel_size": inputs.triple_option(path, options, "voxel_size_angstrom"),
    }


def _explained(level):
    return {"method": level.method, "value": level.value, "why": level.why}


def create(
    map_path,
    output,
    recipe,
    *,
    like=None,
    recipe_path=None,
    device=None,
    mode="float32",
    overwrite=False,
    voxel_size=None,
    nan_to=None,
    plot=False,
    memory=None,
    core_soft=None,
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
    recipe_path : str or Path, optional
        The file that `recipe` is from, which is not written over.
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
    core_soft : Leaks, optional
        Make the mask core-soft (see :mod:`gpumask.job.core_soft`): without a soft edge in `recipe` it gets a very soft
        one, and ``core_soft`` is added to what is returned; its leak is told from the half maps, if it has any.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.

    Returns
    -------
    dict
        What ``gpumask create --json`` prints; triples are x, y, z.
    """
    creation = Creation(
        map_path,
        output,
        recipe,
        like=like,
        recipe_path=recipe_path,
        device=device,
        mode=mode,
        overwrite=overwrite,
        voxel_size=voxel_size,
        nan_to=nan_to,
        plot=plot,
        memory=memory,
        core_soft=core_soft,
        progress=progress,
    )
    creation.read()
    creation.make()
    creation.write()
    return creation.document()


class Carrier:
    """How a map comes into memory and onto the device, and its mask back: one after the other, into new memory."""

    room = None  # see io.Slabs.whole

    def place(self, volume, device):
        """A volume in host memory on `device`."""
        return backend.place(volume, device)

    def fetch(self, volume):
        """A mask on any device in host memory, whose values are there after :meth:`arrive`."""
        return backend.place(volume, "cpu")

    def arrive(self):
        """Wait until the mask is in host memory."""


class Creation:
    """:func:`create` in three steps, so that those of several maps may overlap: read, make, write; `carrier` moves what
    is between them."""

    def __init__(
        self,
        map_path,
        output,
        recipe,
        *,
        like,
        device,
        mode,
        overwrite,
        voxel_size,
        nan_to,
        plot,
        memory,
        core_soft,
        progress,
        recipe_path=None,
        carrier=None,
    ):
        self.carrier = carrier
        self.map_path, self.output = Path(map_path), outputs.named(output, ".json", ".png")
        self.recipe, self.like, self.mode, self.overwrite = recipe, like, mode, overwrite
        self.voxel_size, self.nan_to, self.plot, self.memory = voxel_size, nan_to, plot, memory
        self.core_soft = core_soft
        sidecar, self.picture = outputs.beside(self.output, ".json"), outputs.beside(self.output, ".png")
        self.targets = [self.output, sidecar, *([self.picture] if plot else [])]
        others = (like, recipe_path, *(core_soft.paths if core_soft else ()))
        outputs.check(self.targets, (self.map_path, *others), overwrite)
        self.device, self.reason = backend.choose(device)
        self.progress = progress or (lambda name, share=None: None)
        self.seconds = {}
        self.source = self.run = self.record = self.grid = self.volume = self.reference = self.soft = self.told = None
        self.streamed, self.drawn = False, []

    def read(self, record=None):
        """Read the map, and the reference where there is one; `record` stands for the map in place of its SHA-256."""
        self.progress("read")
        with timed(self.seconds, "read"):
            source = self.source = io.Slabs(self.map_path, voxel_size=self.voxel_size, nan_to=self.nan_to)
            if self.core_soft is not None:
                self.recipe = glycoprotein.completed(self.recipe, source.voxel_size)
            demanded = backend.is_demanded(self.reason)
            self.run = _Run(self.recipe, self.device, demanded, self.memory, self.progress, self.carrier)
            self.record = record or {"sha256": io.sha256(self.map_path)}
            needed = pipeline.memory_needed(source.shape, source.voxel_size, self.recipe)
            self.streamed = self.like is None and self.run.budget(source) < needed
            self.grid = source
            if self.streamed:
                self._check_streamed()
                return
            self.volume = source.whole(self.run.carrier.room)
            if self.like is not None:
                self.reference, more = io.load(self.like)
                self.run.notes += more
                self.grid = self.reference

    def _check_streamed(self):
        asked = (self.plot, "--plot", "figure"), (self.core_soft, "--core-soft", "comparison of two masks")
        for given, flag, what in asked:
            if given:
                raise UsageError(
                    f"{self.map_path}: is made in slabs for want of memory, so that there is no {what}; drop {flag}"
                )
        self.run.notes.append(f"{self.map_path}: made in slabs, since the whole box needs more memory than may be used")

    def make(self):
        """Make the mask, unless it is made in slabs as it is written."""
        self.progress("load")
        # compiling, the first time on a machine; else finding it
        self.seconds["load"] = backend.first_call_seconds(self.device)
        if self.streamed:
            return
        names = (self.map_path.name, None if self.like is None else Path(self.like).name)
        self.soft = self.run.whole(self.volume, self.reference, names)
        if self.core_soft is not None or self.plot:
            self.run.carrier.arrive()
        if self.core_soft is not None:
            self.progress("core-soft")
            with timed(self.seconds, "core-soft"):
                self._tell()
        if self.plot:
            from gpumask.report.slices import draw

            self.progress("plot")
            with timed(self.seconds, "plot"):
                grid, soft = self.reference or self.volume, self.soft
                options = {"voxel_size": soft.voxel_size, "origin": soft.origin, "title": self.output.name}
                self.drawn = [draw(soft.data, grid.data, **options)]
        self.volume = self.reference = None  # their memory is the next map's
        self.grid = self.soft

    def _tell(self):
        def bodies(device):
            volume = backend.place(self.volume, device)
            return glycoprotein.bodies_of_map(volume, self.recipe, self.run.made.threshold, self.reference)

        self.told, more = glycoprotein.told(
            self.soft, self.recipe, bodies, self.core_soft, self.run.device, self.reason, self.output
        )
        self.run.notes += more

    def write(self, storage=None):
        """Write the mask and what is beside it, and give the document that was written; `storage` says how the bytes
        of the mask come into its file, see :class:`gpumask.batching.holes.Sparse`."""
        self.progress("write")
        start = time.perf_counter()
        label = LABEL.format(gpumask.__version__, self.recipe.hash)
        if self.streamed:
            chunks = self._slabs(label, storage)
        else:
            pieces = io.encode_pieces(self.soft, self.mode, label, self.run.made.survey)
            chunks = pieces[:2] if storage is None else storage.whole(*pieces)
        document = {}

        def write_document(stream):
            document.update(self.document())  # of a mask in slabs nothing is known before
            stream.write((json.dumps(document, indent=2) + "\n").encode())

        files = dict(zip(self.targets, (chunks, write_document, self.drawn), strict=False))
        io.write_files(list(files.items()), self.overwrite)
        made = sum(self.run.made.seconds.values()) if self.streamed else 0
        self.seconds["write"] = time.perf_counter() - start - made
        return document

    def _slabs(self, label, storage):
        source = self.source

        def write_mask(stream):
            def slabs_to(write):
                self.run.in_slabs(source, write)

            write = storage and storage.slabs(stream)
            io.encode_slabs(stream, source.shape, source.voxel_size, source.header, self.mode, label, slabs_to, write)

        return write_mask

    def document(self):
        """What ``gpumask create --json`` prints of a mask that was made."""
        made, size = self.run.made, self.voxel_size
        return {
            "output": str(self.output),
            "files": [str(path) for path in self.targets],
            "recipe": self.recipe.to_dict(),
            "recipe_hash": self.recipe.hash,
            "input": {"path": str(self.map_path), **self.record},
            "like": None if self.like is None else str(self.like),
            "options": {
                "mode": self.mode,
                "nan_to": self.nan_to,
                "voxel_size_angstrom": None if size is None else units.xyz(units.voxel_edges(size)),
            },
            "version": gpumask.__version__,
            "voxel_size_angstrom": units.xyz(self.grid.voxel_size),
            "box": units.xyz(self.grid.shape),
            "threshold": {
                "method": parse_threshold(self.recipe.threshold)[0],
                "value": made.threshold,
                "why": made.threshold_why,
            },
            "hysteresis": None if made.hysteresis is None else _explained(made.hysteresis),
            "dilation_px": made.dilation_px,
            "soft_edge_px": made.soft_edge_px,
            "soft_edge_source": _edge_source(self.recipe),
            "minimum_soft_edge_px": made.minimum_soft_edge_px,
            "equivalent_edge_px": made.equivalent_edge_px,
            "base_voxels": made.base_voxels,
            "volume_angstrom3": made.volume_angstrom3,
            "components": made.components,
            "faces_touched": made.faces_touched,
            "verdict": made.verdict,
            "device": self.run.device,
            "device_reason": self.reason,
            "seconds": {**self.seconds, **made.seconds},
            "warnings": [*self.source.notes, *self.run.notes, *made.warnings],
            **({} if self.core_soft is None else {"core_soft": self.told}),
        }


class _Run:
    """A recipe on its way to a mask: in memory if it fits, else in slabs, else, unless the device was demanded, on the
    CPU; each step down is noted."""

    def __init__(self, recipe, device, demanded, memory, progress, carrier=None):
        self.recipe, self.device, self.demanded, self.memory = recipe, device, demanded, memory
        self.progress, self.carrier, self.notes, self.made = progress, carrier or Carrier(), [], None

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
        volume = self.carrier.place(volume, device)
        made = pipeline.make(volume, self.recipe, self.progress, like, names)
        self.made = replace(made, volume=None)  # the device's memory is free once the mask has been fetched
        return self.carrier.fetch(made.volume)

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
