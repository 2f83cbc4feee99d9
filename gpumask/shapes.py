"""Geometric masks: bodies with a soft edge at their exact distance. numpy or CuPy.

A body lies about its own centre, its own axis along z. Lengths are in px; where voxels are anisotropic that is the
smallest voxel edge (``sampling``, see :mod:`gpumask.mask`), so that distances are physical. :func:`soft_mask` puts a
body somewhere in a box; :class:`ShapeRecipe` says the same in text, with units.
"""

import hashlib
import json
import math
from dataclasses import MISSING, asdict, dataclass, fields, replace
from numbers import Real

import numpy

from gpumask import backend, mask, positions, units
from gpumask.errors import UsageError
from gpumask.recipe import DEFAULT_SOFT_EDGE, EDGES, parse_edge, parse_position

SLACK = 1e-6  # px: a voxel centre this close to a surface lies on it
CHUNK = 1 << 20  # voxels worked on at a time: up to 20 arrays of float64 of this size are alive at once
PRECISION = 1e-12  # of the equation for the nearest point of an ellipsoid
STEPS = 60  # at the most; points about an ellipsoid of 1 : 20 : 30 take up to 9, of 1 : 1000 : 1000 up to 14
STYLES = ("exact", "ttmask")
PROFILES = tuple(edge for edge in EDGES if edge != "convolved")


@dataclass(frozen=True)
class Sphere:
    """All points up to `radius` from the centre."""

    radius: float

    def __post_init__(self):
        _check_lengths(self)

    @property
    def reach(self):
        """Radius of a sphere about the centre that holds the body."""
        return self.radius

    def distance(self, z, y, x):
        """Distance from points (z, y, x) about the centre to the body: exact outside, negative inside, px."""
        return _norm(z, y, x) - self.radius


@dataclass(frozen=True)
class Shell:
    """All points from `inner_radius` to `radius`; distances are measured inwards and outwards."""

    radius: float
    inner_radius: float

    def __post_init__(self):
        _check_lengths(self)
        _check_hollow(self.inner_radius, self.radius, "inner radius of the shell")

    @property
    def reach(self):
        """Radius of a sphere about the centre that holds the body."""
        return self.radius

    def distance(self, z, y, x):
        """As :meth:`Sphere.distance`, also positive within the inner radius."""
        across = _norm(z, y, x)
        return backend.xp(across).maximum(across - self.radius, self.inner_radius - across)


@dataclass(frozen=True)
class Cylinder:
    """A cylinder; with `inner_radius` an open tube, with `inner_height` too a closed can."""

    radius: float
    height: float
    inner_radius: float = 0.0
    inner_height: float | None = None

    def __post_init__(self):
        _check_lengths(self)
        if self.inner_radius:
            _check_hollow(self.inner_radius, self.radius, "inner radius of the cylinder")
        if self.inner_height is not None:
            if not self.inner_radius:
                raise UsageError("the cavity of a cylinder needs an inner radius beside its inner height")
            _check_hollow(self.inner_height, self.height, "inner height of the cylinder")

    @property
    def reach(self):
        """Radius of a sphere about the centre that holds the body."""
        return math.hypot(self.radius, self.height / 2)

    def distance(self, z, y, x):
        """As :meth:`Sphere.distance`, also positive within a tube or a can."""
        across, along = _norm(y, x), abs(z)
        beside, xp = across - self.radius, backend.xp(across)
        if self.inner_radius and self.inner_height is None:
            beside = xp.maximum(beside, self.inner_radius - across)
        found = _beyond(along - self.height / 2, beside)
        if self.inner_height is None:
            return found
        return xp.maximum(found, -_beyond(along - self.inner_height / 2, across - self.inner_radius))


@dataclass(frozen=True)
class Cuboid:
    """A box of `size` (z, y, x)."""

    size: tuple

    def __post_init__(self):
        _check_lengths(self)

    @property
    def reach(self):
        """Radius of a sphere about the centre that holds the body."""
        return math.hypot(*self.size) / 2

    def distance(self, z, y, x):
        """As :meth:`Sphere.distance`."""
        return _beyond(*(abs(p) - s / 2 for p, s in zip((z, y, x), self.size, strict=True)))


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with semi-axes `radii` (z, y, x)."""

    radii: tuple

    def __post_init__(self):
        _check_lengths(self)

    @property
    def reach(self):
        """Radius of a sphere about the centre that holds the body."""
        return max(self.radii)

    def distance(self, z, y, x, within=math.inf):
        """As :meth:`Sphere.distance`, good to 1e-12 of the largest radius or of the distance, whichever is larger.

        The point nearest to p is ``a²·p/(a² + t)`` with the root t of ``Σ (a·p/(a² + t))² = 1``. Newton's method on the
        inverse square root of that sum, which is concave and all but linear in t, rises from t = 0 to the root. Where
        the distance is above `within`, and inside, a bound is given instead: (k - 1) times the smallest radius, k the
        factor by which the ellipsoid would have to grow to reach the point.
        """
        squares = [radius * radius for radius in self.radii]
        xp = backend.xp(x)
        points = xp.broadcast_arrays(z, y, x)
        found = xp.sqrt(sum(p * p / s for p, s in zip(points, squares, strict=True)))
        found = (found - 1) * min(self.radii)
        near = (found > 0) & (found <= within)
        points = [p[near] for p in points]
        root = xp.zeros_like(points[0])
        for _ in range(STEPS if root.size else 0):
            parts = [s * p * p / (s + root) ** 2 for p, s in zip(points, squares, strict=True)]
            total = sum(parts)
            slope = sum(part / (s + root) for part, s in zip(parts, squares, strict=True))
            root += xp.maximum(total * (xp.sqrt(total) - 1) / slope, 0)  # below 0 by rounding only
            if float(total.max()) <= 1 + PRECISION:
                break
        found[near] = root * xp.sqrt(sum((p / (s + root)) ** 2 for p, s in zip(points, squares, strict=True)))
        return found


@dataclass(frozen=True)
class Cone:
    """A cone of `height` about the centre: `radius` at the lower end, `top_radius` at the upper (0: a point)."""

    radius: float
    height: float
    top_radius: float = 0.0

    def __post_init__(self):
        _check_lengths(self)

    @property
    def reach(self):
        """Radius of a sphere about the centre that holds the body."""
        return math.hypot(max(self.radius, self.top_radius), self.height / 2)

    def distance(self, z, y, x):
        """As :meth:`Sphere.distance`."""
        across, half = _norm(y, x), self.height / 2
        xp = backend.xp(across)
        narrowing = self.top_radius - self.radius
        rim = xp.where(z < 0, self.radius, self.top_radius)
        to_disc = _norm(xp.maximum(across - rim, 0), abs(z) - half)
        share = (across - self.radius) * narrowing + (z + half) * self.height
        share = xp.clip(share / (narrowing**2 + self.height**2), 0, 1)
        to_side = _norm(across - (self.radius + share * narrowing), z + half - share * self.height)
        inside = (abs(z) <= half) & (across <= self.radius + narrowing * (z + half) / self.height)
        return xp.where(inside, -1, 1) * xp.minimum(to_disc, to_side)


@dataclass(frozen=True)
class Slab:
    """All points up to half the `thickness` from the plane through the centre, however far along it."""

    thickness: float

    def __post_init__(self):
        _check_lengths(self)

    @property
    def reach(self):
        """Endless."""
        return math.inf

    def distance(self, z, y, x):
        """As :meth:`Sphere.distance`."""
        return abs(z) - self.thickness / 2


SHAPES = {
    "sphere": Sphere,
    "shell": Shell,
    "cylinder": Cylinder,
    "cuboid": Cuboid,
    "ellipsoid": Ellipsoid,
    "cone": Cone,
    "slab": Slab,
}


def soft_mask(
    shape,
    box,
    soft_edge_px=0,
    edge="cosine",
    *,
    centre_px=None,
    axis=(1, 0, 0),
    turn=0.0,
    style="exact",
    sampling=None,
    xp=None,
):
    """A body in a box: 1 in it, and a soft edge at the distance from it.

    Parameters
    ----------
    shape : Sphere, Shell, Cylinder, Cuboid, Ellipsoid, Cone or Slab
    box : tuple of int
        (z, y, x) voxels.
    soft_edge_px : float
        w: the mask is the profile at d/w for ``0 < d < w``, d the distance to the body.
    edge : str
        A profile of distance, see :func:`gpumask.mask.edge_profile`.
    centre_px : tuple of float, optional
        Corner-origin px (z, y, x), any fraction; by default the box centre ``n // 2``.
    axis : tuple of float
        Direction (z, y, x) of the body's own axis, of any length; the body is brought there by the smallest rotation.
    turn : float
        Degrees by which it is turned about its own axis before that, right-handed in x, y, z.
    style : str
        ``exact``, or ``ttmask``: the edge is measured from the nearest voxel of the body, as ttmask does, where centres
        on an outer surface are out and those on an inner one in; that is up to a voxel's diagonal more than ``exact``.
    sampling : tuple of float, optional
        Voxel edges (z, y, x) in units of the smallest, for anisotropic voxels.
    xp : module, optional
        numpy (default) or cupy: where the mask is made.

    Returns
    -------
    array of float32, shape (z, y, x)
        Computed in float64, a few planes at a time. CPU and GPU agree to the rounding of float32.

    Raises
    ------
    UsageError
        A length, direction, style or edge that cannot be used.
    """
    xp = xp or numpy
    width = _number(soft_edge_px, "soft edge")
    if width < 0:
        raise UsageError(f"soft edge must be >= 0 px, got {width:g} px")
    if style not in STYLES:
        raise UsageError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    _check_profile(edge)
    middle = [n // 2 for n in box] if centre_px is None else [_number(c, "centre", far=True) for c in centre_px]
    place = box, middle, orientation(axis, turn), sampling or (1, 1, 1), xp
    if style == "ttmask":
        base = xp.zeros(box, bool)
        for part, distance in _distances(_shrunk(shape), *place, SLACK):
            base[part] = distance <= 0
        return mask.soft_mask(base, 0, width, edge, sampling=sampling)
    soft = xp.zeros(box, xp.float32)
    for part, distance in _distances(shape, *place, width):
        values = (distance <= SLACK).astype(xp.float32)
        if width > 0:
            between = (distance > SLACK) & (distance < width)
            values[between] = mask.edge_profile(distance[between] / width, edge, xp)
        soft[part] = values
    return soft


def _distances(shape, box, middle, rows, sampling, xp, width):
    """Parts of the box, and the distance of each voxel in them from `shape`; the rest is farther than `width`."""
    axes, start = [], []
    for n, c, s in zip(box, middle, sampling, strict=True):
        reach = (shape.reach + width) / s
        low, high = math.ceil(max(c - reach, 0)), math.floor(min(c + reach, n - 1))
        if low > high:
            return
        start.append(low)
        axes.append((xp.arange(low, high + 1, dtype=xp.float64) - c) * s)
    z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    along_the_box = rows == orientation((1, 0, 0))  # then the points broadcast
    narrow = {"within": width} if isinstance(shape, Ellipsoid) else {}
    planes = max(1, CHUNK // (y.size * x.size))
    for first in range(0, len(z), planes):
        points = z[first : first + planes], y, x
        size = len(points[0]), y.size, x.size
        if not along_the_box:
            points = [row[0] * points[0] + row[1] * y + row[2] * x for row in rows]
        corner = start[0] + first, start[1], start[2]
        part = tuple(slice(low, low + n) for low, n in zip(corner, size, strict=True))
        yield part, xp.broadcast_to(shape.distance(*points, **narrow), size)


def orientation(axis, turn=0.0):
    """The own axes of a body, as three unit vectors.

    Parameters
    ----------
    axis : tuple of float
        (z, y, x): where its own z axis points, after the smallest rotation that brings it there (about the line that is
        perpendicular to both; half a turn about x for -z).
    turn : float
        Degrees about its own axis before that, right-handed in x, y, z.

    Returns
    -------
    tuple
        Its own z, y and x axis, each (z, y, x); exact for directions along the axes and turns by 90°.
    """
    z, y, x = (_number(part, "direction of the axis", far=True) for part in axis)
    length = math.hypot(z, y, x)
    if not length:
        raise UsageError("the direction of the axis must not be 0,0,0; give a vector such as 0,0,1")
    z, y, x = z / length, y / length, x / length
    if z > -1:
        along_x = (-x, -x * y / (1 + z), 1 - x * x / (1 + z))
        along_y = (-y, 1 - y * y / (1 + z), -x * y / (1 + z))
    else:
        along_x, along_y = (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)
    quarters, rest = divmod(_number(turn, "turn", far=True), 90)
    cosine, sine = math.cos(math.radians(rest)), math.sin(math.radians(rest))
    for _ in range(int(quarters) % 4):
        cosine, sine = -sine, cosine
    return (
        (z, y, x),
        tuple(cosine * b - sine * a for a, b in zip(along_x, along_y, strict=True)),
        tuple(cosine * a + sine * b for a, b in zip(along_x, along_y, strict=True)),
    )


@dataclass(frozen=True)
class ShapeRecipe:
    """How a geometric mask is made, in text: lengths ``5px``, ``7A`` or pixels; triples ``x,y,z``.

    Attributes
    ----------
    shape : str
        ``sphere``, ``shell``, ``cylinder``, ``cuboid``, ``ellipsoid``, ``cone`` or ``slab``.
    radius, inner_radius, top_radius : str, optional
        Lengths, see the classes of these shapes.
    height, inner_height, thickness : str, optional
        Lengths, or ``30%``: of the box along z (RELION's ``--z_percentage 0.3``).
    size, radii : str, optional
        Three lengths: edges of a cuboid, semi-axes of an ellipsoid.
    axis : str, optional
        Direction of the own axis, default ``0,0,1``; spheres and shells have none.
    turn : float, optional
        Degrees about it, for cuboids and ellipsoids.
    centre : str, optional
        ``x,y,z`` in px from the corner (CryoSPARC), ``x,y,zcentre`` in px from the box centre (RELION), ``x,y,zA`` in Å
        of the header's frame (ChimeraX); by default the box centre ``n // 2``.
    soft_edge : str, optional
        Width; by default ``ceil(5·resolution/voxel)`` px, or 12 px without a resolution.
    edge, style : str
        See :func:`soft_mask`.
    resolution : str, optional
        Expected resolution, ``3.5A``.
    invert : bool
        ``1 - m``, last.
    """

    shape: str
    radius: str | None = None
    inner_radius: str | None = None
    top_radius: str | None = None
    height: str | None = None
    inner_height: str | None = None
    thickness: str | None = None
    size: str | None = None
    radii: str | None = None
    axis: str | None = None
    turn: float | None = None
    centre: str | None = None
    soft_edge: str | None = None
    edge: str = "cosine"
    style: str = "exact"
    resolution: str | None = None
    invert: bool = False

    def __post_init__(self):
        _canonical(self)

    @property
    def hash(self):
        """First 16 hex digits of the SHA-256 of the recipe as canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self):
        """Every field by name, as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values):
        """A recipe from a mapping; an unknown key is an error."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise UsageError(f"unknown key in the recipe of a shape: {', '.join(unknown)}")
        if values.get("shape") is None:
            raise UsageError(f"a geometric mask needs a shape: {', '.join(SHAPES)}")
        return cls(**values)


def body(recipe, grid):
    """The body of a recipe in px, in the box and for the voxels of a Volume."""
    kind, size = SHAPES[recipe.shape], grid.voxel_size
    lengths = {}
    for field in fields(kind):
        text, what = getattr(recipe, field.name), f"{field.name.replace('_', ' ')} of the {recipe.shape}"
        if text is None:
            continue
        if field.name in TRIPLES:
            lengths[field.name] = tuple(units.to_px(part, size, what) for part in reversed(text.split(",")))
        elif text.endswith("%"):
            along_z = grid.shape[0] * (units.sampling(size) or (1,))[0]
            lengths[field.name] = float(text[:-1]) / 100 * along_z
        else:
            lengths[field.name] = units.to_px(text, size, what)
    return kind(**lengths)


def centre(recipe, grid):
    """The centre of a recipe in corner-origin px (z, y, x) of a Volume; within 1e-4 px of a voxel centre it is that."""
    if recipe.centre is None:
        return tuple(float(n // 2) for n in grid.shape)
    return tuple(units.snap(part) for part in positions.point(recipe.centre, grid))


def soft_edge(recipe, voxel_size):
    """Width of the soft edge of a recipe in px, with its defaults."""
    if recipe.soft_edge is not None:
        return units.to_px(recipe.soft_edge, voxel_size, "soft edge")
    if recipe.resolution is None:
        return units.to_px(DEFAULT_SOFT_EDGE, voxel_size, "the default soft edge")
    return float(math.ceil(units.minimum_soft_edge_px(units.angstrom(recipe.resolution), voxel_size)))


def make(recipe, grid, xp=None):
    """The mask of a :class:`ShapeRecipe`.

    Parameters
    ----------
    recipe : ShapeRecipe
    grid : Volume
        Its box, voxel size and origin are used, its data are not.
    xp : module, optional
        numpy (default) or cupy.

    Returns
    -------
    array of float32, shape (z, y, x)
        Empty and full masks included.
    """
    made = soft_mask(
        body(recipe, grid),
        grid.shape,
        soft_edge(recipe, grid.voxel_size),
        recipe.edge,
        centre_px=centre(recipe, grid),
        axis=(1, 0, 0) if recipe.axis is None else _numbers(recipe.axis)[::-1],
        turn=recipe.turn or 0.0,
        style=recipe.style,
        sampling=units.sampling(grid.voxel_size),
        xp=xp,
    )
    return mask.invert(made) if recipe.invert else made


TRIPLES = ("size", "radii")
OF_THE_BOX = ("height", "inner_height", "thickness")
LENGTHS = ("radius", "inner_radius", "top_radius", *OF_THE_BOX, *TRIPLES)
TURNED = ("cuboid", "ellipsoid")


def _canonical(recipe):
    """Check every field and bring it to one spelling, so that equal recipes have equal hashes."""

    def put(name, value):
        object.__setattr__(recipe, name, value)

    if recipe.shape not in SHAPES:
        raise UsageError(f"shape must be one of {', '.join(SHAPES)}, got {recipe.shape!r}")
    asked = fields(SHAPES[recipe.shape])
    for name in LENGTHS:
        text, what = getattr(recipe, name), name.replace("_", " ")
        field = next((field for field in asked if field.name == name), None)
        if text is None and field is not None and field.default is MISSING:
            raise UsageError(f"a {recipe.shape} needs its {what}, a length such as 5px or 7A")
        if text is not None and field is None:
            raise UsageError(f"a {recipe.shape} has no {what}; it has {', '.join(f.name for f in asked)}")
        if text is not None:
            put(name, _canonical_length(name, text, f"{what} of the {recipe.shape}"))
    if recipe.axis is not None:
        if recipe.shape in ("sphere", "shell"):
            raise UsageError(f"a {recipe.shape} has no axis")
        direction = _numbers(recipe.axis)
        orientation(direction)
        put("axis", ",".join(units.plain(part) for part in direction))
    if recipe.turn is not None:
        if recipe.shape not in TURNED:
            raise UsageError(f"a {recipe.shape} cannot be turned about its own axis; a {' or an '.join(TURNED)} can")
        put("turn", _number(recipe.turn, "turn", far=True))
    if recipe.centre is not None:
        position, unit = parse_position(recipe.centre, "centre")
        put("centre", ",".join(map(units.plain, units.xyz(position))) + unit.replace("px", ""))
    if recipe.soft_edge is not None:
        width = units.length(recipe.soft_edge, "soft edge")
        if width.value < 0:
            raise UsageError(f"soft edge must be >= 0, got {width}")
        put("soft_edge", str(width))
    if recipe.resolution is not None:
        put("resolution", str(units.Length(units.angstrom(recipe.resolution, "resolution"), "A")))
    _check_profile(recipe.edge)
    name, bandwidth = parse_edge(recipe.edge)
    put("edge", name if bandwidth is None else f"{name}:{units.plain(bandwidth)}")
    if recipe.style not in STYLES:
        raise UsageError(f"style must be one of {', '.join(STYLES)}, got {recipe.style!r}")
    if not isinstance(recipe.invert, bool):
        raise UsageError(f"invert must be true or false, got {recipe.invert!r}")


def _canonical_length(name, text, what):
    if name in TRIPLES:
        parts = str(text).split(",")
        if len(parts) == 1:
            parts *= 3
        if len(parts) != 3:
            raise UsageError(f"{what} must be one or three lengths x,y,z such as 30A,40A,50A, got {text!r}")
        return ",".join(str(units.length(part, what)) for part in parts)
    if name in OF_THE_BOX and str(text).strip().endswith("%"):
        try:
            share = float(str(text).strip()[:-1])
        except ValueError:
            share = math.nan
        if not 0 < share <= 100:
            raise UsageError(f"{what} must be a length, or from 0 to 100% of the box, got {text!r}")
        return f"{units.plain(share)}%"
    return str(units.length(text, what))


def _numbers(text):
    """``x,y,z`` as three floats in this order."""
    try:
        numbers = [float(part) for part in str(text).split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3:
        raise UsageError(f"axis must be three numbers x,y,z, got {text!r}")
    return numbers


def _shrunk(shape):
    """The body with its surfaces moved inwards by so little that voxels on the outer ones are out, those on the inner
    ones in: ttmask's strict comparisons."""

    def less(value):
        return tuple(part - 4 * SLACK for part in value) if isinstance(value, tuple) else value - 4 * SLACK

    values = {field.name: getattr(shape, field.name) for field in fields(shape)}
    return replace(shape, **{name: less(value) for name, value in values.items() if value})


def _check_lengths(shape):
    """Every length of a body is a number; those it cannot be without are above 0."""
    kind = type(shape).__name__.lower()
    for field in fields(shape):
        value, what = getattr(shape, field.name), f"{field.name.replace('_', ' ')} of the {kind}"
        if value is None:
            continue
        several = field.name in TRIPLES
        if several and len(value) != 3:
            raise UsageError(f"{what} must be three numbers (z, y, x), got {value!r}")
        least = field.default if isinstance(field.default, float) else None
        for part in value if several else (value,):
            if _number(part, what) < 0 or (least is None and part == 0):
                raise UsageError(f"{what} must be {'> 0' if least is None else '>= 0'} px, got {part:g} px")


def _check_hollow(inner, outer, what):
    if not inner < outer:
        raise UsageError(f"{what} must be smaller than the outer one, got {inner:g} and {outer:g} px")


def _check_profile(edge):
    if parse_edge(edge)[0] not in PROFILES:
        raise UsageError(f"the edge of a shape must be one of {', '.join(PROFILES)}, got {edge!r}")


def _number(value, what, far=False):
    limit = 1e9 if far else units.LONGEST
    if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) <= limit:
        raise UsageError(f"{what} must be a number, at most {limit:g}, got {value!r}")
    return float(value)


def _norm(*parts):
    xp = backend.xp(parts[0])
    return xp.sqrt(sum(part * part for part in parts))


def _beyond(*excess):
    """Signed distance to a body with flat faces at right angles, from how far a point lies beyond each pair of them."""
    xp = backend.xp(excess[0])
    highest = excess[0]
    for other in excess[1:]:
        highest = xp.maximum(highest, other)
    return _norm(*(xp.maximum(part, 0) for part in excess)) + xp.minimum(highest, 0)
