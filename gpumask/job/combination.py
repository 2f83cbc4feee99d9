"""Masks and bases combined into one mask or one for each body, symmetrised, and laid on a map."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path

import gpumask
from gpumask import algebra, backend, io, mask, pipeline, regions, symmetry, thresholds, units
from gpumask.errors import InputRefused, UsageError
from gpumask.job import devices, inputs, outputs
from gpumask.job.timing import timed
from gpumask.recipe import DEFAULT_SOFT_EDGE, MaskRecipe, lengths

LABEL = "gpumask {} combine {}, recipe {}"
CONSTRUCTIONS = ("partition", "subtraction")
HALF = thresholds.Level("value", 0.5, "of a mask")
SHIFTED = 1e-3  # px by which the origins of files on one grid may differ; float32 holds 1e-4 px in a box of 1000 Å
MOST_BODIES = 255


@dataclass(frozen=True)
class Combination:
    """What is done with the files; lengths are text such as ``5px`` or ``7A``.

    Attributes
    ----------
    operation : str, optional
        One of ``gpumask.algebra.OPERATIONS``; ``partition``: the files are the bases of bodies, see
        :func:`gpumask.algebra.partition`; ``subtraction``: the files are a particle and what is kept of it, see
        :func:`gpumask.algebra.subtraction`. None for one file alone.
    threshold : str, optional
        What makes bases of the files, see :func:`gpumask.thresholds.level`: one for all, or one for each separated by
        commas, that of the particle mask last. Without it the files are masks; they are combined value by value, and
        are bases where they are >= 0.5 for ``partition`` and ``subtraction``.
    soft : str
        How soft masks are combined, see :mod:`gpumask.algebra`.
    rest : bool
        ``partition``: what of the particle is in no file is one more body; otherwise it goes to the nearest.
    dilation, soft_edge, edge, style, resolution
        Of the mask that is made of the base, see :class:`gpumask.recipe.MaskRecipe`. In style ``relion`` ``and``,
        ``or`` and the others compare as ``relion_mask_create`` does, see :func:`gpumask.algebra.base`.
    interface : str, optional
        Width of the blend between bodies, and at the sides of an asymmetric unit; default the width of the soft edge.
    symmetry, symmetrise : str, optional
        Point group, and ``max`` or ``mean`` over its copies, see :func:`gpumask.symmetry.symmetrised`.
    unit : str, optional
        Keep one asymmetric unit of the symmetric mask: ``auto``, or the direction ``x,y,z`` from the box centre that
        it is about.
    invert : bool
        ``1 - m``, last but for `outside`.
    outside : float
        Value that the mask falls to instead of 0.
    """

    operation: str | None = None
    threshold: str | None = None
    soft: str = "extremes"
    rest: bool = False
    dilation: str | None = None
    soft_edge: str | None = None
    edge: str | None = None
    style: str = "euclidean"
    resolution: str | None = None
    interface: str | None = None
    symmetry: str | None = None
    symmetrise: str = "max"
    unit: str | None = None
    invert: bool = False
    outside: float = 0.0

    def __post_init__(self):
        known = (*algebra.OPERATIONS, *CONSTRUCTIONS)
        if self.operation is not None and self.operation not in known:
            raise UsageError(f"the operation must be one of {', '.join(known)}; got {self.operation!r}")
        if self.soft not in algebra.SOFT:
            raise UsageError(f"soft masks are combined by one of {', '.join(algebra.SOFT)}; got {self.soft!r}")
        if self.symmetrise not in symmetry.HOW:
            raise UsageError(f"symmetrise by one of {', '.join(symmetry.HOW)}; got {self.symmetrise!r}")
        self._canonical()
        if self.rest and self.operation != "partition":
            raise UsageError("a rest is a body of a partition; give --partition too")
        if self.unit is not None and self.symmetry is None:
            raise UsageError("an asymmetric unit needs a symmetry; give --symmetry C4")
        if self.interface is not None and self.operation != "partition" and self.unit is None:
            raise UsageError("an interface lies between the bodies of a partition or asymmetric units; leave it out")
        if self.operation in CONSTRUCTIONS:
            for name in ("symmetry", "invert", "outside"):
                if getattr(self, name):
                    raise UsageError(f"{name} is not for {self.operation}; do it to the files, or to the masks after")
        if self.operation == "subtraction" and self.dilation is not None and units.length(self.dilation).value:
            raise UsageError(
                "a mask for subtraction is not dilated, so that no noise is subtracted; leave --dilate out"
            )

    def _canonical(self):
        """Check each field and bring it to one spelling, so that equal combinations have equal hashes."""
        if not isinstance(self.rest, bool):
            raise UsageError(f"rest must be true or false, got {self.rest!r}")
        if isinstance(self.outside, bool) or not (isinstance(self.outside, Real) and 0 <= self.outside < 1):
            raise UsageError(f"the weight outside must be from 0 to below 1, got {self.outside!r}")
        spelled = {"outside": float(self.outside)}
        finish = self.finish()
        for name in ("dilation", "soft_edge", "edge", "resolution"):
            if getattr(self, name) is not None:
                spelled[name] = getattr(finish, name)
        if self.threshold is not None:
            spelled["threshold"] = ",".join(MaskRecipe(part).threshold for part in str(self.threshold).split(","))
        if self.interface is not None:
            interface = units.length(self.interface, "interface")
            if interface.value < 0:
                raise UsageError(f"interface must be >= 0, got {interface}")
            spelled["interface"] = str(interface)
        if self.symmetry is not None:
            spelled["symmetry"] = symmetry.spelled(self.symmetry)
        if self.unit is not None and (direction := self.direction()) is not None:
            spelled["unit"] = ",".join(map(units.plain, units.xyz(direction)))
        for name, value in spelled.items():
            object.__setattr__(self, name, value)

    def finish(self):
        """Dilation, edge and inversion as a recipe of a mask made from a base."""
        return MaskRecipe(
            threshold="0.5",
            dilation="0px" if self.dilation is None else self.dilation,
            soft_edge=self.soft_edge,
            edge=self.edge,
            style=self.style,
            resolution=self.resolution,
            invert=self.invert,
        )

    def direction(self):
        """(z, y, x), or None for ``auto``."""
        if self.unit == "auto":
            return None
        try:
            numbers = [float(part) for part in str(self.unit).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or not any(numbers):
            raise UsageError(f"an asymmetric unit is auto or a direction x,y,z from the box centre, got {self.unit!r}")
        return tuple(reversed(numbers))

    @property
    def hash(self):
        """First 16 hex digits of the SHA-256 of the fields, each in its one spelling, as canonical JSON."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def combine(
    paths,
    output,
    plan,
    *,
    particle=None,
    kept=None,
    apply=None,
    fill="zero",
    fill_lowpass=None,
    seed=None,
    low_mask=None,
    low_resolution=None,
    test=False,
    device=None,
    mode="float32",
    overwrite=False,
    voxel_size=None,
    nan_to=None,
    progress=None,
):
    """Combine files on one grid, and write what comes out with its provenance beside it.

    Parameters
    ----------
    paths : sequence of str or Path
        Two or more; one alone to invert, symmetrise or apply.
    output : str or Path or None
        ``mask.mrc`` is written with ``mask.json``; for a partition ``mask_1.mrc``, ``mask_1.json``, … in the order of
        the files; all of them or none. None with `test`.
    plan : Combination
    particle : str or Path, optional
        Of a partition: base or mask of the whole particle; without it the bodies together are the particle.
    kept : str or Path, optional
        Of a subtraction: the mask of what is kept, that the overlap is measured with; by default what was given to be
        kept.
    apply : str or Path, optional
        A map; ``mask_applied.mrc`` is the map under the mask.
    fill : str
        What that has for a background, see :func:`gpumask.algebra.filled`.
    seed : int, optional
        Of the fill ``noise``, default 0.
    fill_lowpass : float, optional
        Å; resolution of the fill ``lowpass``.
    low_mask : str or Path, optional
        Add the map under this mask, low-passed to `low_resolution` (Å), see :func:`gpumask.algebra.composite`.
    test : bool
        Compare with the copies of the symmetry, and write nothing.
    device : str, optional
        See :func:`gpumask.backend.choose`.
    mode, overwrite
        See :func:`gpumask.write`.
    voxel_size, nan_to
        See :func:`gpumask.read`.
    progress : callable, optional
        Called with the name of each step as it begins.

    Returns
    -------
    dict
        What ``gpumask combine --json`` prints; triples are x, y, z.
    """
    run = _Run([Path(path) for path in paths], plan, {"particle": particle, "kept": kept}, progress)
    run.application = _application(plan, apply, fill, fill_lowpass, seed, low_mask, low_resolution, test)
    run.check(test)
    written, under = ([], []) if test else _names(output, plan, run.count, apply is not None)
    targets = [path for pair in written for path in pair] + under
    outputs.check(targets, [*run.paths, *run.named.values(), apply, low_mask], overwrite)
    device, reason = backend.choose(device)
    run.tell("read")
    with timed(run.seconds, "read"):
        run.read({"voxel_size": voxel_size, "nan_to": nan_to})

    def work(device):
        with backend.current(device):
            return run.work(device, test)

    (masks, applied), device, steps_down = devices.run(work, device, reason)
    common = {
        "verb": "combine",
        "files": [str(path) for path in targets],
        "recipe": asdict(plan),
        "recipe_hash": plan.hash,
        "inputs": run.records,
        "options": {
            "mode": mode,
            "nan_to": nan_to,
            "voxel_size_angstrom": None if voxel_size is None else units.xyz(units.voxel_edges(voxel_size)),
        },
        "application": run.application,
        "version": gpumask.__version__,
        "voxel_size_angstrom": units.xyz(run.grid.voxel_size),
        "box": units.xyz(run.grid.shape),
        **run.facts,
        "device": device,
        "device_reason": reason,
        "seconds": run.seconds,
    }
    notes = [*run.notes, *steps_down, *run.found]
    label = LABEL.format(gpumask.__version__, plan.operation or "one file", plan.hash)
    files, measured = [], []
    for (path, sidecar), (soft, facts) in zip(written, masks, strict=True):
        facts = {"output": str(path), **facts}
        measured.append(facts)
        provenance = {**common, **facts, "warnings": [*notes, *facts["warnings"]]}
        files += [(path, io.encode(soft, mode, label)), (sidecar, [outputs.document(provenance)])]
    files += [(path, io.encode(applied, "float32", label)) for path in under]
    run.tell("write")
    io.write_files(files, overwrite)
    for one in measured:
        name = f"{one['output']}: " if len(measured) > 1 else ""
        notes += [name + text for text in one["warnings"]]
    return {**common, "masks": measured, "warnings": notes}


def _names(output, plan, count, applied):
    """Paths of what is written: pairs of mask and provenance, and in a list that of the map under the mask."""
    if output is None:
        raise UsageError("a mask needs a name; give it with -o")
    output = outputs.named(output, ".json")
    masks = [output]
    if plan.operation == "partition":
        masks = [outputs.beside(output, f"_{body}.mrc") for body in range(1, count + 1)]
    pairs = [(path, outputs.beside(path, ".json")) for path in masks]
    return pairs, [outputs.beside(output, "_applied.mrc")] if applied else []


def _application(plan, apply, fill, fill_lowpass, seed, low_mask, low_resolution, test):
    """What is done with a map, or None."""
    if fill not in algebra.FILLS:
        raise UsageError(f"the background is one of {', '.join(algebra.FILLS)}; got {fill!r}")
    if seed is not None and fill != "noise":
        raise UsageError("a seed is one of noise: give --apply MAP --fill noise, or leave --seed out")
    if apply is None:
        if fill != "zero" or fill_lowpass is not None or low_mask is not None:
            raise UsageError("a background or a low-passed part is one of a map; give the map with --apply")
        return None
    if plan.operation == "partition" or test:
        raise UsageError("a map is laid under one mask that is written; leave --apply out")
    if (low_mask is None) != (low_resolution is None):
        raise UsageError("--lowpass-mask and --lowpass belong together: give both, such as --lowpass 20A")
    if low_mask is not None and fill != "zero":
        raise UsageError("the map has either a background or a low-passed part: leave --fill or --lowpass-mask out")
    if (fill == "lowpass") != (fill_lowpass is not None):
        raise UsageError("a low-passed background needs its resolution, and no other has one: --fill lowpass:20A")
    return {
        "map": str(apply),
        "fill": fill,
        "fill_lowpass": None if fill_lowpass is None else units.angstrom(fill_lowpass, "low-pass resolution"),
        "seed": (seed or 0) if fill == "noise" else None,
        "lowpass_mask": None if low_mask is None else str(low_mask),
        "lowpass": None if low_resolution is None else units.angstrom(low_resolution, "low-pass resolution"),
    }


class _Run:
    """Files on their way to masks."""

    def __init__(self, paths, plan, named, progress):
        self.paths, self.plan = paths, plan
        self.named = {name: Path(path) for name, path in named.items() if path is not None}
        self.tell = progress or (lambda name, share=None: None)
        self.application, self.grid = None, None
        self.records, self.notes, self.seconds = [], [], {}
        self.facts, self.found = {}, []  # by work, which may be done twice
        self.maps, self.levels = {}, {}

    @property
    def count(self):
        """Number of bodies."""
        return len(self.paths) + self.plan.rest

    def check(self, test):
        """What can be said before a file is read."""
        plan, paths = self.plan, self.paths
        names = ", ".join(map(str, paths))
        if plan.operation is None:
            if len(paths) > 1:
                raise UsageError(f"{names}: what is to be done with them? give --and, --or, --and-not, --xor …")
            if not (plan.invert or plan.symmetry or plan.outside or self.application):
                raise UsageError(f"{names}: one file has nothing to be combined with; give two or more, or --invert")
        elif plan.operation == "partition":
            if not 2 <= self.count <= MOST_BODIES:
                raise UsageError(
                    f"{names}: a partition needs 2 to {MOST_BODIES} bodies; give the base of another, or --rest with "
                    "--particle"
                )
            if plan.rest and "particle" not in self.named:
                raise UsageError("the rest is what the bodies leave of a particle; give it with --particle")
        elif len(paths) < 2:
            raise UsageError(f"{names}: {plan.operation} needs two or more files on one grid; give another")
        for name, operation in (("particle", "partition"), ("kept", "subtraction")):
            if name in self.named and plan.operation != operation:
                raise UsageError(f"{self.named[name]}: --{name} is for --{operation}; leave it out")
        if test and plan.symmetry is None:
            raise UsageError("a test needs a symmetry; give --symmetry C4")
        if self.as_they_are:
            given = [name for name in ("dilation", "soft_edge", "edge") if getattr(plan, name) is not None]
            given += ["style"] * (plan.style != "euclidean")
            if given:
                raise UsageError(
                    f"{given[0].replace('_', ' ')} is for bases, and soft masks are combined as they are; give "
                    "--threshold (0.5 cuts masks at half)"
                )

    @property
    def as_they_are(self):
        """Whether the values of masks are combined, and no base is made."""
        plan = self.plan
        if plan.operation == "partition":
            return plan.threshold is None and "particle" in self.named
        return plan.threshold is None and plan.operation != "subtraction"

    def read(self, reading):
        """Read every file; refused where they are not on one grid."""
        of_bases = [*self.paths, *([self.named["particle"]] if "particle" in self.named else [])]
        texts = [None] if self.plan.threshold is None else self.plan.threshold.split(",")
        if len(texts) not in (1, len(of_bases)):
            raise UsageError(f"--threshold must be one for all or {len(of_bases)}, one a file, got {len(texts)}")
        texts = texts * len(of_bases) if len(texts) == 1 else texts
        names = ["file"] * len(self.paths) + ["particle"]
        roles = [(role, path, text) for role, path, text in zip(names, of_bases, texts, strict=False)]
        roles += [("kept", self.named["kept"], None)] if "kept" in self.named else []
        for role in ("map", "lowpass_mask"):
            if self.application and self.application[role]:
                roles.append((role, Path(self.application[role]), None))
        for index, (role, path, text) in enumerate(roles):
            a_mask = role != "map" and text is None
            volume, notes = inputs.read_mask(path, reading) if a_mask else io.load(path, **reading)
            self.notes += notes
            if index == 0:
                self.grid = volume
            else:
                self._same_grid(path, volume)
            self.maps[index] = volume.data
            record = {"role": role, "path": str(path), "sha256": io.sha256(path)}
            if role in names:
                self.levels[index] = HALF if text is None else self._level(path, volume, text)
                exact = self.as_they_are and self.plan.operation not in CONSTRUCTIONS
                record |= {"threshold": text, "level": None if exact else self.levels[index].value}
            self.records.append(record)

    def _same_grid(self, path, volume):
        first = self.paths[0]
        note = inputs.check_grid(path, volume, first, self.grid)
        self.notes += [note] if note else []
        apart = [(a - b) / v for a, b, v in zip(volume.origin, self.grid.origin, self.grid.voxel_size, strict=True)]
        if max(map(abs, apart)) > SHIFTED:
            self.notes.append(
                f"{path}: its origin is {units.by(apart, '.4g')} voxels (x, y, z) from that of {first}; taken voxel "
                "by voxel, on the grid of the first"
            )

    def _level(self, path, volume, text):
        try:
            level = thresholds.level(volume.data, text, volume.voxel_size)
        except InputRefused as error:
            raise InputRefused(f"{path}: {error}") from error
        self.notes += [f"{path}: {text}" for text in level.warnings]
        return level

    def work(self, device, test):
        """Masks in host memory, each with what was measured of it, and the map that was asked for or None."""
        plan, size = self.plan, self.grid.voxel_size
        self.facts, self.found = {}, []
        placed = [backend.place_array(data, device) for data in self.maps.values()]
        self.tell("combine")
        with timed(self.seconds, "combine"):
            if plan.operation == "partition":
                made, bases = self._partition(placed)
            elif plan.operation == "subtraction":
                made, bases = self._subtraction(placed)
            else:
                made, bases = self._combined(placed, test)
            backend.synchronize(placed[0])
        if test:
            return [], None
        self.tell("checks")
        with timed(self.seconds, "checks"):
            judged = [self._judged(soft, base) for soft, base in zip(made, bases, strict=True)]
        if plan.invert:
            made = [mask.invert(soft) for soft in made]
        if plan.outside:
            made = [algebra.with_outside(soft, plan.outside) for soft in made]
        applied = None
        if self.application:
            self.tell("apply")
            with timed(self.seconds, "apply"):
                applied = self._place(self._applied(placed, made[0], size))
        return [(self._place(soft), facts) for soft, facts in zip(made, judged, strict=True)], applied

    def _place(self, data):
        return self.grid.with_data(backend.to_numpy(data), recipe=None)

    def _lengths(self):
        """Dilation and soft edge in px."""
        return lengths(self.plan.finish(), self.grid.voxel_size)

    def _finished(self, base):
        """The soft mask of a base."""
        radius, width = self._lengths()
        plan = self.plan
        return mask.soft_mask(base, radius, width, plan.edge, plan.style, units.sampling(self.grid.voxel_size))

    def _interface(self):
        """Width in px of the blend between bodies."""
        plan, size = self.plan, self.grid.voxel_size
        if plan.interface is not None:
            return units.to_px(plan.interface, size, "interface")
        if self.as_they_are and plan.resolution is None and not units.is_isotropic(size):
            raise UsageError(
                f"the default interface {DEFAULT_SOFT_EDGE} is in pixels, but the voxels are "
                f"{units.by(size, '.4g')} Å (x, y, z): give it in Å, such as --interface 8A"
            )
        return self._lengths()[1]

    def _base(self, placed, index, negated=False, style="euclidean"):
        return algebra.base(placed[index], self.levels[index].value, style, negated)

    def _bodies(self, placed):
        """The base of each file, none of them empty."""
        bases = [self._base(placed, index) for index in range(len(self.paths))]
        for path, index, base in zip(self.paths, self.levels, bases, strict=False):
            self._check_any(base, f"{path}: nothing reaches {self.levels[index].value:.6g}; lower the threshold")
        return bases

    @staticmethod
    def _check_any(base, text):
        if not bool(base.any()):
            raise InputRefused(text)

    def _combined(self, placed, test):
        plan, sampling = self.plan, units.sampling(self.grid.voxel_size)
        files = range(len(self.paths))
        if self.as_they_are:
            base, arrays, operation = None, [placed[index] for index in files], plan.operation
        else:
            negated = plan.operation in ("and-not", "or-not")
            operation = plan.operation.removesuffix("-not") if negated else plan.operation
            style = plan.style if operation else "euclidean"
            arrays = [self._base(placed, index, negated and index > 0, style) for index in files]
        made = arrays[0] if operation is None else algebra.combined(operation, *arrays, soft=plan.soft)
        self._check_any(
            made >= 0.5,
            f"{', '.join(map(str, self.paths))}: nothing is left after {plan.operation or 'the threshold'}, no voxel "
            "reaches 0.5; do the masks overlap, is the threshold too high?",
        )
        if plan.symmetry:
            agreement = symmetry.agreement(made, plan.symmetry, sampling)
            order = symmetry.order(plan.symmetry)
            self.facts["symmetry"] = {
                "name": plan.symmetry,
                "symmetric": agreement.symmetric,
                "score": agreement.score,
                "answer": agreement.answer(),
                "operators": agreement.operators,
                "asymmetric_units": 1 if plan.unit else order,
            }
            if test:
                return [], []
            made = symmetry.symmetrised(made, plan.symmetry, plan.symmetrise, sampling)
        if not self.as_they_are:
            base, made = made, self._finished(made)
        if plan.unit is not None:
            made = self._unit(made, sampling)
        return [made], [base]

    def _unit(self, soft, sampling):
        """The part of a soft mask in one asymmetric unit."""
        toward = self.plan.direction()
        self.facts["symmetry"]["toward"] = units.xyz(toward or symmetry.middle(self.plan.symmetry))
        return symmetry.asymmetric_mask(soft, self.plan.symmetry, self._interface(), toward, sampling)

    def _partition(self, placed):
        plan = self.plan
        bases = self._bodies(placed)
        labels = backend.xp(placed[0]).zeros(placed[0].shape, "uint8")
        for number in range(len(bases), 0, -1):  # so that the first of two bodies keeps what both have
            labels[bases[number - 1]] = number
        if "particle" in self.named:
            index = len(self.paths)
            whole = self._base(placed, index)
            self._check_any(whole, f"{self.named['particle']}: nothing reaches the threshold; lower it")
            outside = int(((labels > 0) & ~whole).sum())
            if outside:
                self.found.append(f"{outside} voxels of the bodies lie outside the particle and count for none")
                labels[~whole] = 0
            if plan.rest:
                labels[whole & (labels == 0)] = self.count
            soft = placed[index] if self.as_they_are else self._finished(whole)
        else:
            soft = self._finished(labels > 0)
        counts = [int((labels == number).sum()) for number in range(1, self.count + 1)]
        names = [*map(str, self.paths), "the rest"]
        for name, count in zip(names, counts, strict=False):
            if not count:
                raise InputRefused(
                    f"{name}: leaves no voxel for its body; the bodies before it, or the outside of the particle, "
                    "cover it"
                )
        shared = sum(int(base.sum()) for base in bases) - int(backend.xp(labels).stack(bases).any(axis=0).sum())
        if shared:
            self.found.append(f"{shared} voxels are in more than one body; each goes to the first file that has it")
        width = self._interface()
        self.facts["interface_px"] = width
        sampling = units.sampling(self.grid.voxel_size)
        made = algebra.partition(labels, soft, width, sampling)
        self.facts["particle_volume_angstrom3"] = self._volume(soft)
        return made, [labels == number for number in range(1, self.count + 1)]

    def _subtraction(self, placed):
        plan, bases = self.plan, self._bodies(placed)
        base = algebra.combined("complement", *bases)
        self._check_any(
            base, f"{self.paths[0]}: nothing of it is left beside {self.paths[1]}; there is nothing to subtract"
        )
        radius, width = self._lengths()
        soft = algebra.subtraction(
            bases[0], _union(bases[1:]), width, plan.edge, plan.style, units.sampling(self.grid.voxel_size)
        )
        if "kept" in self.named:
            kept = placed[len(self.paths)]
        elif plan.threshold is None:
            kept = _union(placed[1 : len(self.paths)])
        else:
            kept = _union(bases[1:]).astype("float32")
        shared = self._volume_of(algebra.overlap(soft, kept))
        of_kept, of_soft = self._volume(kept), self._volume(soft)
        self.facts["overlap"] = {
            "with": str(self.named.get("kept", self.paths[1])),
            "volume_angstrom3": shared,
            "percent_of_kept": 100 * shared / of_kept,
            "percent_of_subtracted": 100 * shared / of_soft,
        }
        return [soft], [base]

    def _volume(self, soft):
        return self._volume_of(float(soft.sum(dtype="float64")))

    def _volume_of(self, voxels):
        return units.volume_angstrom3(voxels, self.grid.voxel_size)

    def _judged(self, soft, base):
        """What `create` says of a mask, from its recipe, which as far as it goes is that of a base at 0.5."""
        size, sampling = self.grid.voxel_size, units.sampling(self.grid.voxel_size)
        recipe = self.plan.finish()
        if self.as_they_are:
            recipe = replace(recipe, soft_edge="0px")
        self._check_any(soft >= 0.5, "the mask is empty: no voxel reaches 0.5; use a wider unit or a lower threshold")
        if not bool((soft < 1).any()):
            raise InputRefused("the mask is everything; raise the threshold or dilate less")
        components = regions.component_count(soft >= 0.5)
        checks = pipeline.Checks(
            base_voxels=int((soft >= 0.5).sum() if base is None else base.sum()),
            total=float(soft.sum(dtype="float64")),
            equivalent_edge_px=mask.equivalent_edge(soft, sampling),
            components=1,  # islands are told of below: what create would do about them is not for here
            faces_touched=mask.faces_touched(soft),
        )
        made = pipeline.judged(recipe, size, soft.shape, HALF, checks, {})
        known = ("dilation_px", "soft_edge_px", "base_voxels", "volume_angstrom3", "equivalent_edge_px")
        known += ("minimum_soft_edge_px", "faces_touched", "verdict")
        facts = {name: getattr(made, name) for name in known} | {"components": components}
        if self.plan.outside:
            rest = self._volume_of(soft.size) - facts["volume_angstrom3"]
            facts["volume_angstrom3"] += self.plan.outside * rest
        facts["warnings"] = [*made.warnings]
        if components > 1:
            facts["warnings"].append(
                f"the mask has {components} islands; clean the bases first (gpumask create --largest 1 --soft-edge 0)"
            )
        return facts | ({"dilation_px": None, "soft_edge_px": None} if self.as_they_are else {})

    def _applied(self, placed, soft, size):
        plan = self.application
        index = len(self.paths) + len(self.named)
        if plan["lowpass_mask"]:
            return algebra.composite(placed[index], soft, placed[index + 1], plan["lowpass"], size)
        return algebra.filled(
            placed[index], soft, plan["fill"], resolution=plan["fill_lowpass"], voxel_size=size, seed=plan["seed"] or 0
        )


def _union(arrays):
    return algebra.combined("or", *arrays)
