"""Options that several verbs share, and how their texts are read."""


def add_half_maps(parser):
    """HALF1, HALF2 and the mask."""
    parser.add_argument("half1", metavar="HALF1", help="unmasked, unfiltered half map (MRC/CCP4, .gz and .bz2 too)")
    parser.add_argument(
        "half2", metavar="HALF2", nargs="?", help="the other one; found by its name (half1 → half2) where left out"
    )
    parser.add_argument("--mask", metavar="MASK", help="mask on the grid of the half maps")


def add_correlation(group):
    """What the FSC is made with."""
    group.add_argument(
        "--style", metavar="STYLE", help="gpumask (default), relion, cryosparc, cryodrgn: how a resolution is read"
    )
    group.add_argument(
        "--onset",
        metavar="WHERE",
        help="randomise phases from here on: an FSC (0.8, 0.143), 0.75tight, or 20A (default: the style's)",
    )
    group.add_argument("--seed", metavar="N", type=int, help="of the random phases (default 0)")
    group.add_argument(
        "--base-lowpass", metavar="RES", help="low-pass before the loose and the tight mask are made (default 20A)"
    )
    group.add_argument(
        "--asymmetric-units", metavar="N", type=int, help="copies that a symmetry enforces (C4: 4; default 1)"
    )
    group.add_argument("--assume-unmasked", action="store_true", help="use half maps that seem to be masked")


def add_reading(group):
    """How files are read."""
    group.add_argument("--voxel-size", metavar="X[,Y,Z]", help="Å; instead of the headers'")
    group.add_argument("--nan-to", metavar="VALUE", type=float, help="replace NaN and Inf, which are refused otherwise")


def add_device(group):
    """Where the work is done."""
    group.add_argument("--device", metavar="DEVICE", help="auto (default), cpu, cuda, cuda:N")


def add_force(group):
    """What becomes of files that are there."""
    group.add_argument("--force", action="store_true", help="overwrite existing files (never an input)")


def can_draw():
    """Whether the extra ``plot`` is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


CORRELATION = ("style", "onset", "seed", "base_lowpass", "asymmetric_units", "assume_unmasked")


def given(arguments, names):
    """The options of those names that the command line gives, as keywords; others keep their defaults."""
    found = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in found.items() if value is not None and value is not False}


def voxel_size(text):
    """``1.4`` or ``1,1.4,2`` (x,y,z) as (z, y, x) in Å; None stays None."""
    from gpumask.errors import UsageError

    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.replace("Å", "").rstrip("A").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(0 < n < float("inf") for n in numbers):
        raise UsageError(f"voxel size must be one or three (x,y,z) numbers > 0 Å, got {text!r}")
    return tuple(reversed(numbers * 3 if len(numbers) == 1 else numbers))


def box(text):
    """``100`` or ``100,120,80`` (x,y,z) as (z, y, x); None stays None."""
    from gpumask.errors import UsageError

    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise UsageError(f"box must be one or three (x,y,z) whole numbers of voxels, got {text!r}")
    return tuple(reversed(numbers * 3 if len(numbers) == 1 else numbers))


def memory(text):
    """``300MB`` or ``4GB`` in bytes; None stays None."""
    from gpumask.errors import UsageError

    if text is None:
        return None
    scale = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}.get(text.lstrip("0123456789. "))
    try:
        size = float(text.rstrip("MGiB ")) * scale
    except (TypeError, ValueError):
        size = 0
    if not 0 < size < float("inf"):
        raise UsageError(f"memory must be a size such as 300MB or 4GB, got {text!r}")
    return int(size)
