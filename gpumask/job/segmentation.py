"""Maps segmented into a file of regions, and such files listed, changed and exported."""

import hashlib
import json
import math
import os
import re
from dataclasses import replace
from numbers import Real
from pathlib import Path

import gpumask
from gpumask import backend, grids, io, models, region_tree, segger, segmentation, units
from gpumask.errors import InputNotFound, InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.job.timing import timed

SUFFIX, LABELS = ".regions.json", ".labels.mrc"
NOTED = "gpumask {} {}, {}"
VERBS = ("group", "ungroup", "hide", "show", "only", "delete")
EXPORTS = ("density", "unfiltered", "labels", "binary")
DENSITIES = ("density", "unfiltered")
MANY = 1000  # regions at the top, from which on a map is taken to be noisy
LABEL_BITS = 1 << 16  # regions that fit in a label map of mode 6; more are stored as float32, exact to 2^24
RADIUS = "3A"  # of a model's atoms, as servalcat
HALF = 0.5  # a mask covers the voxels where it reaches this
LARGEST_FILE = 1 << 31  # bytes
# facts of a segmentation that one from another program may lack
FACTS = ("level", "threshold", "why", "gaussian_angstrom", "lowpass_angstrom", "steps", "step_px", "style",
         "segger_map_path", "names")  # fmt: skip


def segment(
    map_path,
    output=None,
    *,
    level=None,
    gaussian=None,
    lowpass=None,
    steps=None,
    step=None,
    style=None,
    source=None,
    plot=None,
    device=None,
    overwrite=False,
    voxel_size=None,
    nan_to=None,
    progress=None,
):
    """Segment a map file, and write its regions.

    Parameters
    ----------
    map_path : str or Path
    output : str or Path, optional
        ``NAME.regions.json``, written with ``NAME.labels.mrc``, both or none. Default: the name of the map, in the
        current folder. Label maps of more than 65535 leaves are float32, others uint16.
    level, gaussian, lowpass, steps, step, style
        See :func:`gpumask.segment`.
    source : str or Path, optional
        Take the regions from this file instead: one of Segger's (.seg), or a label map (MRC).
    plot : str, Path or True, optional
        Draw the regions, to this file or to ``NAME.png`` (extra ``plot``).
    device : str, optional
        See :func:`gpumask.backend.choose`.
    overwrite : bool
        Replace existing files.
    voxel_size, nan_to
        See :func:`gpumask.read`.
    progress : callable, optional
        Called with the name of each step as it begins.

    Returns
    -------
    dict
        What ``gpumask segment --json`` prints; triples are x, y, z.
    """
    map_path = Path(map_path)
    output = _named(map_path, output)
    picture = _beside(output, ".png") if plot is True else None if plot is None else Path(plot)
    form = None if picture is None else outputs.figure_format(picture)
    pictures = [] if picture is None else [picture]
    outputs.check([output, *_label_maps(output), *pictures], (map_path, source), overwrite)
    chosen = {"level": level, "gaussian": gaussian, "lowpass": lowpass, "steps": steps, "step": step, "style": style}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if source is None and level is None:
        raise UsageError("what is density? give a level, such as --level 0.05 or --level 3sigma")
    if source is not None and chosen:
        raise UsageError(f"{source}: brings its own regions; leave {', '.join(chosen)} out")
    device, reason = backend.choose(device)
    progress = progress or (lambda name, share=None: None)
    seconds = {}
    progress("read")
    with timed(seconds, "read"):
        volume, notes = io.load(map_path, voxel_size=voxel_size, nan_to=nan_to)
        digest = io.sha256(map_path)
    progress("segment")
    with timed(seconds, "segment"):
        if source is not None:
            made, more = _imported(Path(source), volume, map_path, voxel_size)
            device, reason = "cpu", "regions are imported on the host"
        else:
            made, device, more = _segmented(map_path, volume, chosen, device, reason)
    notes += [*more, *_noise_notes(made)]
    facts = {
        **made.facts,
        "map": {"path": _from_folder(map_path, output.parent), "sha256": digest},
        "source": None if source is None else {"path": str(source), "sha256": io.sha256(source)},
        "options": {
            "nan_to": nan_to,
            "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
        },
        "made_by": f"gpumask {gpumask.__version__}",
    }
    made = replace(made, facts=facts)
    progress("write")
    with timed(seconds, "write"):
        count = len(made.leaves.voxels)
        mode = "labels" if count < LABEL_BITS else "float32"
        text = NOTED.format(gpumask.__version__, "segment", f"{count} leaves of {output.name}")
        labels = io.encode(made.labels, mode, text)
        drawn = [(picture, [_drawn(made, volume, output.name, form)]) for picture in pictures]
        label_map = _write(output, made, labels, drawn, overwrite)
    return {
        "verb": "segment",
        "output": str(output),
        "files": [str(path) for path in (output, label_map, *pictures)],
        **dict.fromkeys(FACTS),
        **facts,
        "map": {"path": str(map_path), "sha256": digest},
        "version": gpumask.__version__,
        **_described(made),
        "leaves": count,
        "device": device,
        "device_reason": reason,
        "seconds": seconds,
        "warnings": notes,
    }


def regions(
    path,
    *,
    undo=None,
    redo=None,
    select=(),
    share=segmentation.SHARE,
    add=False,
    remove=False,
    invert=False,
    verb=None,
    what=None,
    export=None,
    output=None,
    map_path=None,
    crop=None,
    sequential=False,
    plot=None,
    overwrite=False,
    progress=None,
):
    """List, change and export the regions in a file; in the order of the parameters, each step optional.

    The file is replaced, whole, where its state has changed, together with what is exported. Where another program has
    changed the file since it was read, nothing is written and the changes are refused; from that comparison until all
    is written other programs wait.

    Parameters
    ----------
    path : str or Path
        ``NAME.regions.json``; its label map lies beside it.
    undo, redo : int, optional
        Operations to take back, and to do again.
    select : sequence of str
        Each names regions, all of them together are selected: the words of
        :meth:`gpumask.segmentation.Segmentation.find`, and ``mask:FILE`` (where it is >= 0.5) and
        ``model:FILE[:RADIUS][:WORDS]``, atoms in the words of :meth:`gpumask.models.Model.select` with a radius of 3 Å
        unless given.
    share : float
        Of a region's voxels, that must lie in a sphere, box, mask or model.
    add, remove : bool
        Add to the selection or take from it, instead of selecting anew.
    invert : bool
        Select what is not selected.
    verb : str, optional
        ``group``, ``ungroup``, ``hide``, ``show``, ``only``, ``delete``.
    what : str, optional
        The regions that it is for, in the words of `select`; default the selection.
    export : str, optional
        ``density``: the map in the regions as it was segmented, after its filter, 0 elsewhere · ``unfiltered``: the
        map as it was given · ``labels``: numbers of regions · ``binary``: 1 in them. Of the selection if there is one,
        else of the visible regions.
    output : str or Path
        Of the export; its provenance is written beside it.
    map_path : str or Path, optional
        The map, for its density and figures; default the one that was segmented, where it was or beside `path`.
    crop : str, optional
        Margin, ``2px``: the export has the smallest box with the regions and this margin, its origin moved along.
    sequential : bool
        Number exported labels 1, 2, 3 ….
    plot : str or Path, optional
        Draw the regions, hidden ones hatched (extra ``plot``).
    overwrite : bool
        Replace existing exports and figures.
    progress : callable, optional
        Called with the name of each step as it begins.

    Returns
    -------
    dict
        What ``gpumask regions --json`` prints; triples are x, y, z.
    """
    if (add or remove) and not select:
        raise UsageError("what is to be added or removed? give --select")
    if verb is not None and verb not in VERBS:
        raise UsageError(f"regions can {', '.join(VERBS)}; got {verb!r}")
    if export is not None and export not in EXPORTS:
        raise UsageError(f"regions are exported as {', '.join(EXPORTS)}; got {export!r}")
    if (export is None) != (output is None):
        raise UsageError("an export needs a kind and a name: give both --export density and -o OUT.mrc")
    if export is None and (crop is not None or sequential):
        raise UsageError("crop and sequential are for exports; give --export, or leave them out")
    if sequential and export != "labels":
        raise UsageError("only labels are numbered; leave sequential out")
    if map_path is not None and export not in DENSITIES and plot is None:
        raise UsageError("the map is for its density and for figures; leave --map out")
    opened = _Opened(Path(path), progress)
    form = None if plot is None else outputs.figure_format(Path(plot))
    targets = []
    if output is not None:
        output = outputs.named(output, ".json")
        targets += [output, outputs.beside(output, ".json")]
    targets += [] if plot is None else [Path(plot)]
    outputs.check(targets, [opened.path, opened.label_map, map_path, *opened.maps_there()], overwrite)
    if undo is not None:
        opened.step("undo", undo)
    if redo is not None:
        opened.step("redo", redo)
    if select:
        named = [opened.found(words, share) for words in select]
        opened.act(opened.state.select(*named, add=add, remove=remove), "select")
    if invert:
        opened.act(opened.state.invert_selection(), "invert")
    cleared = not invert and all(words.strip() == "none" for words in select)
    if export is not None and not opened.state.state.selection and not cleared:
        raise UsageError("no region is selected by these words, so there is nothing to export; choose others")
    if verb:
        numbers = None if what is None else opened.found(what, share)
        if what is not None and not numbers:
            raise UsageError(f"{what} names no region; name some that it is for")
        opened.act(getattr(opened.state, verb)(numbers), verb)
    files = [] if export is None else opened.exported(export, output, map_path, crop, sequential, targets)
    if plot is not None:
        files.append((Path(plot), [_drawn(opened.state, opened.volume(map_path), opened.path.name, form)]))
    opened.tell("write")
    saved = opened.write(files, overwrite)
    return {
        "verb": "regions",
        "path": str(opened.path),
        "files": [*([str(opened.path)] if saved else []), *(str(path) for path in targets)],
        "actions": opened.actions,
        "undo": opened.state.done,
        "redo": len(opened.state.operations) - opened.state.done,
        **_described(opened.state),
        **opened.report,
        "version": gpumask.__version__,
        "warnings": opened.notes,
    }


class _Opened:
    """A file of regions, and what is done to it."""

    def __init__(self, path, progress):
        self.path, self.tell = path, progress or (lambda name, share=None: None)
        self.actions, self.notes, self.report = [], [], {}
        self.maps = {}
        self.tell("read")
        self.bytes = io.unpacked(path, LARGEST_FILE)
        try:
            values = json.loads(self.bytes, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise InputRefused(
                f"{path}: not a file of regions, or a truncated one ({error}); gpumask segment makes one"
            ) from error
        labels = values.get("labels") if isinstance(values, dict) else None
        if not isinstance(labels, dict) or not all(isinstance(labels.get(key), str) for key in ("path", "sha256")):
            raise InputRefused(f"{path}: not a file of regions; gpumask segment makes one")
        if labels["path"] in ("", "..") or Path(labels["path"]).name != labels["path"]:
            raise InputRefused(
                f"{path}: names a label map in another folder, {labels['path']!r:.80}; it lies beside it"
            )
        # what lies beside it lies beside the file that a link leads to
        self.home = Path(os.path.realpath(path)) if path.is_symlink() else path
        self.labels, self.label_map = labels, self.home.with_name(labels["path"])
        if not _is_file(self.label_map):
            raise InputNotFound(
                f"{str(self.label_map)[:200]}: is not there, the label map of {path}; keep the two together"
            )
        if io.sha256(self.label_map) != labels["sha256"]:
            raise InputRefused(
                f"{self.label_map}: is not the label map that {path} was written with: truncated, changed or "
                "another's; copy both again, or segment the map anew"
            )
        volume, notes = io.load(self.label_map)
        self.notes += notes
        try:
            self.state = self.first = segmentation.Segmentation.from_dict(values, volume)
        except InputRefused as error:
            raise InputRefused(f"{path}: {error}") from error
        self.map, options = (self.state.facts.get(key) or {} for key in ("map", "options"))
        texts = isinstance(self.map, dict) and all(isinstance(text, str) for text in self.map.values())
        if not texts or not isinstance(options, dict):
            raise InputRefused(f"{path}: does not say which map it was made of; segment the map anew")
        size, nan_to = (options.get(key) for key in ("voxel_size_angstrom", "nan_to"))
        if not isinstance(size, list | None):
            raise InputRefused(f"{path}: does not say which map it was made of; segment the map anew")
        if "path" in self.map:
            self.map = {**self.map, "path": str(self.home.parent / self.map["path"])}
        if not (nan_to is None or isinstance(nan_to, Real) and math.isfinite(nan_to)):
            raise InputRefused(f"{path}: says that NaN was replaced by {nan_to!r:.60}; segment the map anew")
        try:
            self.reading = {"voxel_size": None if size is None else units.voxel_edges(size)[::-1], "nan_to": nan_to}
        except UsageError as error:
            raise InputRefused(f"{path}: {error}; segment the map anew") from error

    def act(self, state, word):
        """Go on with a state that an operation has given."""
        changed = state is not self.state
        forgotten = len(self.state.operations) - self.state.done
        if changed and forgotten:
            self.notes.append(f"{forgotten} undone change{'s are' if forgotten > 1 else ' is'} forgotten")
        did = region_tree.worded(state.operations[-1]) if changed else f"{word}: nothing changes"
        self.actions.append({"did": did, "changed": changed, "undo": int(changed)})
        self.state = state

    def step(self, word, count):
        """Undo or redo."""
        before, self.state = self.state, getattr(self.state, word)(count)
        low, high = sorted((before.done, self.state.done))
        passed = [region_tree.worded(operation) for operation in self.state.operations[low:high]]
        text = "; ".join(passed[::-1] if word == "undo" else passed)
        self.actions.append({"did": f"{word}: {text}", "changed": True, "undo": 0 if word == "undo" else count})

    def meant(self, words):
        """What words name: those of a mask or a model as an array, others as they are."""
        kind, colon, rest = words.partition(":")
        if not colon or kind not in ("mask", "model"):
            return words
        grid = self.state.labels
        if kind == "mask":
            volume, notes = inputs.read_mask(rest, {})
            note = inputs.check_grid(rest, volume, self.label_map, grid)
            self.notes += [*notes, *([note] if note else []), *_place_notes(rest, volume, self.label_map, grid)]
            return volume.data >= HALF
        name, *more = rest.split(":", 2)
        radius = RADIUS
        if more:
            try:
                radius = units.length(more[0], "radius")
                more = more[1:]
            except UsageError:
                if len(more) > 1:
                    raise
        radius = units.to_angstrom(units.to_px(radius, grid.voxel_size, "radius"), grid.voxel_size)
        model = models.read(name)
        self.notes += model.notes
        return models.base(model.select(more[0]) if more else model, radius, grid)

    def found(self, words, share):
        """The numbers of the regions that words name; where that is none, and they do not say so, it is noted."""
        numbers = self.state.find(self.meant(words), share)
        if not numbers and words.strip() != "none":
            self.notes.append(f"{words} names no region")
        return numbers

    def maps_there(self):
        """Files that may be the map that was segmented: beside the file of regions, and where it was from there."""
        named = Path(self.map.get("path", ""))
        paths = (self.home.with_name(named.name), named) if named.name not in ("", "..") else ()
        return [path for path in dict.fromkeys(paths) if _is_file(path)]

    def volume(self, map_path):
        """The map that was segmented, from `map_path` or where it is found."""
        there = self.maps_there() if map_path is None else [Path(map_path)]
        if not there:
            raise InputNotFound(f"{self.path}: the map that was segmented is not where it was; give it with --map")
        path = next((path for path in there[:-1] if io.sha256(path) == self.map.get("sha256")), there[-1])
        if path not in self.maps:
            volume, notes = io.load(path, **self.reading)
            if io.sha256(path) != self.map.get("sha256"):
                raise InputRefused(
                    f"{path}: is not the map that {self.path} was made of, {self.map.get('path')}; give that one"
                )
            self.notes += notes
            note = inputs.check_grid(path, volume, self.label_map, self.state.labels)
            self.notes += [note] if note else []
            self.maps[path] = volume
        return self.maps[path]

    def exported(self, kind, output, map_path, crop, sequential, targets):
        """The files of an export."""
        state = self.state
        numbers = state.exported()
        self.tell("export")
        if kind in DENSITIES:
            made = state.density(self.volume(map_path), filtered=kind == "density")
        else:
            made = state.label_map(sequential=sequential) if kind == "labels" else state.binary()
        low, high = (0, 0, 0), made.shape
        if crop is not None:
            low, high = state.bounds(margin=_margin(crop, made.voxel_size))
            made = grids.crop(made, low, high)
        mode = "float32"
        if kind == "labels" and made.data.max() < LABEL_BITS:
            mode = "labels"
        chosen = set(numbers)
        voxels = sum(region.voxels for region in state.regions if region.number in chosen)
        size = units.volume_angstrom3(voxels, made.voxel_size)
        self.report = {
            "output": str(output),
            "export": kind,
            "exported": numbers,
            "exported_voxels": voxels,
            "exported_volume_angstrom3": size,
            "exported_mass_kda": units.mass_kda(size),
            "crop": None if crop is None else [units.xyz(low), units.xyz(high)],
            "mode": mode,
        }
        provenance = {
            "verb": "regions",
            "files": [str(path) for path in targets],
            "input": {
                "path": str(self.path),
                "labels": self.labels,
                "operations": list(state.operations[: state.done]),
            },
            "map": self.map,
            "segmentation": {key: fact for key, fact in state.facts.items() if key not in ("map", "names")},
            **self.report,
            "sequential": {str(i): n for i, n in enumerate(numbers, 1)} if sequential else None,
            "version": gpumask.__version__,
            "box": units.xyz(made.shape),
            "voxel_size_angstrom": units.xyz(made.voxel_size),
            "origin_angstrom": units.xyz(made.origin),
            "warnings": self.notes,
        }
        text = NOTED.format(gpumask.__version__, f"regions {kind}", region_tree.told(numbers))
        return [
            (output, io.encode(made, mode, text)),
            (outputs.beside(output, ".json"), [outputs.document(provenance)]),
        ]

    def write(self, files, overwrite):
        """Write exports and, where its state has changed, the file of regions: all or none; whether it has."""
        if (self.state.operations, self.state.done) == (self.first.operations, self.first.done):
            if files:
                io.write_files(files, overwrite)
            return False
        if self.home.suffix in (".gz", ".bz2"):
            raise UsageError(f"{self.path}: is packed, so that it can be listed but not changed; unpack it first")
        encoded = _encoded(self.state, self.labels)

        def encode(stream):
            stream.write(encoded)
            if not self.path.exists() or io.unpacked(self.path, LARGEST_FILE) != self.bytes:  # as late as can be
                raise InputRefused(
                    f"{self.path}: has been changed by another program since it was read, and was left as it is; "
                    "run this again"
                )

        for path, _ in files:
            io.check_output(path, overwrite)
        with outputs.alone(self.home.parent):
            io.write_files([*files, (self.path, encode)], overwrite=True)
        return True


def _write(output, made, labels, drawn, overwrite):
    """Write the two files of regions, and figures; the path of the label map.

    The label map comes first and takes no other's place, so that a run that is killed leaves a file of regions with the
    label map that it names: the old one or the new.
    """
    checksum = hashlib.sha256()
    for part in labels:
        checksum.update(part)
    digest = checksum.hexdigest()
    label_map = _beside(output, LABELS)
    with outputs.alone(output.parent):
        if label_map.exists() and io.sha256(label_map) != digest:
            label_map = _beside(output, f".labels-{digest[:8]}.mrc")
        state = _encoded(made, {"path": label_map.name, "sha256": digest})
        io.write_files([(label_map, labels), (output, [state]), *drawn], overwrite)
        for path in _label_maps(output):
            if path.exists() and not path.samefile(label_map):
                path.unlink()  # of the regions that were there before
    return label_map


def _beside(output, suffix):
    """A file beside the file of regions, and named as it is."""
    return output.with_name(output.name.removesuffix(SUFFIX) + suffix)


def _label_maps(output):
    """Where the label map of a file of regions is written, and those that earlier ones of its name have left."""
    form = re.compile(re.escape(output.name.removesuffix(SUFFIX)) + r"\.labels-[0-9a-f]{8}\.mrc")
    there = sorted(output.parent.iterdir()) if output.parent.is_dir() else []
    return [_beside(output, LABELS), *(path for path in there if form.fullmatch(path.name))]


def _from_folder(path, folder):
    """A relative path as it is from a folder, which then may be moved together with it."""
    if path.is_absolute():
        return str(path)
    return os.path.relpath(Path(os.path.realpath(path.parent)) / path.name, os.path.realpath(folder))


def _named(map_path, output):
    """The path of the file of regions."""
    if output is None:
        name = map_path.name
        for suffix in (".gz", ".bz2", *outputs.MAP_SUFFIXES):
            name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
        return Path(name + SUFFIX)
    output = Path(output)
    if output.is_symlink():  # its label map is to lie beside the file, not beside the link
        output = Path(os.path.realpath(output))
    if not output.name.endswith(SUFFIX) or output.name == SUFFIX:
        stem = output.name.removesuffix(SUFFIX).removesuffix(".json").removesuffix(".mrc") or "map"
        raise UsageError(f"{output}: regions are written as NAME{SUFFIX}; call it {output.with_name(stem + SUFFIX)}")
    return output


def _segmented(map_path, volume, chosen, device, reason):
    """A Segmentation of the map, the device that it was made on, and notes."""

    def work(device):
        with backend.current(device):
            return segmentation.segment(backend.place(volume, device), **chosen)

    try:
        made, device, notes = devices.run(work, device, reason)
    except InputRefused as error:
        raise InputRefused(f"{map_path}: {error}") from error
    return made, device, [*notes, *made.facts["warnings"]]


def _noise_notes(made):
    """A note where there are so many regions that most must be noise."""
    if len(made.regions) <= MANY:
        return []
    return [
        f"{len(made.regions)} regions, most of them noise: smooth the map first (gaussian, such as 2A), raise the "
        "level, or group in more steps"
    ]


def _imported(source, volume, map_path, voxel_size):
    """A Segmentation from Segger's file or a label map, and notes."""
    if ".seg" in [suffix.lower() for suffix in source.suffixes[-2:]]:
        return segger.read(io.unpacked(source, LARGEST_FILE), str(source), volume, str(map_path))
    labels, notes = io.load(source, voxel_size=voxel_size)
    note = inputs.check_grid(source, labels, map_path, volume)
    notes += [*([note] if note else []), *_place_notes(source, labels, map_path, volume)]
    try:
        made, more = segmentation.from_labels(labels, volume)
    except InputRefused as error:
        raise InputRefused(f"{source}: {error}") from error
    return made, [*notes, *(f"{source}: {text}" for text in more)]


def _place_notes(name, volume, other_name, other):
    """A note where headers put two files of one box at different places."""
    found = grids.compare(str(name), volume, str(other_name), other)
    return [f"{text}; their voxels are taken as they are" for text in found.differences if text.startswith("place")]


def _is_file(path):
    """Whether there is such a file; names that no file can have are those of none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _no_number(text):
    raise ValueError(f"{text} is no number of JSON")


def _margin(text, voxel_size):
    """A margin in whole voxels (z, y, x), rounded up."""
    steps = units.along_axes(text, voxel_size, "margin")
    if min(steps) < 0:
        raise UsageError(f"margin must be >= 0, got {text}")
    return tuple(map(math.ceil, steps))


def _encoded(state, labels):
    """The bytes of a file of regions."""
    values = {**state.to_dict(), "labels": labels}
    return (json.dumps(values, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _drawn(state, volume, title, form):
    from gpumask.report import regions as figure

    return figure.draw(state, volume, title=title, format=form)


def _described(state):
    """What there is, the largest region first."""
    found = state.regions
    voxels = sum(region.voxels for region in found)
    volume = units.volume_angstrom3(voxels, state.labels.voxel_size)
    return {
        "box": units.xyz(state.labels.shape),
        "voxel_size_angstrom": units.xyz(state.labels.voxel_size),
        "voxels": voxels,
        "volume_angstrom3": volume,
        "mass_kda": units.mass_kda(volume),
        "regions": [region.to_dict(state.labels) for region in found],
    }
