"""Sweeps that can be taken up again, and advice, as files."""

import json
import shlex
import time
from pathlib import Path

import gpumask
from gpumask import advisor, backend, grids, io, pipeline, sweeps, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.job.timing import timed
from gpumask.recipe import MaskRecipe, lengths

TABLE, STATE, ADVICE, MASK, REPORT = "sweep.csv", "sweep.json", "advice.json", "mask.mrc", "report.html"
OF_SWEEP = ("heat_maps", "front", "filmstrip")  # figures; without half maps there is no front
OF_ADVICE = (*OF_SWEEP, "spectra", "fsc")
LABEL = "gpumask {} {}, recipe {}"
INTERVAL = 5.0  # s between two states on disk


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
        masks that are in them are not measured again.
    half1, half2 : str or Path, optional
        Unmasked half maps; the second is found by the name of the first where it is left out.
    region : str or Path, optional
        The target of d', where it is >= 0.5.
    thresholds, dilations, soft_edges, edges, resolution, onset, assume_unmasked, recipe
        See :func:`gpumask.sweep`.
    keep : bool
        Write every mask, with its JSON: ``mask_t0.05_d6_w12_cosine.mrc``.
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
        Maps that cannot be used together; a folder that holds a sweep of other files or options, without `overwrite`.
    """
    files = _Files(map_path, half1, half2, {"region": region}, voxel_size, nan_to)
    if plot:
        outputs.figure_format(Path(f"{OF_SWEEP[0]}.png"))
    grid = {"thresholds": thresholds, "dilations": dilations, "soft_edges": soft_edges, "edges": edges}
    grid = {name: [str(v) for v in ([values] if isinstance(values, str) else values)] for name, values in grid.items()}
    given = {"resolution": None if resolution is None else units.angstrom(resolution), "onset": onset}
    given |= {"assume_unmasked": assume_unmasked, **recipe}
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}
    with outputs.folder(output) as folder:
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


def advise(
    map_path,
    output,
    *,
    half1,
    half2=None,
    base=None,
    region=None,
    goal="global",
    report=False,
    device=None,
    voxel_size=None,
    nan_to=None,
    overwrite=False,
    progress=None,
    **options,
):
    """Pick a mask for a goal, and write it with the reason.

    Parameters
    ----------
    map_path : str or Path
    output : str or Path
        A folder, made where it is not there: ``mask.mrc``, ``mask.json`` (recipe and reason), ``advice.json``,
        ``sweep.csv`` and ``sweep.json``, all of them or none.
    half1, half2 : str or Path
        Unmasked half maps; the second is found by the name of the first where it is left out.
    base, region : str or Path, optional
        See :func:`gpumask.advise`.
    goal : str
    report : bool
        Also ``report.html``, one page with figures that opens from disk, and the figures: ``heat_maps.png``,
        ``front.png``, ``filmstrip.png``, ``spectra.png``, ``fsc.png`` (extra ``plot``).
    device : str, optional
        See :func:`gpumask.backend.choose`.
    voxel_size, nan_to
        See :func:`gpumask.read`; for every file.
    overwrite : bool
        Replace existing files; never an input.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.
    options
        Others of :func:`gpumask.advise`.

    Returns
    -------
    dict
        ``advice``, a :class:`gpumask.Advice`; ``inputs``, ``options``, ``device``, ``device_reason``, ``seconds``,
        ``warnings`` and ``files``.

    Raises
    ------
    UsageError
        Options that do not go together.
    InputRefused
        Half maps that are masked; maps that cannot be used together; existing files without `overwrite`.
    """
    files = _Files(map_path, half1, half2, {"base": base, "region": region}, voxel_size, nan_to)
    if half1 is None:
        raise UsageError("advice needs unmasked half maps: give --half1 and --half2")
    drawn = OF_ADVICE if report else ()
    if report:
        outputs.figure_format(Path(f"{drawn[0]}.png"))
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}
    with outputs.folder(output) as folder:
        mask_path = folder / MASK
        targets = [mask_path, *(folder / name for name in ("mask.json", ADVICE, TABLE, STATE))]
        pages = [folder / REPORT, *(folder / f"{name}.png" for name in drawn)] if report else []
        outputs.check([*targets, *pages], files.paths.values(), overwrite)
        progress("read")
        with timed(seconds, "read"):
            files.read()

        def measure(device):
            maps = {name: backend.place(volume, device) for name, volume in files.volumes.items()}
            more = {name: maps.get(name) for name in ("base", "region")}
            given = {**options, **more, "goal": goal, "progress": progress}
            found = advisor.advise(maps["map"], maps["half1"], maps["half2"], **given)
            return found, backend.place(found.mask, "cpu")

        try:
            with timed(seconds, "advice"):
                (found, soft), used, notes = devices.run(measure, device, reason)
        except InputRefused as error:
            raise InputRefused(f"{files.names}: {error}") from error
        warnings = [*files.notes, *found.notes, *notes]
        source = "map" if base is None else "base"
        told = {**found.to_dict(), "device": used, "warnings": warnings, "version": gpumask.__version__}
        asked = {"goal": goal, **{name: str(value) for name, value in options.items()}, **files.reading}
        state = {"inputs": files.records, "options": asked, "version": gpumask.__version__, **found.sweep.to_dict()}
        facts = _provenance(files, source, mask_path, found.recipe, found.row, soft)
        facts["advice"] = {**_reason(found), "inputs": files.records}
        label = LABEL.format(gpumask.__version__, "advise", found.recipe.hash)
        contents = [io.encode(soft, label=label), [outputs.document(facts)], [outputs.document(told)]]
        contents += [[outputs.table(_flat(found.sweep.rows))], [_compact(state)]]
        written = dict(zip(targets, contents, strict=True))
        if report:
            progress("report")
            with timed(seconds, "report"):
                written |= _report(files, found, source, used, warnings, folder)
        progress("write")
        io.write_files(list(written.items()), overwrite)
    return {
        "advice": found,
        "inputs": files.records,
        "options": asked,
        "device": used,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": warnings,
        "files": [str(path) for path in written],
    }


class _Files:
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
        going_on = not overwrite and (folder / STATE).exists()
        if going_on:
            self.known = self._taken_up(folder / STATE)
        pictures = [folder / f"{name}.png" for name in drawn]
        outputs.check([*self.paths, *pictures], files.paths.values(), overwrite or going_on)

    def _taken_up(self, path):
        """Rows and details of the sweep that a file holds; refused where it is another one."""
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            known = list(zip(held["rows"], held["details"], strict=True))
            there = {**held["asked"]["digests"], **held["asked"]["options"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputRefused(f"{path}: is no sweep that could go on; give another folder, or --force") from error
        here = json.loads(json.dumps({**self.asked["digests"], **self.asked["options"]}))
        other = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
        if other:
            raise InputRefused(
                f"{path}: is a sweep with another {', '.join(other)}; give another folder, or --force to begin anew"
            )
        return known

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
        """Write the table, the state and more files, all of them or none."""
        if self.found is None:
            return
        facts = {"asked": self.asked, "inputs": self.files.records, "complete": self.whole}
        facts |= {"version": gpumask.__version__, **self.found.to_dict()}
        contents = [[outputs.table(_flat(self.found.rows))], [_compact(facts)]]
        more = [*more, *self.figures]
        io.write_files([*more, *zip(self.paths[:2], contents, strict=True)], overwrite=True)
        self.paths += [path for path, _ in more]
        self.written = time.monotonic()

    def _kept(self, found, row, soft):
        """Paths and contents of a mask and its JSON."""
        name = "_".join(
            (
                f"mask_t{units.plain(row['threshold'])}",
                f"d{units.plain(row['dilation_px'])}",
                f"w{units.plain(row['soft_edge_px'])}",
                f"{row['edge'].replace(':', '-')}.mrc",
            )
        )
        path, recipe = self.folder / name, found.recipe(row)
        volumes = self.files.volumes
        same = volumes["map"].shape == soft.shape
        volume = volumes["map" if same else "half1"].with_data(backend.to_numpy(soft), recipe=recipe)
        beside = outputs.beside(path, ".json")
        outputs.check((path, beside), self.files.paths.values(), self.overwrite)
        facts = _provenance(self.files, "map", path, recipe, row, volume)
        label = LABEL.format(gpumask.__version__, "sweep", recipe.hash)
        return [(path, io.encode(volume, label=label)), (beside, [outputs.document(facts)])]


def _provenance(files, source, path, recipe, row, volume):
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
    from gpumask.report import advice as drawing

    made = {"heat_maps": drawing.heat_maps(found)}
    if any(row["detectability"] is not None and row["leak_mean"] is not None for row in found.rows):
        along = advisor.choose(found).front
        made["front"] = drawing.front(found, along)
        shown = drawing.frames(found.rows, along)
        if shown:
            masks, behind = _looked_at(files, found, shown, "map", device)
            rows = [found.rows[i] for i in shown]
            made["filmstrip"] = drawing.filmstrip(rows, masks, behind.data, behind.voxel_size)
    return made


def _report(files, found, source, device, warnings, folder):
    """Paths and contents of the page and its figures."""
    from gpumask.report import advice as drawing

    shown = drawing.frames(found.sweep.rows, found.front, drawing.picked_row(found))
    masks, behind = _looked_at(files, found.sweep, shown, source, device)
    figures = drawing.draw(found, masks, behind.data, behind.voxel_size)
    inputs = [(what, record["path"], record["sha256"]) for what, record in files.records.items()]
    more = {"command": _command(files, source, found.recipe), "inputs": inputs, "warnings": warnings}
    page = drawing.report(found, figures, version=gpumask.__version__, **more)
    return {folder / REPORT: [page], **{folder / f"{name}.png": [drawn] for name, drawn in figures.items()}}


def _looked_at(files, found, shown, source, device):
    """The masks of some rows, made as they are asked for, and the map on their grid."""
    grid, made_from = files.volumes["half1"], backend.place(files.volumes[source], device)
    like = backend.place(grid, device) if files.elsewhere(source) else None
    masks = (pipeline.make(made_from, found.recipe(found.rows[i]), like=like).volume.data for i in shown)
    behind = files.volumes["map"]
    if files.elsewhere("map"):
        behind, _ = grids.paste("the map", behind, "the half maps", grid)
    return masks, behind


def _command(files, source, recipe):
    """What makes the mask of a recipe again, for a shell."""
    words = ["gpumask", "create", str(files.paths[source]), "-o", "mask.mrc"]
    if files.elsewhere(source):
        words += ["--like", str(files.paths["half1"])]
    plain = MaskRecipe(recipe.threshold).to_dict()
    fields = {name: value for name, value in recipe.to_dict().items() if value != plain[name] or name == "threshold"}
    size = files.reading["voxel_size_angstrom"]
    if size is not None:
        fields["voxel_size"] = ",".join(map(units.plain, size))
    if files.reading["nan_to"] is not None:
        fields["nan_to"] = files.reading["nan_to"]
    for name, value in fields.items():
        option = "--dilate" if name == "dilation" else "--" + name.replace("_", "-")
        words.append(option if value is True else f"{option}={value}")
    return shlex.join(words)


def _reason(found):
    """Why a mask was picked, in short."""
    names = ("goal", "criterion", "passes", "resolution", "neighbours", "unknowns", "notes")
    return {name: getattr(found, name) for name in names}


def _flat(rows):
    """Rows as a CSV file holds them."""
    return [{**row, "flags": " ".join(row["flags"])} for row in rows]


def _compact(values):
    """The bytes of a JSON file on one line."""
    return (json.dumps(values, allow_nan=False) + "\n").encode()
