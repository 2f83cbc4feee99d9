"""Sweeps as files, which can be taken up again."""

import json
import sys
import time
from pathlib import Path

import gpumask
from gpumask import backend, choices, grids, io, pipeline, sweeps, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.job.timing import timed
from gpumask.recipe import lengths

TABLE, STATE = "sweep.csv", "sweep.json"
OF_SWEEP = ("heat_maps", "front", "filmstrip")  # figures; without half maps there is no front
LABEL = "gpumask {} {}, recipe {}"
INTERVAL = 5.0  # s between two states on disk
ANEW = "give another folder, or --force to begin anew"


def sweep(
    map_path,
    output,
    *,
    half1=None,
    half2=None,
    region=None,
    thresholds,
    dilations,
    soft_edges,
    edges=("cosine",),
    resolution=None,
    onset=None,
    assume_unmasked=False,
    keep=False,
    plot=False,
    device=None,
    voxel_size=None,
    nan_to=None,
    overwrite=False,
    progress=None,
    **recipe,
):
    """Compare the masks of a grid of parameters, and write the table; a sweep that was stopped goes on.

    Parameters
    ----------
    map_path : str or Path
    output : str or Path
        A folder, made where it is not there: ``sweep.csv`` and ``sweep.json``, which also holds the curves. Both are
        brought up to date every 5 s and at the end, whatever ends it; run again with the same files and options, the
        masks that are in them are not measured again. Another sweep in the folder waits until this one has ended.
    half1, half2 : str or Path, optional
        Unmasked half maps; the second is found by the name of the first where it is left out.
    region : str or Path, optional
        The target of d', where it is >= 0.5.
    thresholds, dilations, soft_edges, edges, resolution, onset, assume_unmasked, recipe
        See :func:`gpumask.sweep`.
    keep : bool
        Write every mask, with its JSON: ``mask_t0.05_d6_w12_cosine.mrc``; those that have gone are made again.
    plot : bool
        At the end also draw ``heat_maps.png``, with half maps and a resolution ``front.png`` and ``filmstrip.png``
        (extra ``plot``).
    device : str, optional
        See :func:`gpumask.backend.choose`.
    voxel_size, nan_to
        See :func:`gpumask.read`; for every file.
    overwrite : bool
        Begin anew where the folder holds another sweep; never an input.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.

    Returns
    -------
    dict
        ``sweep``, a :class:`gpumask.Sweep`; ``inputs``, ``options``, ``known``, how many masks were there already;
        ``device``, ``device_reason``, ``seconds``, ``warnings`` and ``files``.

    Raises
    ------
    UsageError
        Options that do not go together.
    InputRefused
        Maps that cannot be used together; without `overwrite` a folder that holds a sweep of other files or options,
        of another version of gpumask, or a damaged one.
    """
    files = Files(map_path, half1, half2, {"region": region}, voxel_size, nan_to)
    if plot:
        outputs.figure_format(Path(f"{OF_SWEEP[0]}.png"))
    grid = {"thresholds": thresholds, "dilations": dilations, "soft_edges": soft_edges, "edges": edges}
    grid = {name: [str(v) for v in ([values] if isinstance(values, str) else values)] for name, values in grid.items()}
    given = {"resolution": None if resolution is None else units.angstrom(resolution), "onset": onset}
    given |= {"assume_unmasked": assume_unmasked, **recipe}
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}
    progress("wait for the folder")
    with outputs.folder(output) as folder, outputs.alone(folder):
        progress("read")
        with timed(seconds, "read"):
            files.read()
        options = {**grid, **given, "keep": keep, **files.reading}
        state = _State(folder, files, options, overwrite, OF_SWEEP if plot else ())
        known = len(state.known)

        def each(found, row, soft):
            state.take(found, row, soft if keep else None)

        def measure(device):
            maps = {name: backend.place(volume, device) for name, volume in files.volumes.items()}
            pair = {name: maps.get(name) for name in ("half1", "half2", "region")}
            options = {**grid, **given, "known": state.known, "each": each, "progress": progress}
            return sweeps.sweep(maps["map"], **pair, **options)

        try:
            with timed(seconds, "sweep"):
                found, used, notes = devices.run(measure, device, reason)
            state.complete(found)
            if plot:
                progress("plot")
                with timed(seconds, "plot"):
                    state.draw(_sweep_figures(files, found, used))
        except InputRefused as error:
            raise InputRefused(f"{files.names}: {error}") from error
        finally:
            state.write()
    return {
        "sweep": found,
        "inputs": files.records,
        "options": options,
        "known": known,
        "device": used,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": [*files.notes, *found.notes, *notes],
        "files": [str(path) for path in state.paths],
    }


class Files:
    """The maps of a sweep.

    Attributes
    ----------
    volumes : dict
        Name → Volume.
    records : dict
        Of each, ``path`` and ``sha256``.
    reading : dict
        How they are read, in plain values.
    notes : list of str
    """

    def __init__(self, map_path, half1, half2, more, voxel_size, nan_to):
        if half1 is None and half2 is not None:
            raise UsageError("give --half1 with --half2")
        if half1 is not None and half2 is None:
            half2 = inputs.other_half(half1)
        paths = {"map": map_path, "half1": half1, "half2": half2, **more}
        self.paths = {name: Path(path) for name, path in paths.items() if path is not None}
        self._options = {"voxel_size": voxel_size, "nan_to": nan_to}
        edges = None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size))
        self.reading = {"voxel_size_angstrom": edges, "nan_to": nan_to}
        self.volumes, self.records, self.notes = {}, {}, []

    @property
    def names(self):
        """All of them, for messages."""
        return ", ".join(map(str, self.paths.values()))

    def elsewhere(self, name):
        """Whether a map lies on another grid than the half maps, on which the masks are."""
        return "half1" in self.volumes and self.volumes[name].shape != self.volumes["half1"].shape

    def read(self):
        """Read them all; half maps that are one file are refused."""
        for name, path in self.paths.items():
            self.volumes[name], notes = io.load(path, **self._options)
            self.records[name] = {"path": str(path), "sha256": io.sha256(path)}
            self.notes += notes
        pair = [name for name in ("half1", "half2") if name in self.volumes]
        if pair and self.records["half1"]["sha256"] == self.records["half2"]["sha256"]:
            raise InputRefused(f"{self.names}: hold the same bytes; give the two independent half maps")
        if pair:
            first, second = ((self.paths[name], self.volumes[name]) for name in pair)
            inputs.check_grid(*first, *second)


class _State:
    """What of a sweep is on disk.

    Attributes
    ----------
    known : list of (dict, dict)
        Rows and details that are there.
    paths : list of Path
        Files that are written.
    """

    def __init__(self, folder, files, options, overwrite, drawn):
        self.folder, self.files, self.overwrite = folder, files, overwrite
        self.paths, self.written = [folder / TABLE, folder / STATE], 0.0
        self.found, self.whole, self.known, self.figures = None, False, [], []
        digests = {name: record["sha256"] for name, record in files.records.items()}
        self.asked = {"digests": digests, "options": options}
        self.going_on = not overwrite and (folder / STATE).exists()
        if self.going_on:
            known = self._taken_up(folder / STATE)
            self.known = [(row, detail) for row, detail in known if not options["keep"] or self._is_kept(row)]
        pictures = [folder / f"{name}.png" for name in drawn]
        outputs.check([*self.paths, *pictures], files.paths.values(), overwrite or self.going_on)

    def _taken_up(self, path):
        """Rows and details of the sweep that a file holds; refused where it is another one or damaged."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            known = list(zip(held["rows"], held["details"], strict=True))
            there = {**held["asked"]["digests"], **held["asked"]["options"]}
            version, shells = held["version"], len(held["frequency"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputRefused(f"{path}: is no sweep that could go on; {ANEW}") from error
        if version != gpumask.__version__:
            raise InputRefused(f"{path}: is a sweep of gpumask {version}, this is {gpumask.__version__}; {ANEW}")
        here = json.loads(json.dumps({**self.asked["digests"], **self.asked["options"]}))
        other = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
        if other:
            raise InputRefused(f"{path}: is a sweep with another {', '.join(other)}; {ANEW}")
        for number, (row, detail) in enumerate(known, 1):
            wrong = _damage(row, detail, shells)
            if wrong:
                raise InputRefused(f"{path}: is damaged: in row {number} {wrong}; {ANEW}")
        return known

    def _is_kept(self, row):
        """Whether the mask of a row is there, and is the one that the row is of."""
        path, beside = self._mask(row)
        try:
            facts = json.loads(beside.read_text(encoding="utf-8"))
            same = facts["row"] == row and facts["input"]["sha256"] == self.files.records["map"]["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return same and path.exists()

    def take(self, found, row, soft):
        """The sweep as far as it is, written every few seconds; with the mask of a row, where that is kept, at once."""
        self.found, self.known = found, list(zip(found.rows, found.details, strict=True))
        if soft is not None:
            self.write(self._kept(found, row, soft))
        elif time.monotonic() - self.written >= INTERVAL:
            self.write()

    def complete(self, found):
        """The whole sweep; it is written with :meth:`write`."""
        self.found, self.whole = found, True

    def draw(self, figures):
        """Figures by name; they are written with :meth:`write`."""
        self.figures = [(self.folder / f"{name}.png", [drawn]) for name, drawn in figures.items()]

    def write(self, more=()):
        """Write the state, the table and more files, all of them or none.

        The state comes first: a run that is killed before the others have their names is then still known to go on,
        and makes the masks that are not there.
        """
        if self.found is None:
            return
        facts = {"asked": self.asked, "inputs": self.files.records, "complete": self.whole}
        facts |= {"version": gpumask.__version__, **self.found.to_dict()}
        more = [*more, *self.figures]
        contents = [[compact(facts)], [table(self.found.rows)]]
        named = zip((self.folder / STATE, self.folder / TABLE), contents, strict=True)
        io.write_files([*named, *more], overwrite=True)
        self.paths += [path for path, _ in more]
        self.written = time.monotonic()

    def _mask(self, row):
        """Paths of the mask of a row and of its JSON."""
        lengths = f"t{units.plain(row['threshold'])}_d{units.plain(row['dilation_px'])}"
        name = f"mask_{lengths}_w{units.plain(row['soft_edge_px'])}_{row['edge'].replace(':', '-')}.mrc"
        path = self.folder / name
        return path, outputs.beside(path, ".json")

    def _kept(self, found, row, soft):
        """Paths and contents of a mask and its JSON."""
        path, beside = self._mask(row)
        recipe, volumes = found.recipe(row), self.files.volumes
        same = volumes["map"].shape == soft.shape
        volume = volumes["map" if same else "half1"].with_data(backend.to_numpy(soft), recipe=recipe)
        overwrite = self.overwrite or (self.going_on and _is_of_a_sweep(path, beside))
        outputs.check((path, beside), self.files.paths.values(), overwrite)
        facts = provenance(self.files, "map", path, recipe, row, volume)
        label = LABEL.format(gpumask.__version__, "sweep", recipe.hash)
        return [(path, io.encode(volume, label=label)), (beside, [outputs.document(facts)])]


def _is_of_a_sweep(path, beside):
    """Whether a mask and its JSON, as far as they are there, have been written by a sweep."""
    try:
        if path.exists() and not any(" sweep, recipe " in text for text in io.Slabs(path).header.labels):
            return False
        return not beside.exists() or "row" in json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _damage(row, detail, shells):
    """What is wrong with a row and its details as they were read, None where nothing is."""
    if not isinstance(row, dict) or tuple(row) != sweeps.COLUMNS:
        return "the columns are not those of a sweep"
    if not isinstance(detail, dict) or set(detail) != {*sweeps.CURVES, "subtraction_error"}:
        return "the curves are not those of a sweep"
    always = ("threshold", "dilation_px", "soft_edge_px", "volume_angstrom3", "mass_kda")
    for name, value in {**row, "subtraction_error": detail["subtraction_error"]}.items():
        if name == "flags":
            good = isinstance(value, list) and all(code in list(sweeps.FLAGS) for code in value)
        elif name == "edge":
            good = isinstance(value, str)
        else:
            good = _is_number(value) or (value is None and name not in always)
        if not good:
            return f"{name} is {str(value)[:40]!r}"
    for name in sweeps.CURVES:
        curve = detail[name]
        values = [] if curve is None else curve
        whole = curve is None or (isinstance(curve, list) and len(curve) == shells)
        if not whole or not all(value is None or _is_number(value) for value in values):
            return f"{name} is no curve of {shells} shells"
    return None


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def provenance(files, source, path, recipe, row, volume):
    """What stands beside a mask, so that ``gpumask create --recipe`` makes it again."""
    dilation, width = lengths(recipe, volume.voxel_size)
    return {
        "output": str(path),
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.hash,
        "input": files.records[source],
        "like": files.records["half1"]["path"] if files.elsewhere(source) else None,
        "options": {"mode": "float32", **files.reading},
        "version": gpumask.__version__,
        "voxel_size_angstrom": units.xyz(volume.voxel_size),
        "box": units.xyz(volume.shape),
        "dilation_px": dilation,
        "soft_edge_px": width,
        "row": row,
    }


def _sweep_figures(files, found, device):
    """The figures of a sweep by name."""
    from gpumask.report import comparison

    made = {"heat_maps": comparison.heat_maps(found)}
    if any(row["detectability"] is not None and row["leak_mean"] is not None for row in found.rows):
        along = choices.front(found)
        made["front"] = comparison.front(found, along)
        shown = comparison.frames(found.rows, along)
        if shown:
            masks, behind = looked_at(files, found, shown, "map", device)
            rows = [found.rows[i] for i in shown]
            made["filmstrip"] = comparison.filmstrip(rows, masks, behind.data, behind.voxel_size)
    return made


def looked_at(files, found, shown, source, device):
    """The masks of some rows, made as they are asked for, and the map on their grid."""
    grid, made_from = files.volumes["half1"], backend.place(files.volumes[source], device)
    like = backend.place(grid, device) if files.elsewhere(source) else None
    masks = (pipeline.make(made_from, found.recipe(found.rows[i]), like=like).volume.data for i in shown)
    behind = files.volumes["map"]
    if files.elsewhere("map"):
        behind, _ = grids.paste("the map", behind, "the half maps", grid)
    return masks, behind


def table(rows):
    """The bytes of the CSV file of rows."""
    return outputs.table([{**row, "flags": " ".join(row["flags"])} for row in rows])


def compact(values):
    """The bytes of a JSON file on one line."""
    return (json.dumps(values, allow_nan=False) + "\n").encode()
