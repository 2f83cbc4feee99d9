"""Masks of boxes that do not fit in memory: the steps of ``pipeline.make``, a slab of z planes at a time.

The foreground stays in memory as bits, 1/32 of the map. All else exists for one slab and a halo as deep as the mask
reaches. The mask has the same bytes as one made in memory.
"""

import math
from dataclasses import replace

import numpy as np
import scipy

from gpumask import backend, filters, mask, morphology, regions, thresholds, units
from gpumask._cpu.statistics import of_chunks
from gpumask.errors import OutOfMemory
from gpumask.pipeline import (
    Checks,
    Place,
    check_foreground,
    check_hysteresis,
    check_left,
    cleans,
    judged,
    main_share_note,
    memory_needed,
    timer,
    top,
)
from gpumask.recipe import lengths, parse_threshold
from gpumask.volume import Volume

BYTES_PER_VOXEL = 16  # of a slab with its halo: bool twice, counts, the mask twice, what numpy needs on the way
BYTES_PER_BRICK = 40  # the same where voxels are anisotropic: distances in float64, and CuPy's scans over them
WHOLE_BOX = ("lowpass", "butterworth", "rect")  # filters that need the whole transform
ALL_NEIGHBOURS = np.ones((3, 3, 3), bool)
FACE_NEIGHBOURS = np.abs(np.indices((3, 3, 3)) - 1).sum(0) <= 1


def make(source, recipe, write, budget, device="cpu", progress=None):
    """Run a recipe on planes that are read as they are needed.

    Parameters
    ----------
    source : object
        ``shape``, ``voxel_size`` (z, y, x) and ``header``, and ``slabs(planes)``, which gives consecutive float32
        arrays of at most that many z planes, from the first plane on, each time it is called.
    recipe : MaskRecipe
    write : callable
        Called with consecutive float32 slabs of the mask.
    budget : int
        Bytes of memory to stay within, besides the program itself.
    device : str
        Where the slabs are computed.
    progress : callable, optional
        Called with the name of each step as it begins, and with its share done where that is known.

    Returns
    -------
    gpumask.pipeline.Made
        Without a volume.

    Raises
    ------
    OutOfMemory
        A step needs the whole box (low-pass, Butterworth, rectangular filter, threshold ``fdr`` or ``auto``, convolved
        edge), or one plane with its halo is more than the budget.
    """
    radius, width = lengths(recipe, source.voxel_size)
    sampling = units.sampling(source.voxel_size)
    # a box without data of its own: broadcasting takes no memory
    place = Place.of(recipe, Volume(np.broadcast_to(np.float32(0), source.shape), source.voxel_size, source.header))
    reach = max(abs(radius) + width, 2 * (place.opening_px or 0), 2 * (place.closing_px or 0))
    halo = min(math.ceil(reach / (sampling or (1,))[0]) + 2, source.shape[0])
    planes = planes_per_slab(source.shape, source.voxel_size, recipe, halo, budget)
    seconds = {}
    step = timer(seconds, progress)
    with step("statistics"):
        level, high = (None if text is None else _level(source, recipe, planes, text) for text in _levels(recipe))
    with step("threshold"):
        base, highest = Bits(source.shape), -math.inf
        cores = None
        if high is not None:
            check_hysteresis(level, high)
            cores = Bits(source.shape)
        for start, slab in _numbered(_filtered(source, recipe, planes)):
            base.put(start, mask.threshold(slab, level.value, recipe.absolute_value))
            if cores is not None:
                cores.put(start, mask.threshold(slab, high.value, recipe.absolute_value))
            highest = max(highest, top(slab, recipe))
        check_foreground(base.any(), level.value, highest)
    notes = []
    if cleans(recipe):
        with step("clean-up"):
            base, notes = _clean(base, cores, recipe, place, planes)
    del cores
    found = _Meters(source.shape, source.voxel_size)
    with step("soft edge"):
        for start in range(0, source.shape[0], planes):
            stop = min(start + planes, source.shape[0])
            soft = np.zeros((stop - start, *source.shape[1:]), np.float32)
            around = base.get(start - halo, stop + halo)
            if around.any():
                skip = min(halo, start)
                with backend.current(device):
                    placed = backend.place_array(around, device)
                    made = mask.soft_mask(placed, radius, width, recipe.edge, recipe.style, sampling)
                    soft = backend.to_numpy(made[skip : skip + len(soft)])
            found.add(start, soft)
            write(mask.invert(soft) if recipe.invert else soft)
            if progress:
                progress("soft edge", stop / source.shape[0])
    with step("checks"):
        found.edge.finish()
        checks = Checks(
            base_voxels=base.count(),
            total=found.total,
            equivalent_edge_px=found.edge.value(),
            components=len(Components(found.core.get, source.shape, planes, ALL_NEIGHBOURS).sizes),
            faces_touched=[face for face in mask.FACES if face in found.faces],
        )
    made = judged(recipe, source.voxel_size, source.shape, level.value, checks, seconds)
    said = [*notes, *level.warnings, *(high.warnings if high else ()), *made.warnings]
    return replace(made, threshold_why=level.why, hysteresis=high, warnings=said)


def planes_per_slab(shape, voxel_size, recipe, halo, budget):
    """How many planes a slab may have within `budget` bytes."""
    whole = [name for name in WHOLE_BOX if getattr(recipe, name) is not None]
    kinds = [parse_threshold(text)[0] for text in _levels(recipe) if text is not None]
    whole += [f"threshold {kind}" for kind in kinds if kind in thresholds.WHOLE_BOX]
    if recipe.edge == "convolved":
        whole.append("convolved edge")
    if whole:
        needed = memory_needed(shape, voxel_size, recipe)
        raise OutOfMemory(
            f"a {whole[0]} needs the whole box of {units.by(shape)} voxels in memory, {units.of_bytes(needed)}, but "
            f"{units.of_bytes(budget)} may be used; use --gaussian, another threshold or edge, a smaller box or more "
            "memory"
        )
    plane = (BYTES_PER_VOXEL if units.is_isotropic(voxel_size) else BYTES_PER_BRICK) * math.prod(shape[1:])
    fixed = (3 if recipe.hysteresis or recipe.opening or recipe.closing else 2) * Bits.bytes(shape)
    planes = min(shape[0], int((budget - fixed) // plane) - 2 * halo)
    if planes < 1:
        needed = fixed + plane * (2 * halo + 1)
        raise OutOfMemory(
            f"a box of {units.by(shape)} voxels needs {units.of_bytes(needed)} even in slabs, but "
            f"{units.of_bytes(budget)} may be used; use a smaller box, a shorter reach or more memory"
        )
    return planes


class InMemory:
    """The source that a Volume in host memory is."""

    def __init__(self, volume):
        self.volume, self.header = volume, volume.header
        self.shape, self.voxel_size = volume.shape, volume.voxel_size

    def slabs(self, planes):
        """Consecutive float32 arrays of at most `planes` z planes."""
        for start in range(0, self.shape[0], planes):
            yield np.ascontiguousarray(self.volume.data[start : start + planes], np.float32)


class Bits:
    """A binary box, eight voxels a byte."""

    def __init__(self, shape):
        self.shape = shape
        self.packed = np.zeros((*shape[:2], -(-shape[2] // 8)), np.uint8)

    @staticmethod
    def bytes(shape):
        """Memory that a box of `shape` takes."""
        return shape[0] * shape[1] * -(-shape[2] // 8)

    def put(self, start, planes):
        """Set the planes from z = `start` on from a bool array."""
        self.packed[start : start + len(planes)] = np.packbits(planes, axis=2)

    def get(self, start, stop):
        """Planes [start, stop), cut to the box, as a bool array."""
        planes = self.packed[max(start, 0) : min(stop, self.shape[0])]
        return np.unpackbits(planes, axis=2, count=self.shape[2]).view(bool)

    def any(self):
        return bool(self.packed.any())

    def count(self):
        """Number of True voxels."""
        return sum(int(np.count_nonzero(self.get(z, z + 1))) for z in range(self.shape[0]))


class Components:
    """Connected components of a binary box that is read slab by slab: labels of slabs, joined where slabs meet.

    ``sizes`` and ``open`` (touches a face of the box) are by component, in the scan order of their first voxels.
    """

    def __init__(self, get, shape, planes, structure):
        self.get, self.shape, self.planes, self.structure = get, shape, planes, structure
        sizes, is_open, pairs, last, total = [], [], [], None, 0
        for start, labels, count in self._labels():
            labels = np.where(labels > 0, labels + total, 0)
            if last is not None:
                pairs += self._joined(last, labels[0])
            last = labels[-1]
            sizes.append(np.bincount(labels.reshape(-1), minlength=total + count + 1)[total + 1 :])
            touches = np.zeros(total + count + 1, bool)
            ends = [labels[0]] * (start == 0) + [labels[-1]] * (start + len(labels) == shape[0])
            for face in (*ends, labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
                touches[face] = True
            is_open.append(touches[total + 1 :])
            total += count
        below, above = (np.concatenate(side) - 1 for side in zip(*pairs, strict=True)) if pairs else ([], [])
        graph = scipy.sparse.coo_array((np.ones(len(below), bool), (below, above)), shape=(total, total))
        number, component = 0, np.zeros(0, int)
        if total:
            number, component = scipy.sparse.csgraph.connected_components(graph, directed=False)
        first = np.full(number, total)
        np.minimum.at(first, component, np.arange(total))
        order = np.argsort(np.argsort(first))
        self.component = order[component] if number else component
        self.sizes = np.bincount(self.component, np.concatenate([*sizes, []]), number).astype(np.int64)
        self.open = np.bincount(self.component, np.concatenate([*is_open, []]), number) > 0

    def selected(self, keep):
        """``(start, bool slab)`` of the components for which the array `keep` is True."""
        keep = np.concatenate([[False], keep[self.component]])
        total = 0
        for start, labels, count in self._labels():
            kept = np.concatenate([[False], keep[total + 1 : total + count + 1]])
            yield start, kept[labels]
            total += count

    def holding(self, markers):
        """For each component whether it holds a True voxel of ``markers(start, stop)``, bool planes."""
        held, total = np.zeros(len(self.sizes), bool), 0
        for start, labels, count in self._labels():
            found = np.unique(labels[markers(start, start + len(labels)) & (labels > 0)])
            held[self.component[found - 1 + total]] = True
            total += count
        return held

    def _labels(self):
        for start in range(0, self.shape[0], self.planes):
            labels, count = scipy.ndimage.label(self.get(start, start + self.planes), structure=self.structure)
            yield start, labels, count

    def _joined(self, below, above):
        """Pairs of labels that touch across the plane between two slabs."""
        joined = []
        for dy, dx in np.argwhere(self.structure[2]) - 1:
            rows = [slice(max(d, 0), n + min(d, 0)) for d, n in zip((dy, dx), below.shape, strict=True)]
            back = [slice(max(-d, 0), n + min(-d, 0)) for d, n in zip((dy, dx), below.shape, strict=True)]
            one, other = below[tuple(rows)], above[tuple(back)]
            touching = (one > 0) & (other > 0)
            joined.append(np.unique(np.stack([one[touching], other[touching]]), axis=1))
        return joined


class _Meters:
    """What is measured of the mask as its slabs are made."""

    def __init__(self, shape, voxel_size):
        self.shape = shape
        self.total = 0.0
        self.edge = mask.EdgeMeter(units.sampling(voxel_size))
        self.core = Bits(shape)
        self.faces = set()

    def add(self, start, soft):
        self.total += float(soft.sum(dtype=np.float64))
        for plane in soft:
            self.edge.add(plane)
        self.core.put(start, soft >= 0.5)
        inner = {"-z": start > 0, "+z": start + len(soft) < self.shape[0]}
        self.faces |= {face for face in mask.faces_touched(soft) if not inner.get(face)}


def _levels(recipe):
    return recipe.threshold, recipe.hysteresis


def _level(source, recipe, planes, text):
    def slabs():
        return _filtered(source, recipe, planes)

    return thresholds.level_of_pieces(slabs, text, source.voxel_size, recipe.absolute_value, lambda: of_chunks(slabs))


def _clean(base, cores, recipe, place, planes):
    """``pipeline``'s clean-up on bits: what is left, and what to say about it."""
    notes = []
    if recipe.clip_radius is not None:
        for start, slab in _slabs_of(base, planes):
            clipped = regions.clip(slab, place.clip_centre_px, place.clip_radius_px, place.sampling, start)
            base.put(start, clipped)
        check_left(base.any(), recipe, "clip_radius")
    if recipe.hysteresis is not None:
        _select(base, planes, lambda components: components.holding(cores.get))
        check_left(base.any(), recipe, "hysteresis")
    if recipe.opening is not None:
        base = _by_distance(base, morphology.opening, place.opening_px, place.sampling, planes)
        check_left(base.any(), recipe, "opening")
    if recipe.dust is not None:
        _select(base, planes, lambda components: components.sizes >= place.dust_voxels)
        check_left(base.any(), recipe, "dust")
    if recipe.seed is not None:
        _flood(base, place.seed_voxel, planes)
    if recipe.largest is not None:
        before = base.count()
        _select(base, planes, lambda components: _largest(components.sizes, recipe.largest))
        notes = main_share_note(recipe, base.count(), before)
    if recipe.closing is not None:
        base = _by_distance(base, morphology.closing, place.closing_px, place.sampling, planes)
    if recipe.fill_holes:
        background = Components(lambda *at: ~base.get(*at), base.shape, planes, FACE_NEIGHBOURS)
        _replace(base, ((start, ~outside) for start, outside in background.selected(background.open)))
    return base, notes


def _slabs_of(bits, planes):
    for start in range(0, bits.shape[0], planes):
        yield start, bits.get(start, start + planes)


def _select(base, planes, keep):
    """Keep the components for which ``keep(components)`` is True."""
    components = Components(base.get, base.shape, planes, ALL_NEIGHBOURS)
    _replace(base, components.selected(keep(components)))


def _largest(sizes, count):
    keep = np.zeros(len(sizes), bool)
    keep[np.argsort(-sizes, kind="stable")[:count]] = True
    return keep


def _flood(base, voxel, planes):
    regions.check_inside(voxel, base.shape)
    seed = Bits(base.shape)
    plane = np.zeros((1, *base.shape[1:]), bool)
    plane[0, voxel[1], voxel[2]] = True
    if not (base.get(voxel[0], voxel[0] + 1) & plane).any():
        raise regions.background_seed(voxel)
    seed.put(voxel[0], plane)
    _select(base, planes, lambda components: components.holding(seed.get))


def _by_distance(base, change, radius, sampling, planes):
    """Opened or closed: each voxel depends on those within twice the radius."""
    halo = math.ceil(2 * radius / (sampling or (1,))[0]) + 1
    changed = Bits(base.shape)
    for start in range(0, base.shape[0], planes):
        stop, skip = min(start + planes, base.shape[0]), min(halo, start)
        around = base.get(start - halo, stop + halo)
        changed.put(start, change(around, radius, sampling)[skip : skip + stop - start])
    return changed


def _replace(base, slabs):
    """Put slabs that are computed from `base` itself into it, each when it is no longer needed."""
    for start, slab in slabs:
        base.put(start, slab)


def _filtered(source, recipe, planes):
    """The map's slabs, with the Gaussian filter where the recipe has one."""
    if not recipe.gaussian:
        yield from source.slabs(planes)
        return
    kernels = filters.gaussian_kernels(source.shape, units.angstrom(recipe.gaussian), source.voxel_size)
    reach = len(kernels[0]) // 2
    held, first, done = None, 0, 0  # planes at hand, z of the first of them, planes given away
    for slab in source.slabs(planes):
        held = slab if held is None else np.concatenate([held, slab])
        ready = first + len(held) - (reach if first + len(held) < source.shape[0] else 0)
        if ready > done:
            yield filters.convolve(held, kernels)[done - first : ready - first]
            done = ready
            keep = max(done - reach, first)
            held, first = held[keep - first :].copy(), keep


def _numbered(slabs):
    start = 0
    for slab in slabs:
        yield start, slab
        start += len(slab)
