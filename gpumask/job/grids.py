"""Files laid on other grids, and compared."""

import math
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np

import gpumask
from gpumask import backend, grids, io, mask, positions, thresholds, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.job.timing import timed
from gpumask.volume import Volume

LABEL = "gpumask {} {}"
FOURIER_BYTES = 20  # a voxel: two arrays in float64 and the result
MOVING = ("axes", "flip", "hand", "shift")  # after these the density no longer lies where another file says
STEPS = ("header", "origin", *MOVING, "rescale", "fourier_box", "crop", "tight", "centre_on", "box")  # their order


def resample(
    path,
    output,
    *,
    like,
    method="auto",
    mode="float32",
    device=None,
    overwrite=False,
    voxel_size=None,
    nan_to=None,
    progress=None,
):
    """Lay a file on the grid of another, see :func:`gpumask.grids.resample`, with its provenance beside it.

    Parameters
    ----------
    path, output : str or Path
        ``out.mrc`` is written with ``out.json``, both or none.
    like : str or Path
        The map whose box, voxel size, ORIGIN and NSTART the output gets; only its header is read.
    method : str
        ``auto``, ``exact``, ``trilinear`` or ``fourier``.
    mode, overwrite
        See :func:`gpumask.write`.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    voxel_size, nan_to
        See :func:`gpumask.read`; for `path` alone.
    progress : callable, optional
        Called with the name of each step as it begins.

    Returns
    -------
    dict
        What ``gpumask resample --json`` prints; triples are x, y, z.
    """
    job = _Job("resample", path, output, [like], mode, device, overwrite, progress)
    source = job.read(voxel_size, nan_to)
    grid = _grid(like)
    inputs.check_room(grid.shape, FOURIER_BYTES if method == "fourier" else 4)

    def work(device):
        with backend.current(device):
            made, used, notes = grids.resample(str(path), backend.place(source, device), str(like), grid, method)
            facts = replace(made.header, labels=source.header.labels)  # what was done to the file, not to the other
            return replace(backend.place(made, "cpu"), header=facts), used, notes

    made, used, notes = job.run("resample", work)
    options = {"method": method} | _reading(voxel_size, nan_to)
    return job.write(source, made, [used], notes, options, {"like": {"path": str(like)}, "method": used})


def grid(path, output, *, mode="float32", device=None, overwrite=False, voxel_size=None, nan_to=None, progress=None,
         **steps):  # fmt: skip
    """Change the grid of a file, with its provenance beside it. Without a step the file is rewritten with its axes in
    order.

    Parameters
    ----------
    path, output, mode, device, overwrite, voxel_size, nan_to, progress
        As for :func:`resample`.
    **steps
        Done in this order, whatever the order they are given in:

        ``header``: path of a map of the same box; its voxel size, ORIGIN and NSTART · ``origin``: ``x,y,z`` Å of voxel
        0, 0, 0 · ``axes``, ``flip``, ``hand`` (True): see :func:`gpumask.grids.permute`, :func:`~gpumask.grids.flip`,
        :func:`~gpumask.grids.invert_hand` · ``shift``: ``x,y,z`` px or ``x,y,zA``, with ``shift_method`` ``trilinear``
        or ``fourier`` · ``rescale``: voxel size in Å, or ``fourier_box``: the box, see :func:`gpumask.grids.rescale` ·
        ``crop``: ``x,y,z:x,y,z``, [low, high) voxels; ``tight``: a margin in px or Å around what is >= ``level`` (or
        not 0); or ``centre_on``: path of a mask whose centre of mass becomes the box centre · ``box``: the box, cropped
        or padded about the centre. Boxes are ``n`` or ``x,y,z`` voxels.

    Returns
    -------
    dict
        What ``gpumask grid --json`` prints; triples are x, y, z.

    Raises
    ------
    UsageError
        Steps that cannot be read, or that exclude each other.
    InputRefused
        Files that must not be used; a mask that would be empty.
    """
    method, level = steps.pop("shift_method", None), steps.pop("level", None)
    unknown = sorted(set(steps) - set(STEPS))
    if unknown:
        raise UsageError(f"a step must be one of {', '.join(STEPS)}, got {', '.join(unknown)}")
    steps = {name: steps[name] for name in STEPS if steps.get(name) not in (None, False)}
    _check_steps(steps, method, level)
    chosen = {**steps, "shift_method": method, "level": level}
    others = [steps[name] for name in ("header", "centre_on") if name in steps]
    job = _Job("grid", path, output, others, mode, device, overwrite, progress)
    source = job.read(voxel_size, nan_to)

    def work(device):
        with backend.current(device):
            volume, done, notes = backend.place(source, device), [], []
            for name, value in steps.items():
                if name == "box" and "centre_on" in steps:
                    continue  # done there, so that nothing is cut off on the way
                volume, text, more = _STEPS[name](volume, value, chosen)
                done.append(text)
                notes += more
            return backend.place(volume, "cpu"), done, notes

    made, done, notes = job.run("grid", work)
    options = {name: None if value is None else _plain(value) for name, value in chosen.items()}
    return job.write(source, made, done, notes, options | _reading(voxel_size, nan_to), {})


def compare(path, other, *, tolerance=None, voxel_size=None, nan_to=None):
    """Whether two files are on one grid, see :func:`gpumask.grids.compare`.

    Parameters
    ----------
    path, other : str or Path
        The reference, and what is compared with it.
    tolerance : float, optional
        Then their values must also agree to this, for the two to be the same.
    voxel_size, nan_to
        See :func:`gpumask.read`; for both files.

    Returns
    -------
    dict
        What ``gpumask compare --json`` prints: ``same``, and what :class:`gpumask.grids.Comparison` holds.
    """
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise UsageError(f"a tolerance must be a number >= 0, got {tolerance!r}")
    read = [io.Slabs(one, voxel_size=voxel_size, nan_to=nan_to) for one in (path, other)]
    volumes = [source.whole() for source in read]
    found = grids.compare(str(path), volumes[0], str(other), volumes[1])
    notes = [note for source in read for note in source.notes] + found.notes
    orders = [_stored_axes(source) for source in read]
    if orders[0] != orders[1]:
        notes.append(
            f"{path} is stored with axes {orders[0]} (mapc, mapr, maps), {other} with {orders[1]}; gpumask reads both "
            f"as x, y, z, for programs that do not: gpumask grid "
            f"{shlex.quote(str(path if orders[1] == '1,2,3' else other))} -o OUT"
        )
    same = found.same_grid
    if tolerance is not None:
        same = same and found.max_difference is not None and found.max_difference <= tolerance
    return {
        "path": str(path),
        "other": str(other),
        "same": same,
        "tolerance": tolerance,
        "box": [units.xyz(volume.shape) for volume in volumes],
        "voxel_size_angstrom": [units.xyz(volume.voxel_size) for volume in volumes],
        "origin_angstrom": [units.xyz(volume.origin) for volume in volumes],
        **found.to_dict(),
        "notes": notes,
    }


class _Job:
    """One file in, one file out with its provenance beside it."""

    def __init__(self, verb, path, output, others, mode, device, overwrite, progress):
        self.verb, self.path, self.output = verb, Path(path), outputs.named(output, ".json")
        self.mode, self.overwrite = mode, overwrite
        self.progress, self.seconds = progress or (lambda name, share=None: None), {}
        self.sidecar = outputs.beside(self.output, ".json")
        outputs.check((self.output, self.sidecar), (path, *others), overwrite)
        self.device, self.reason = backend.choose(device)

    def read(self, voxel_size, nan_to):
        """The input as a Volume."""
        self.progress("read")
        with timed(self.seconds, "read"):
            volume, self.notes = io.load(self.path, voxel_size=voxel_size, nan_to=nan_to)
            self.digest = io.sha256(self.path)
        inputs.check_varied(self.path, float(volume.data.min()), float(volume.data.max()))
        return volume

    def run(self, name, work):
        """``work(device)``, whose last result are notes."""
        self.progress(name)
        with timed(self.seconds, name):
            found, self.device, steps_down = devices.run(work, self.device, self.reason)
        self.notes += steps_down
        return found

    def write(self, source, made, steps, notes, options, more):
        """Write `made`, and return the document of its provenance."""
        self._check_mask(source.data, made.data)
        document = {
            "output": str(self.output),
            "files": [str(self.output), str(self.sidecar)],
            "version": gpumask.__version__,
            "verb": self.verb,
            "input": {"path": str(self.path), "sha256": self.digest},
            **more,
            "options": {**options, "mode": self.mode},
            "steps": steps,
            "before": _place(source),
            **_place(made),
            "device": self.device,
            "device_reason": self.reason,
            "seconds": self.seconds,
            "warnings": [*self.notes, *notes],
        }
        label = LABEL.format(gpumask.__version__, f"{self.verb}: {'; '.join(steps) or 'axes in order'}")
        encoded = io.encode(made, self.mode, label)
        self.progress("write")
        files = [(self.output, encoded), (self.sidecar, [outputs.document(document)])]
        io.write_files(files, self.overwrite)
        return document

    def _check_mask(self, before, after):
        """Refuse to write nothing of a mask, or a mask of everything."""
        if not mask.is_mask(float(before.min()), float(before.max())):
            return
        high = float(after.max())
        if high <= 0:
            raise InputRefused(f"{self.path}: nothing of this mask would be left; choose another box")
        if float(after.min()) == high:
            raise InputRefused(f"{self.path}: the mask would be {high:g} everywhere; choose a larger box")


def _grid(path):
    """A Volume with the grid of a file and no data of its own: one 0 stands for all of them."""
    source = io.Slabs(path)
    return Volume(np.broadcast_to(np.float32(0), source.shape), source.voxel_size, source.header)


def _place(volume):
    return {
        "box": units.xyz(volume.shape),
        "voxel_size_angstrom": units.xyz(volume.voxel_size),
        "origin_angstrom": units.xyz(volume.origin),
        "nstart": units.xyz(volume.header.nstart),
    }


def _reading(voxel_size, nan_to):
    size = None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size))
    return {"voxel_size_angstrom": size, "nan_to": nan_to}


def _stored_axes(source):
    """mapc, mapr, maps: the axes of a file from the fastest to the slowest, 1 for x."""
    slowest_first = sorted(range(3), key=lambda axis: source.order[axis])
    return ",".join(str(3 - axis) for axis in reversed(slowest_first))


def _plain(value):
    return value if isinstance(value, (bool, int, float)) else str(value)


def _check_steps(steps, method, level):
    for one, other in (("header", "origin"), ("rescale", "fourier_box"), ("crop", "tight"), ("crop", "centre_on"),
                       ("tight", "centre_on"), ("crop", "box"), ("tight", "box")):  # fmt: skip
        if one in steps and other in steps:
            raise UsageError(f"give {_flag(one)} or {_flag(other)}, not both")
    if "centre_on" in steps and any(name in steps for name in MOVING):
        moving = ", ".join(_flag(name) for name in MOVING if name in steps)
        raise UsageError(
            f"{moving} moves the density away from where the mask of --centre-on is; do it in a second run"
        )
    if method is not None and "shift" not in steps:
        raise UsageError("--shift-method is for --shift; give it, or leave this out")
    if level is not None and "tight" not in steps:
        raise UsageError("--level is for --tight; give it, or leave this out")


def _flag(name):
    return "--" + name.replace("_", "-")


def _header(volume, path, _):
    reference = _grid(path)
    if reference.shape != volume.shape:
        raise InputRefused(
            f"{path}: has a box of {units.by(reference.shape)} voxels, the file of {units.by(volume.shape)}: its "
            "header is not that of this file; gpumask resample lays it on that grid"
        )
    facts = replace(volume.header, origin=reference.header.origin, nstart=reference.header.nstart)
    return replace(volume, voxel_size=reference.voxel_size, header=facts), f"header of {Path(path).name}", []


def _origin(volume, text, _):
    facts = replace(volume.header, origin=_triple(text, "an origin"), nstart=(0, 0, 0))
    return replace(volume, header=facts), f"origin {text} Å", []


def _axes(volume, order, _):
    made = grids.permute(volume, order)
    odd = order in ("xzy", "yxz", "zyx")
    return made, f"axes {order}", ["two axes were exchanged: the hand is now the other one"] if odd else []


def _flipped(volume, axes, _):
    odd = len(axes) % 2
    return grids.flip(volume, axes), f"flip {axes}", ["the hand is now the other one"] if odd else []


def _hand(volume, _, __):
    return grids.invert_hand(volume), "hand inverted", []


def _shifted(volume, text, chosen):
    made, notes = grids.shift(
        volume, positions.displacement(text, volume.voxel_size), chosen["shift_method"] or "trilinear"
    )
    return made, f"shift {text}", notes


def _rescaled(volume, text, _):
    wanted = units.angstrom(text, "the voxel size to rescale to")
    shape = grids.even_shape(volume.shape, volume.voxel_size, wanted)
    inputs.check_room(shape, FOURIER_BYTES)
    made, notes = grids.rescale(volume, shape)
    got = made.voxel_size
    if max(abs(v / wanted - 1) for v in got) > grids.SAME_VOXEL_NOTE:
        notes.append(
            f"the voxel size is {_edges(got)} Å instead of {wanted:g}, since the box has an even number of "
            f"voxels: {units.by(shape)}"
        )
    return made, f"rescale to {_edges(got)} Å", notes


def _fourier_boxed(volume, text, _):
    shape = _boxes(text)
    inputs.check_room(shape, FOURIER_BYTES)
    made, notes = grids.rescale(volume, shape)
    return made, f"rescale to {_edges(made.voxel_size)} Å", notes


def _cropped(volume, text, _):
    low, colon, high = str(text).partition(":")
    if not colon:
        raise UsageError(f"a crop is given as x,y,z:x,y,z, the low corner and one beyond the high one, got {text!r}")
    low, high = (_voxel_triple(part, "a corner of a crop") for part in (low, high))
    inputs.check_room([b - a for a, b in zip(low, high, strict=True)])
    made = grids.crop(volume, low, high)
    return made, f"crop {text}", _cut_off(volume, made)


def _tight(volume, margin, chosen):
    given = units.length(margin, "margin")
    if given.value < 0:
        raise UsageError(f"margin must be >= 0, got {margin}")
    if given.unit == "A":  # along each axis by its own voxels
        steps = units.angstrom_to_corner_px((given.value,) * 3, volume.voxel_size)
    else:
        steps = (units.to_px(given, volume.voxel_size, "margin"),) * 3
    margins = tuple(math.ceil(units.snap(s)) for s in steps)
    level = chosen["level"]
    level = None if level is None else thresholds.level(volume.data, str(level), volume.voxel_size).value
    low, high = grids.bounds(volume.data, level, margins)
    return grids.crop(volume, low, high), f"crop {_voxels(low)}:{_voxels(high)}", []


def _centred(volume, path, chosen):
    soft, notes = inputs.read_mask(path, {})
    centre = units.corner_px_to_angstrom(mask.centre_of_mass(soft.data), soft.voxel_size, soft.origin)
    centre = units.angstrom_to_corner_px(centre, volume.voxel_size, volume.origin)
    voxel = [round(c) for c in centre]
    shape = volume.shape if "box" not in chosen else _boxes(chosen["box"])
    inputs.check_room(shape)
    rest = [c - v for c, v in zip(centre, voxel, strict=True)]
    try:
        made = grids.boxed(volume, shape, voxel)
    except UsageError as error:
        raise InputRefused(f"{path}: its centre of mass lies too far outside the file: {error}") from error
    left = ",".join(f"{r:.2f}" for r in units.xyz(rest))
    text = f"centre of mass at {_voxels(voxel)} (and {left} px)"
    return made, text, [*notes, *_cut_off(volume, made)]


def _boxed(volume, text, _):
    shape = _boxes(text)
    inputs.check_room(shape)
    made = grids.boxed(volume, shape)
    return made, f"box {units.by(made.shape)}", _cut_off(volume, made)


def _cut_off(before, after):
    """A note where part of a mask is cut off."""
    xp = backend.xp(before.data)
    lost = int(xp.count_nonzero(before.data)) - int(xp.count_nonzero(after.data))
    if not lost or not mask.is_mask(float(before.data.min()), float(before.data.max())):
        return []
    return [f"{lost} voxels of the mask that are not 0 lie outside the new box and are cut off"]


def _voxels(triple):
    return ",".join(str(n) for n in units.xyz(triple))


def _edges(voxel_size):
    """Voxel edges (z, y, x) as text, once where they are equal."""
    texts = [format(edge, ".5g") for edge in units.xyz(voxel_size)]
    return texts[0] if len(set(texts)) == 1 else " x ".join(texts)


def _triple(text, what, most=units.LONGEST):
    """``x,y,z`` as (z, y, x) numbers."""
    try:
        numbers = [float(part) for part in str(text).split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{what} must be three numbers x,y,z, got {text!r}")
    if max(map(abs, numbers)) > most:
        raise UsageError(f"{what} is too large: at most {most:.7g} along each axis, got {text!r}")
    return tuple(reversed(numbers))


def _voxel_triple(text, what, most=units.LONGEST):
    """``x,y,z`` as (z, y, x) whole numbers."""
    numbers = _triple(text, what, most)
    if not all(map(float.is_integer, numbers)):
        raise UsageError(f"{what} must be three whole numbers of voxels x,y,z, got {text!r}")
    return tuple(map(int, numbers))


def _boxes(text):
    """``n`` or ``x,y,z`` as (z, y, x)."""
    text = str(text)
    return _voxel_triple(text if "," in text else f"{text},{text},{text}", "a box", grids.LARGEST_BOX)


_STEPS = {
    "header": _header, "origin": _origin, "axes": _axes, "flip": _flipped, "hand": _hand, "shift": _shifted,
    "rescale": _rescaled, "fourier_box": _fourier_boxed, "crop": _cropped, "tight": _tight, "centre_on": _centred,
    "box": _boxed,
}  # fmt: skip
