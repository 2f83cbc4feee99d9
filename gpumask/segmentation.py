"""Regions of a map: what the watershed found, grouped into a tree, and all that was done to them since, with undo.

A :class:`Segmentation` is its start (label map, groups) and a list of operations, the first ``done`` of which are in
force. Operations hold numbers only, so that they are replayed without an array, and as JSON.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real

import numpy

from gpumask import backend, filters, grids, positions, region_file, region_tree, regions, thresholds, units, watershed
from gpumask.errors import InputRefused, UsageError
from gpumask.volume import Volume

SHARE = 0.5  # of a region's voxels that must lie in a sphere, box or mask that selects it
BORDER = "3px"  # from a face of the box: Segger's boundary regions
MARGIN = 2  # voxels around regions that are cropped, as Segger
WORDS = (
    "all, none, visible, hidden, selected, numbers such as 3,5,7-9, sphere:x,y,zA:30A, box:x,y,z:x,y,z, "
    "neighbours[:3,5], border[:3px] or largest:N"
)


@dataclass(frozen=True)
class Region:
    """A region at the top of the tree.

    Attributes
    ----------
    number : int
    name : str or None
        Where the file that it came from gave one.
    voxels : int
    volume_angstrom3, mass_kda : float
        At 0.81 Da/Å³.
    mean, highest : float
        Of the map that was segmented, as it was given (not filtered).
    centre : tuple of float
        Centroid of its voxels, corner-origin px (z, y, x).
    low, high : tuple of int
        Bounding box, [low, high) voxels (z, y, x).
    neighbours : tuple of int
        Regions at the top of the tree that it shares faces of voxels with.
    hidden, selected : bool
    leaves : tuple of int
        The labels that it is made of.
    smoothing : float
        Standard deviation in px of the Gaussian that joined it; 0 for a leaf and for what was grouped by hand.
    """

    number: int
    name: str | None
    voxels: int
    volume_angstrom3: float
    mass_kda: float
    mean: float
    highest: float
    centre: tuple
    low: tuple
    high: tuple
    neighbours: tuple
    hidden: bool
    selected: bool
    leaves: tuple = field(repr=False)
    smoothing: float

    def to_dict(self, volume):
        """For JSON: triples are x, y, z; the leaves are counted. `volume` is on the grid of the label map."""
        frames = positions.frames(self.centre, volume)
        return {
            "number": self.number,
            "name": self.name,
            "voxels": self.voxels,
            "volume_angstrom3": self.volume_angstrom3,
            "mass_kda": self.mass_kda,
            "mean": self.mean,
            "highest": self.highest,
            "centre_px": frames["corner_px"],
            "centre_angstrom": frames["angstrom"],
            "bounding_box_px": [units.xyz(self.low), units.xyz(self.high)],
            "neighbours": list(self.neighbours),
            "hidden": self.hidden,
            "selected": self.selected,
            "leaves": len(self.leaves),
            "smoothing": self.smoothing,
        }


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Regions of a map, and what was done to them. Each operation gives a new Segmentation.

    Attributes
    ----------
    labels : Volume
        int32 on the host: 0 outside, leaves 1…n.
    leaves : watershed.Leaves
        What was measured of each leaf, in the map as given.
    contacts : array of int64, shape (m, 3)
        Pairs of leaves and the faces that their voxels share, see :func:`gpumask.watershed.contacts`.
    groups : tuple of watershed.Group
        The tree at the start.
    operations : tuple of dict
        Everything done, in order, also what was undone since.
    done : int
        How many of them are in force.
    facts : dict
        Where it comes from: level, filter, style and so on, and what a job adds. Plain values; carried along.

    Notes
    -----
    Wherever regions are named, ``what`` is None for the selection, a number or numbers, words
    (:meth:`find` lists them), or an array of bool on the grid of the label map. Only regions at the top of the tree
    can be named; the members of a group can after :meth:`ungroup`.
    """

    labels: Volume
    leaves: watershed.Leaves = field(repr=False)
    contacts: object = field(repr=False)
    groups: tuple = field(default=(), repr=False)
    operations: tuple = ()
    done: int = 0
    facts: dict = field(default_factory=dict)

    # state

    @cached_property
    def state(self):
        """The :class:`gpumask.region_tree.State` that the operations in force have led to."""
        state = self._start
        for operation in self.operations[: self.done]:
            state = region_tree.applied(state, operation)
        return state

    @cached_property
    def _start(self):
        return region_tree.start(len(self.leaves), self.groups)

    def _then(self, operation):
        """With one more operation in force, and what was undone before it forgotten; itself where nothing changes."""
        state = region_tree.applied(self.state, operation)
        if state == self.state:
            return self
        made = replace(self, operations=(*self.operations[: self.done], operation), done=self.done + 1)
        vars(made)["state"] = state  # the cached property: what replaying all of them would give
        return made

    # operations

    def select(self, *what, share=SHARE, add=False, remove=False):
        """Select regions, instead of those selected before.

        Parameters
        ----------
        *what
            Each adds to what is meant, see the class and :meth:`find`.
        share : float
            A region is in a sphere, box or mask where at least this share of its voxels is.
        add, remove : bool
            Add to the selection, or take from it.

        Returns
        -------
        Segmentation
            Itself where the selection stays.
        """
        if add and remove:
            raise UsageError("a selection is added to or taken from: give one of add and remove")
        found = frozenset().union(*(self.find(one, share) for one in what))
        now = self.state.selection
        return self._select(now | found if add else now - found if remove else found)

    def invert_selection(self):
        """Select what is not selected, hidden regions too, and nothing else."""
        return self._select(self.state.top - self.state.selection)

    def _select(self, numbers):
        return self._then({"do": "select", "regions": sorted(numbers)})

    def group(self, what=None):
        """Join two or more regions into one, which is visible and selected; its number was never used before.

        :meth:`ungroup` gives the members back all selected and all visible; which of them were hidden or selected
        before is what :meth:`undo` brings back.
        """
        numbers = self._numbers(what)
        if len(numbers) < 2:
            raise UsageError(f"a group needs two or more regions, got {region_tree.told(numbers)}; select more of them")
        return self._then({"do": "group", "regions": numbers, "made": self.state.highest + 1})

    def ungroup(self, what=None):
        """Put the members of groups in their place; they are selected, and hidden where the group was.

        With nothing selected and none given, one step of smoothing is taken back, as Segger does: all groups made at
        the widest smoothing of those at the top of the tree; nothing is selected then, so that it can be repeated.
        """
        if what is None and not self.state.selection:
            widest = self._widest()
            if not widest:
                raise UsageError("no step of smoothing is left to take back; select the groups to ungroup")
            return self._then({"do": "step-back", "regions": widest})
        numbers = self._numbers(what)
        leaves = [number for number in numbers if number not in self.state.children]
        if leaves:
            raise UsageError(
                f"{_counted(leaves)} {'is' if len(leaves) == 1 else 'are'} as the watershed found "
                f"{'it' if len(leaves) == 1 else 'them'}, without members: only groups can be ungrouped"
            )
        return self._then({"do": "ungroup", "regions": numbers})

    def _widest(self):
        """The groups at the top that the widest smoothing made."""
        smoothing = {group.number: group.smoothing for group in self.groups if group.smoothing > 0}
        at_top = {number: smoothing[number] for number in self.state.top if number in smoothing}
        return sorted(number for number in at_top if at_top[number] == max(at_top.values()))

    def hide(self, what=None):
        """Hide regions; hidden regions stay selected, and are left out of exports unless they are."""
        return self._then({"do": "hide", "regions": self._numbers(what)})

    def show(self, what=None):
        """Show hidden regions again; ``show("all")`` shows all."""
        return self._then({"do": "show", "regions": self._numbers(what)})

    def only(self, what=None):
        """Show these regions and hide all others."""
        numbers = frozenset(self._numbers(what))
        hidden = sorted(self.state.top - numbers)
        return self._then({"do": "hide", "regions": hidden, "show": sorted(numbers)})

    def delete(self, what=None):
        """Delete regions; only undo brings them back."""
        return self._then({"do": "delete", "regions": self._numbers(what)})

    def undo(self, n=1):
        """Take back the last `n` operations."""
        self._check_steps(n, self.done, "undone")
        return replace(self, done=self.done - n)

    def redo(self, n=1):
        """Do the next `n` operations again that were undone."""
        self._check_steps(n, len(self.operations) - self.done, "done again")
        return replace(self, done=self.done + n)

    @staticmethod
    def _check_steps(n, there, word):
        if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
            raise UsageError(f"how many operations are to be {word} must be a number >= 1, got {n!r}")
        if n > there:
            can = f"only {there} operation{'s' * (there > 1)}" if there else "nothing"
            raise UsageError(f"{can} can be {word}, wanted {n}")

    # finding

    def find(self, what, share=SHARE):
        """The numbers of regions that words name.

        Parameters
        ----------
        what : str, int, iterable of int, array of bool, or None
            ``all`` · ``none`` · ``visible`` · ``hidden`` · ``selected`` · ``3,5,7-9``: numbers; of a range those that
            are there · ``sphere:CENTRE:RADIUS``, such as ``sphere:249.5,250,253A:30A``, the centre as for
            :func:`gpumask.positions.point` · ``box:CORNER:CORNER``, voxels from the low to before the high corner ·
            ``neighbours``: that share faces with the selection, or ``neighbours:3,5`` with those · ``border``: within
            3 voxels of a face of the box, or ``border:5px`` · ``largest:3``: by volume. An array of bool selects as a
            sphere does. None is the selection.
        share : float
            A region is in a sphere, box or array where at least this share of its voxels is.

        Returns
        -------
        frozenset of int

        Raises
        ------
        UsageError
            Words that mean nothing, or numbers of no region at the top of the tree.
        """
        if isinstance(share, bool) or not (isinstance(share, Real) and 0 < share <= 1):
            raise UsageError(f"the share of a region must be above 0 and at most 1, got {share!r}")
        if what is None:
            return self.state.selection
        if isinstance(what, str):
            return self._words(what.strip(), share)
        if getattr(getattr(what, "dtype", None), "kind", None) == "b" and getattr(what, "ndim", 0) == 3:
            return self._inside(backend.to_numpy(what), share)
        several = isinstance(what, Iterable) and getattr(what, "ndim", 1) and not isinstance(what, bytes)
        numbers = list(what) if several else [what]
        if not all(isinstance(n, Integral) and not isinstance(n, bool) for n in numbers):
            raise UsageError(f"regions are named by whole numbers or words, got {what!r}")
        return self._known(map(int, numbers))

    def _numbers(self, what):
        """The regions that an operation is for, sorted; refused where there are none."""
        found = sorted(self.find(what))
        if not found:
            raise UsageError(
                "no region is selected; select some first, or name them"
                if what is None
                else f"{what!r} names no region"
                if isinstance(what, str)
                else "no region is named"
            )
        return found

    def _words(self, words, share):
        state = self.state
        sets = {"all": state.top, "none": frozenset(), "visible": state.top - state.hidden, "hidden": state.hidden,
                "selected": state.selection}  # fmt: skip
        if words in sets:
            return sets[words]
        name, colon, argument = words.partition(":")
        if name == "sphere" and argument.count(":") == 1:
            return self._sphere(*argument.split(":"), share)
        if name == "box" and argument.count(":") == 1:
            return self._box(*argument.split(":"), share)
        if name == "neighbours":
            return self._neighbours(self._listed(argument) if colon else state.selection)
        if name == "border":
            return self._border(argument if colon else BORDER)
        if name == "largest" and _is_number(argument) and int(argument):
            return frozenset(region.number for region in self.regions[: int(argument)])
        if colon or not words[:1].isdigit():
            raise UsageError(f"regions are selected by {WORDS}; got {words!r:.80}")
        return self._listed(words)

    def _listed(self, text):
        """``3,5,7-9``; of a range, those that are there."""
        found, wanted = set(), f"regions are listed as 3,5,7-9, got {text!r:.80}"
        for part in text.split(","):
            ends = [end.strip() for end in part.split("-")]
            if len(ends) > 2 or not all(map(_is_number, ends)):
                raise UsageError(wanted)
            low, high = int(ends[0]), int(ends[-1])
            if low > high:
                raise UsageError(f"{wanted}: a range goes from the lower to the higher number, {high}-{low}")
            within = {number for number in self.state.top if low <= number <= high}
            found |= within if len(ends) == 2 and within else self._known([low, high])
        return frozenset(found)

    def _known(self, numbers):
        """These numbers, refused where one is not at the top of the tree."""
        numbers = frozenset(numbers)
        for number in sorted(numbers - self.state.top):
            raise UsageError(self._missing(number))
        return numbers

    def _missing(self, number):
        """Why there is no such region, and what helps."""
        parents = {child: group for group, members in self.state.children.items() for child in members}
        root = number
        while root in parents:
            root = parents[root]
        if root in self.state.deleted:
            return f"region {number} is deleted" + (f" with {root}" if root != number else "") + ": undo brings it back"
        if root != number:
            return f"region {number} is part of {root}: ungroup it first"
        if number in self._start.children:
            return f"region {number} has been ungrouped: undo brings it back"
        return f"there is no region {number}; regions are {region_tree.told(self.state.top)}"

    def _inside(self, inside, share):
        if inside.shape != self.labels.shape:
            raise UsageError(
                f"a mask that selects must be on the grid of the label map, {units.by(self.labels.shape)} voxels; got "
                f"{units.by(inside.shape)}"
            )
        count = len(self.leaves)
        within = numpy.bincount(self.labels.data[inside], minlength=count + 1)[1:]
        numbers, place = self._places
        known = place >= 0
        within = numpy.bincount(place[known], within[known], len(numbers))
        voxels = numpy.bincount(place[known], self.leaves.voxels[known], len(numbers))
        return frozenset(numbers[within / voxels >= share].tolist())  # so that 0.55 is 55 of 100

    def _sphere(self, centre, radius, share):
        grid = self.labels
        at, reach = positions.point(centre, grid), units.to_px(radius, grid.voxel_size, "radius")
        if reach < 0:
            raise UsageError(f"the radius of a sphere must be >= 0, got {radius}")
        return self._inside(regions.clip(grid.data > 0, at, reach, units.sampling(grid.voxel_size)), share)

    def _box(self, one, other, share):
        corners = [positions.point(text, self.labels) for text in (one, other)]
        inside = numpy.ones(self.labels.shape, bool)
        for axis, (low, high) in enumerate(map(sorted, zip(*corners, strict=True))):
            index = numpy.arange(self.labels.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
            inside &= (index >= low) & (index < high)
        return self._inside(inside, share)

    def _neighbours(self, of):
        if not of:
            raise UsageError(
                "neighbours are those of the selection, and nothing is selected; name them: neighbours:3,5"
            )
        found = {number for region in self.regions if region.number in of for number in region.neighbours}
        return frozenset(found - of)

    def _border(self, text):
        size = self.labels.voxel_size
        reach = units.along_axes(text, size, "border")
        if min(reach) < 0:
            raise UsageError(f"border must be >= 0, got {text}")
        return frozenset(
            region.number
            for region in self.regions
            if any(
                a < r or b > n - r for a, b, n, r in zip(region.low, region.high, self.labels.shape, reach, strict=True)
            )
        )

    # measures

    @cached_property
    def _places(self):
        """Numbers at the top, sorted, and the place among them of the region of each leaf, -1 for deleted ones."""
        state = self.state
        parent = numpy.arange(state.highest + 1)
        for group, members in state.children.items():
            parent[list(members)] = group
        root = parent[parent]
        while not numpy.array_equal(root, parent):
            parent, root = root, root[root]
        numbers = numpy.array(sorted(state.top), numpy.int64)
        place = numpy.full(state.highest + 1, -1, numpy.int64)
        place[numbers] = numpy.arange(len(numbers))
        return numbers, place[root[1 : len(self.leaves) + 1]]

    @cached_property
    def regions(self):
        """Every region at the top of the tree as a :class:`Region`, the largest first, of equal ones the lowest number;
        measured from what is known of the leaves."""
        numbers, place = self._places
        count, known = len(numbers), place >= 0
        if not count:
            return ()
        at = place[known]
        columns = {name: getattr(self.leaves, name)[known] for name in region_file.COLUMNS}
        voxels = numpy.bincount(at, columns["voxels"], count)
        total = numpy.bincount(at, columns["total"], count)
        moments = [numpy.bincount(at, columns["voxels"] * along, count) for along in columns["centre"].T]
        highest = numpy.full(count, -numpy.inf)
        numpy.maximum.at(highest, at, columns["highest"])
        low = numpy.full((count, 3), max(self.labels.shape))
        numpy.minimum.at(low, at, columns["low"])
        high = numpy.zeros((count, 3), low.dtype)
        numpy.maximum.at(high, at, columns["high"])
        leaves = _split(numpy.flatnonzero(known) + 1, at, count)
        pairs = place[self.contacts[:, :2] - 1]
        pairs = pairs[(pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])]
        pairs = numpy.unique(numpy.concatenate([pairs, pairs[:, ::-1]]), axis=0)
        neighbours = _split(numbers[pairs[:, 1]], pairs[:, 0], count)
        smoothing = {group.number: float(group.smoothing) for group in self.groups}
        names = self.facts.get("names", {})
        found = []
        for i in sorted(range(count), key=lambda i: (-voxels[i], numbers[i])):
            number = int(numbers[i])
            volume = units.volume_angstrom3(voxels[i], self.labels.voxel_size)
            found.append(
                Region(
                    number=number,
                    name=names.get(str(number)),
                    voxels=int(voxels[i]),
                    volume_angstrom3=volume,
                    mass_kda=units.mass_kda(volume),
                    mean=float(total[i] / voxels[i]),
                    highest=float(highest[i]),
                    centre=tuple(float(moment[i] / voxels[i]) for moment in moments),
                    low=tuple(low[i].tolist()),
                    high=tuple(high[i].tolist()),
                    neighbours=neighbours[i],
                    hidden=number in self.state.hidden,
                    selected=number in self.state.selection,
                    leaves=leaves[i],
                    smoothing=smoothing.get(number, 0.0),
                )
            )
        return tuple(found)

    # exports

    def exported(self, what=None):
        """The numbers of the regions that are exported: `what`, else the selection, else the visible ones; sorted."""
        if what is not None:
            return sorted(self.find(what))
        chosen = self.state.selection or self.state.top - self.state.hidden
        if not chosen:
            raise UsageError("no region is selected or visible: there is nothing to export")
        return sorted(chosen)

    def label_map(self, what=None, sequential=False):
        """The numbers of regions on the full grid, 0 elsewhere.

        Parameters
        ----------
        what
            See the class; default the selection if there is one, else the visible regions.
        sequential : bool
            Number them 1, 2, 3 … in the order of their numbers.

        Returns
        -------
        Volume
            int32.
        """
        chosen = self.exported(what)
        numbers, place = self._places
        value = numpy.zeros(len(numbers) + 1, numpy.int32)  # the last one is for deleted leaves, whose place is -1
        value[numpy.searchsorted(numbers, chosen)] = range(1, len(chosen) + 1) if sequential else chosen
        table = numpy.concatenate([numpy.zeros(1, numpy.int32), value[place]])
        return self.labels.with_data(table[self.labels.data])

    def binary(self, what=None):
        """1 in the regions and 0 elsewhere, float32, on the full grid: a base for a mask; see :meth:`label_map`."""
        labels = self.label_map(what)
        return labels.with_data((labels.data > 0).astype(numpy.float32))

    def density(self, volume, what=None, filtered=True):
        """The map that was segmented in the regions, and 0 elsewhere, on the host; see :meth:`label_map`.

        Parameters
        ----------
        volume : Volume
            The map as it was given, on the grid of the label map.
        what
            Which regions.
        filtered : bool
            Filter it as it was before the watershed, as Segger saves the map that it works on. Then all density in
            the regions is at or above the level, so that any threshold up to there brings the regions back whole, and
            exports of regions that make up all leaves sum to the filtered map at or above the level.

        Raises
        ------
        InputRefused
            Another box, or voxel sizes that differ by more than 1 %.
        """
        grids.check_one_grid({"the map": volume, "the label map": self.labels})
        inside = self.label_map(what).data > 0
        data = volume.data
        if filtered:
            data = _filtered(volume, self.facts.get("gaussian_angstrom"), self.facts.get("lowpass_angstrom"))
        return volume.with_data(numpy.where(inside, backend.to_numpy(data), numpy.float32(0)))

    def bounds(self, what=None, margin=MARGIN):
        """The smallest box with the regions and `margin` voxels (one number, or z, y, x) on each side, within the grid:
        low and high (z, y, x) for :func:`gpumask.grids.crop`, which moves the origin along."""
        chosen = set(self.exported(what))
        if not chosen:
            raise UsageError("no region is named, so there is no box around them")
        margins = tuple(margin) if isinstance(margin, Iterable) else (margin,) * 3
        whole = (isinstance(m, Real) and 0 <= m <= units.LONGEST and m == round(m) for m in margins)
        if len(margins) != 3 or not all(whole):
            raise UsageError(f"a margin must be a whole number of voxels >= 0, or three (z, y, x), got {margin!r}")
        boxes = [(region.low, region.high) for region in self.regions if region.number in chosen]
        low, high = (numpy.array(corner) for corner in zip(*boxes, strict=True))
        low = numpy.maximum(low.min(axis=0) - margins, 0).astype(int)
        high = numpy.minimum(high.max(axis=0) + margins, self.labels.shape).astype(int)
        return tuple(low.tolist()), tuple(high.tolist())

    # as JSON

    def to_dict(self):
        """All but the label map, for JSON; triples are x, y, z."""
        return region_file.document(self)

    @classmethod
    def from_dict(cls, values, labels):
        """A Segmentation from what :meth:`to_dict` gave and its label map, a Volume of whole numbers.

        Raises
        ------
        InputRefused
            Not such a document, or one that does not fit the label map or itself; the text says what is wrong.
        """
        return cls(**region_file.fields(values, labels))


def segment(volume, level, *, gaussian=None, lowpass=None, steps=4, step=1.0, style="gpumask", voxel_size=None):
    """Segment a map as Segger does: filter, watershed at or above a level, group by smoothing.

    Parameters
    ----------
    volume : Volume or array of shape (z, y, x)
        numpy or CuPy; the label map comes to the host.
    level : str or float
        What of the *filtered* map is density (``v >= level``), in the words of :func:`gpumask.thresholds.level`.
    gaussian, lowpass : str or float, optional
        Å; standard deviation of a Gaussian, or resolution of a low-pass, as for :func:`gpumask.create_mask`; one at
        the most.
    steps, step
        Of the grouping, see :func:`gpumask.watershed.group`; 0 steps leave the leaves ungrouped.
    style : str
        See :func:`gpumask.watershed.label`.
    voxel_size : float or tuple of float, optional
        Å (z, y, x), of a plain array.

    Returns
    -------
    Segmentation
        Its labels, groups and exported densities are those of the filtered map; mean and highest are those of the map
        as given.

    Raises
    ------
    InputRefused
        No voxel reaches the level.
    UsageError, TypeError
        Parameters that cannot be used; an array without `voxel_size`.
    """
    (volume,), _ = grids.on_one_grid({"map": volume}, voxel_size)
    if volume.data.dtype.kind not in "biuf":
        raise UsageError(f"a map holds real numbers, got {volume.data.dtype}")
    if gaussian is not None and lowpass is not None:
        raise UsageError("one filter before the watershed at the most, got gaussian and lowpass")
    if gaussian is not None:
        gaussian = units.angstrom(gaussian, "Gaussian standard deviation")
    if lowpass is not None:
        lowpass = units.angstrom(lowpass, "low-pass resolution")
    filtered = _filtered(volume, gaussian, lowpass)
    found = thresholds.level(filtered, str(level), volume.voxel_size)
    labels = watershed.label(filtered, found.value, style)
    groups = watershed.group(filtered, labels, steps, step)
    facts = {
        "level": found.value,
        "threshold": str(level),
        "why": found.why,
        "gaussian_angstrom": gaussian,
        "lowpass_angstrom": lowpass,
        "steps": steps,
        "step_px": float(step),
        "style": style,
        "warnings": list(found.warnings),
    }
    return _assembled(labels, volume, groups, facts)


def _filtered(volume, gaussian, lowpass):
    """The map that the watershed sees, float32; a Gaussian, a low-pass (Å) or None of both."""
    xp = backend.xp(volume.data)
    if gaussian is not None:
        return filters.gaussian(volume.data, gaussian, volume.voxel_size)
    if lowpass is not None:
        return filters.lowpass(volume.data, lowpass, volume.voxel_size)
    with numpy.errstate(over="ignore"):  # what float32 cannot hold is refused as infinity
        return xp.ascontiguousarray(volume.data, xp.float32)


def _assembled(labels, volume, groups=(), facts=None):
    """A Segmentation from leaves 1…n (array of int32 on the grid of `volume`) and their groups; nothing is checked."""
    measured = watershed.leaves(labels, volume.data)
    return Segmentation(
        labels=Volume(backend.to_numpy(labels), volume.voxel_size, volume.header),
        leaves=measured,
        contacts=backend.to_numpy(watershed.contacts(labels)),
        groups=tuple(groups),
        facts=dict(facts or {}),
    )


def from_labels(labels, volume, groups=(), facts=None):
    """A Segmentation from a label map that another program made.

    Parameters
    ----------
    labels : Volume or array
        Whole numbers on the grid of `volume`, 0 outside.
    volume : Volume
        The map, which densities are measured in.
    groups : sequence of watershed.Group
        Groups of these numbers and of each other; what of them has no voxel is left out.
    facts : dict, optional

    Returns
    -------
    segmentation : Segmentation
        Leaves are numbered 1…n in the order of the file's numbers, and keep them where those are 1…n; then groups keep
        theirs too.
    notes : list of str
        Where numbers have changed.

    Raises
    ------
    InputRefused
        Another box, negative or broken numbers, none at all, or groups that are no tree.
    """
    data = backend.to_numpy(labels.data if isinstance(labels, Volume) else labels)
    if data.shape != volume.shape:
        raise InputRefused(
            f"the label map has a box of {units.by(data.shape)} voxels, the map of {units.by(volume.shape)}; put them "
            "on one grid (resample --like)"
        )
    data = region_file.whole(data)
    present = numpy.unique(data[data > 0])
    if not len(present):
        raise InputRefused("the label map is 0 everywhere: there is no region in it")
    groups = region_tree.filled(groups, present.tolist())
    count = len(present)
    kept = present[-1] == count and all(count < group.number <= region_file.HIGHEST for group in groups)
    notes, facts = [], dict(facts or {})
    if not kept:
        old = [*present.tolist(), *sorted(group.number for group in groups)]
        new = {number: place for place, number in enumerate(old, 1)}
        data = (numpy.searchsorted(present, data) + 1) * (data > 0)
        groups = [watershed.Group(new[g.number], tuple(new[n] for n in g.children), g.smoothing) for g in groups]
        if "names" in facts:
            facts["names"] = {str(new[int(n)]): text for n, text in facts["names"].items() if int(n) in new}
        told, leaves, groups_now = region_tree.told, range(1, count + 1), range(count + 1, len(old) + 1)
        texts = []
        if old[:count] != [*leaves]:
            texts.append(f"its numbers {told(old[:count])} are {told(leaves)} now, in their order")
        if groups and old[count:] != [*groups_now]:
            texts.append(f"those of groups, {told(old[count:])}, are {told(groups_now)}" + " now" * (not texts))
        notes = ["; ".join(texts)]
    return _assembled(data.astype(numpy.int32), volume, groups, facts), notes


def _is_number(text):
    """Whether text is a whole number that a region can have; int() is slow on, and refuses, what is very long."""
    return text.isdecimal() and len(text) < 20


def _split(values, place, count):
    """Tuples of the values at each place 0…count - 1, in their order."""
    order = numpy.argsort(place, kind="stable")
    ends = numpy.cumsum(numpy.bincount(place, minlength=count))[:-1]
    return [tuple(part.tolist()) for part in numpy.split(values[order], ends)]


def _counted(numbers):
    return f"region {numbers[0]}" if len(numbers) == 1 else f"regions {region_tree.told(numbers)}"
