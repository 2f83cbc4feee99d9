"""How a mask is made, as a value: read from and written to JSON and TOML. Science only, no device and no paths."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real

from gpumask import units
from gpumask.errors import UsageError

DEFAULT_SOFT_EDGE = "12px"
FILTERS = ("lowpass", "butterworth", "rect", "gaussian")
STYLES = ("euclidean", "relion", "cryodrgn")
EDGES = ("cosine", "convolved", "gaussian", "quarter-cosine", "linear", "slepian")
LATER = ("clip_radius", "clip_centre", "hysteresis", "opening", "seed", "closing")
SLEPIAN_BANDWIDTH = 2.0  # half time-bandwidth product NW where none is given
LEVELS = ("otsu", "auto")  # thresholds without a number
RANKS = {"percentile": (0, 100), "volume": (0, math.inf), "mass": (0, math.inf), "fdr": (0, 1)}  # with one between
THRESHOLDS = "a number, 0.2max, 3sigma, otsu, percentile:99, volume:79000 (Å³), mass:64 (kDa), fdr:0.01 or auto"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_POSITION = re.compile(rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*(px|A|Å|\u212b|centre|center|)\s*")
PRESETS = {
    "cryosparc-v4": "threshold 0.2max, near 6 Å, far 14 Å: CryoSPARC's dynamic mask up to v4",
    "cryosparc-v5:RES": "threshold 0.2max, near 2·RES, far 5·RES: CryoSPARC's dynamic mask since v5",
    "subtraction": "dilation 0, soft edge 12 px or 5·resolution/voxel",
    "glycoprotein": "dilation 6 px, soft edge 25 px: to the protein's edge, then very soft through the glycans",
}


@dataclass(frozen=True)
class MaskRecipe:
    """The steps of :func:`gpumask.create_mask`, in order. Lengths are text such as ``5px`` or ``7A``.

    Attributes
    ----------
    lowpass, rect : str, optional
        Resolution of a raised-cosine or rectangular low-pass, ``15A``.
    butterworth : str, optional
        Resolution and order of a Butterworth low-pass, ``15A:8`` (order 8 where not given).
    gaussian : str, optional
        Standard deviation of a Gaussian filter, ``2A``. One filter at the most.
    threshold : str
        A number, ``0.2max``, ``3sigma``, ``otsu``, ``percentile:99``, ``volume:79000`` (Å³), ``mass:64`` (kDa),
        ``fdr:0.01`` or ``auto``; of the filtered map, see :func:`gpumask.thresholds.level`. ``v >= t`` is foreground.
    absolute_value : bool
        Use \\|v\\|.
    clip_radius : str, optional
        Keep what lies within this distance of `clip_centre`, ``60A``.
    clip_centre : str, optional
        ``x,y,zpx`` from the corner of the box (CryoSPARC), ``x,y,zA`` in the header's frame (ChimeraX) or
        ``x,y,zcentre`` in px from the box centre ``n // 2`` (RELION), which is the default.
    hysteresis : str, optional
        A second, higher level, in the words of `threshold`: keep the 26-connected components that reach it.
    opening : str, optional
        Erode, then dilate by this length: cuts bridges and drops specks thinner than twice that.
    dust : float, optional
        Drop components below this volume, Å³.
    seed : str, optional
        Keep the component that holds this position, as `clip_centre`.
    largest : int, optional
        Keep this many of the largest 26-connected components; 1 by default where the threshold is ``auto`` and
        neither `dust` nor `seed` is given.
    closing : str, optional
        Dilate, then erode by this length: closes clefts and gaps narrower than twice that.
    fill_holes : bool
        Fill background that is not connected to the outside.
    dilation : str
        Euclidean, ``d <= r``; negative erodes.
    soft_edge : str, optional
        Width outside the dilated set; by default ``ceil(5·resolution/voxel)`` px, or 12 px without a resolution.
    near, far : str, optional
        CryoSPARC's way to say ``dilation = near`` and ``soft_edge = far - near``; excludes those two.
    edge : str, optional
        ``cosine`` (default), ``convolved``, ``gaussian``, ``quarter-cosine``, ``linear``, ``slepian``.
    style : str
        ``euclidean``, ``relion`` or ``cryodrgn``.
    resolution : str, optional
        Expected resolution, ``3.5A``.
    invert : bool
        ``1 - m``, last.
    """

    threshold: str
    lowpass: str | None = None
    butterworth: str | None = None
    rect: str | None = None
    gaussian: str | None = None
    absolute_value: bool = False
    clip_radius: str | None = None
    clip_centre: str | None = None
    hysteresis: str | None = None
    opening: str | None = None
    dust: float | None = None
    seed: str | None = None
    largest: int | None = None
    closing: str | None = None
    fill_holes: bool = False
    dilation: str = "0px"
    soft_edge: str | None = None
    near: str | None = None
    far: str | None = None
    edge: str | None = None
    style: str = "euclidean"
    resolution: str | None = None
    invert: bool = False

    def __post_init__(self):
        _canonical(self)
        if sum(getattr(self, name) is not None for name in FILTERS) > 1:
            given = [name for name in FILTERS if getattr(self, name) is not None]
            raise UsageError(f"one filter before the threshold at the most, got {' and '.join(given)}")
        if (self.near is None) != (self.far is None):
            raise UsageError("near and far belong together: give both")
        if self.near is not None:
            if self.soft_edge is not None or units.length(self.dilation).value:
                raise UsageError("near and far say the same as dilation and soft edge: give one pair or the other")
            if self.style != "euclidean":
                raise UsageError(f"near and far are distances from the thresholded map, not for style {self.style}")

    @property
    def hash(self):
        """First 16 hex digits of the SHA-256 of the recipe as canonical JSON.

        Later fields count only where they are set, so that the hashes in files made without them hold.
        """
        values = {name: value for name, value in self.to_dict().items() if value is not None or name not in LATER}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self):
        """Every field by name, as plain values."""
        return asdict(self)

    def to_json(self):
        """JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_toml(self):
        """TOML text; fields that are not set are left out."""
        return "".join(f"{k} = {json.dumps(v)}\n" for k, v in self.to_dict().items() if v is not None)

    @classmethod
    def from_dict(cls, values):
        """A recipe from a mapping; an unknown key is an error."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise UsageError(f"unknown key in recipe: {', '.join(unknown)}")
        if values.get("threshold") is None:
            raise UsageError(f"a mask needs a threshold: {THRESHOLDS}")
        return cls(**values)


def loads(text, form="json"):
    """Fields of a recipe from JSON or TOML text; a mask's provenance JSON gives the recipe in it.

    Parameters
    ----------
    text : str
    form : str
        ``json`` or ``toml`` (Python 3.11 or newer).

    Returns
    -------
    dict
        For :meth:`MaskRecipe.from_dict`.
    """
    try:
        values = _tomllib().loads(text) if form == "toml" else json.loads(text)
    except ValueError as error:
        raise UsageError(f"not a recipe in {form.upper()}: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("recipe"), dict):
        values = values["recipe"]
    if not isinstance(values, dict):
        raise UsageError(f"a recipe is a table of named values, got {type(values).__name__}")
    return values


def preset(name):
    """Fields of a named recipe, see ``PRESETS``; ``cryosparc-v5`` needs a resolution: ``cryosparc-v5:3.5A``."""
    name, colon, argument = name.partition(":")
    if name == "cryosparc-v5" and argument:
        resolution = units.angstrom(argument, "preset resolution")
        return {
            "threshold": "0.2max",
            "near": str(units.Length(2 * resolution, "A")),
            "far": str(units.Length(5 * resolution, "A")),
        }
    known = {
        "cryosparc-v4": {"threshold": "0.2max", "near": "6A", "far": "14A"},
        "subtraction": {"dilation": "0px"},
        "glycoprotein": {"dilation": "6px", "soft_edge": "25px"},
    }
    if name not in known or colon:
        raise UsageError(
            f"preset must be one of {', '.join(PRESETS)} (RES such as 3.5A), got {name + colon + argument!r}"
        )
    return known[name]


def parse_threshold(text):
    """Split a threshold into ``(kind, number)``.

    The kinds are ``value``, ``max``, ``sigma``, ``percentile``, ``volume``, ``mass``, ``fdr``, and, with None for a
    number, ``otsu`` and ``auto``. ``max:0.2`` is ``0.2max``, ``sigma:3`` is ``3sigma``.
    """
    plain = "" if isinstance(text, bool) else str(text).strip()
    if plain in LEVELS:
        return plain, None
    match = re.fullmatch(rf"({_NUMBER})\s*(max|sigma|)", plain)
    number, kind = match.groups() if match else (None, None)
    if match is None and (match := re.fullmatch(rf"(max|sigma|{'|'.join(RANKS)})\s*:\s*({_NUMBER})", plain)):
        kind, number = match.groups()
    if match is None or not math.isfinite(float(number)):
        raise UsageError(f"threshold must be {THRESHOLDS}; got {text!r}")
    low, high = RANKS.get(kind, (-math.inf, math.inf))
    if not low < float(number) < high:
        limits = f"> {low}" if high == math.inf else f"between {low} and {high}"
        raise UsageError(f"threshold {kind} must be {limits}, got {text!r}")
    return kind or "value", float(number)


def parse_position(text, what="position"):
    """Split ``178.2,178.6,180.9px`` (x,y,z) into ``((z, y, x), unit)``.

    The unit is ``px`` from the corner (also where none is given), ``A`` in the header's frame, or ``centre``, px from
    the box centre; :func:`gpumask.positions.point` knows where that is in a map.
    """
    match = _POSITION.fullmatch(str(text))
    numbers = [float(part) for part in match.groups()[:3]] if match else [math.inf]
    if not all(map(math.isfinite, numbers)):
        raise UsageError(
            f"{what} must be x,y,zpx from the corner, x,y,zA in the header's frame or x,y,zcentre, got {text!r}"
        )
    return tuple(reversed(numbers)), {"": "px", "center": "centre", "Å": "A", "\u212b": "A"}.get(match[4], match[4])


def parse_edge(text):
    """Split the name of an edge into ``(profile, parameter)``; only ``slepian:NW`` has a parameter."""
    name, colon, number = str(text).partition(":")
    if name not in EDGES or (colon and name != "slepian"):
        raise UsageError(f"edge must be one of {', '.join(EDGES)} (or slepian:NW), got {text!r}")
    if name != "slepian":
        return name, None
    try:
        bandwidth = float(number) if colon else SLEPIAN_BANDWIDTH
    except ValueError:
        bandwidth = math.nan
    if not 1 <= bandwidth <= 3:
        raise UsageError(f"slepian bandwidth NW must be between 1 and 3, got {number!r}")
    return name, bandwidth


def parse_butterworth(text):
    """Split ``15A:8`` into (resolution in Å, order)."""
    resolution, colon, order = str(text).partition(":")
    if colon and not re.fullmatch(r"\d+", order):
        raise UsageError(f"Butterworth filter must be such as 15A or 15A:8, got {text!r}")
    order = int(order) if colon else 8
    if order < 1:
        raise UsageError(f"Butterworth order must be >= 1, got {order}")
    return units.angstrom(resolution, "Butterworth resolution"), order


def lengths(recipe, voxel_size):
    """Dilation and soft edge of a recipe in px, with its defaults."""
    if recipe.near is not None:
        near, far = (units.to_px(getattr(recipe, n), voxel_size, n) for n in ("near", "far"))
        if far < near:
            raise UsageError(f"far must be >= near, got near {recipe.near} and far {recipe.far}")
        return _short(near, "near"), _short(units.snap(far - near), "far")
    dilation = units.length(recipe.dilation, "dilation")
    radius = _short(units.to_px(dilation, voxel_size, "dilation"), "dilation")
    if recipe.style == "cryodrgn" and dilation.unit == "A":
        radius = float(dilation.value // units.pixel_edge(voxel_size))  # as cryoDRGN: 11 Å at 1.1 Å/px are 9 px
    if recipe.soft_edge is not None:
        return radius, _short(units.to_px(recipe.soft_edge, voxel_size, "soft edge"), "soft edge")
    if recipe.resolution is None:
        return radius, units.to_px(DEFAULT_SOFT_EDGE, voxel_size, "the default soft edge")
    minimum = units.minimum_soft_edge_px(units.angstrom(recipe.resolution), voxel_size)
    return radius, _short(float(-(-minimum // 1)), "5 x resolution")


def _short(pixels, what):
    if abs(pixels) > units.LONGEST:
        raise UsageError(f"{what} must be at most {units.LONGEST:g} px, got {pixels:g} px")
    return pixels


def _canonical(recipe):
    """Check every field and bring it to one spelling, so that equal recipes have equal hashes."""

    def put(name, value):
        object.__setattr__(recipe, name, value)

    for name in ("threshold", "hysteresis"):
        if getattr(recipe, name) is not None or name == "threshold":
            put(name, _spelled(*parse_threshold(getattr(recipe, name))))
    for name in ("seed", "clip_centre"):
        if getattr(recipe, name) is not None:
            position, unit = parse_position(getattr(recipe, name), name.replace("_", " "))
            put(name, ",".join(map(units.plain, units.xyz(position))) + unit)
    if recipe.clip_centre is not None and recipe.clip_radius is None:
        raise UsageError("clip centre needs a clip radius")
    for name in ("lowpass", "rect", "gaussian", "resolution"):
        if getattr(recipe, name) is not None:
            put(name, str(units.Length(units.angstrom(getattr(recipe, name), name), "A")))
    if recipe.butterworth is not None:
        resolution, order = parse_butterworth(recipe.butterworth)
        put("butterworth", f"{units.Length(resolution, 'A')}:{order}")
    for name in ("dilation", "soft_edge", "near", "far", "opening", "closing", "clip_radius"):
        if getattr(recipe, name) is not None:
            length = units.length(getattr(recipe, name), name.replace("_", " "))
            if name != "dilation" and length.value < 0:
                raise UsageError(f"{name.replace('_', ' ')} must be >= 0, got {length}")
            put(name, str(length))
    if recipe.dilation is None:
        raise UsageError("dilation must be a length such as 5px or 7A; 0px for none")
    for name in ("absolute_value", "fill_holes", "invert"):
        if not isinstance(getattr(recipe, name), bool):
            raise UsageError(f"{name.replace('_', ' ')} must be true or false, got {getattr(recipe, name)!r}")
    if recipe.edge is not None:
        name, bandwidth = parse_edge(recipe.edge)
        put("edge", name if bandwidth is None else f"{name}:{units.plain(bandwidth)}")
    if recipe.style not in STYLES:
        raise UsageError(f"style must be one of {', '.join(STYLES)}, got {recipe.style!r}")
    if recipe.largest is not None and not (_is(recipe.largest, Integral) and recipe.largest >= 1):
        raise UsageError(f"number of components to keep must be >= 1, got {recipe.largest!r}")
    if recipe.largest is not None:
        put("largest", int(recipe.largest))
    if recipe.dust is not None:
        if not (_is(recipe.dust, Real) and 0 <= recipe.dust < math.inf):
            raise UsageError(f"dust must be a volume >= 0 Å³, got {recipe.dust!r}")
        put("dust", float(recipe.dust))
    if parse_threshold(recipe.threshold)[0] == "auto" and recipe.largest is recipe.dust is recipe.seed is None:
        put("largest", 1)  # specks of noise lie above half the density of many maps; one particle does not


def _spelled(kind, number):
    """The one spelling of a parsed threshold."""
    if number is None:
        return kind
    if kind in RANKS:
        return f"{kind}:{units.plain(number)}"
    return units.plain(number) + ("" if kind == "value" else kind)


def _is(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)


def _tomllib():
    try:
        import tomllib
    except ImportError as error:
        raise UsageError("recipes in TOML need Python 3.11 or newer; write the recipe as JSON") from error
    return tomllib
