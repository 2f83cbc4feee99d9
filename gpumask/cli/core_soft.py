"""The options of core-soft masks, which several verbs have, and what is said of such a mask."""

from gpumask.cli import options

OPTIONS = ("half1", "half2", "onset", "assume_unmasked")


def add(parser, dilation):
    """The group of options; `dilation` says what the default is."""
    group = parser.add_argument_group("glycoproteins")
    group.add_argument(
        "--core-soft",
        action="store_true",
        help=f"to the protein's edge ({dilation}), then a very soft edge through the glycans (25px, or 5 x resolution "
        "where that is more); tells what it keeps beside masks that cover the glycans",
    )
    group.add_argument("--half1", metavar="HALF1", help="half map; tells the leak of all of them")
    group.add_argument("--half2", metavar="HALF2", help="the other one; found by its name where left out")
    group.add_argument("--onset", metavar="WHERE", help="of the random phases, as of spectrum")
    group.add_argument("--assume-unmasked", action="store_true", help="use half maps that seem to be masked")


def leaks(arguments):
    """The half maps that are given, for `job`; None without ``--core-soft``."""
    from gpumask.job import core_soft

    given = options.given(arguments, OPTIONS)
    return core_soft.leaks(arguments.core_soft, given, options.voxel_size(arguments.voxel_size))


def show(facts, size):
    """Print the masks side by side; `size` is [x, y, z] in Å."""
    from gpumask import units

    masks = [(head, facts["masks"][name]) for name, head in HEADS if facts["masks"][name] is not None]
    told = [one for _, one in masks]
    zyx = size[::-1]
    rows = [("", [head for head, _ in masks])]
    for name in ("dilation", "soft_edge"):
        rows.append((name.replace("_", " "), [units.both(one[f"{name}_px"], zyx) for one in told]))
    for body in ("core", "weak"):
        if facts[body] is not None:
            rows.append((facts[body], []))
            for share, text in SHARES:
                rows.append((f"  {text}", [f"{100 * one[body][share]:.1f} %" for one in told]))
            rows.append(("  mean of the mask", [f"{one[body]['weighted']:.2f}" for one in told]))
    if facts["half_maps"] is None:
        leak = ["not told: give the half maps, --half1 (and --half2)"]
        rows.append(("leak", leak))
    else:
        rows += _leak(facts, told)
    first = max(len(name) for name, values in rows if values)
    across = max(len(text) for _, values in rows if len(values) == len(masks) for text in values)
    for name, values in rows:
        print(f"{name:<{first}}" + "".join(f"  {text:<{across}}" for text in values).rstrip() if values else name)
    if len(masks) == 1:
        print("no mask to compare with: there are no glycans, or no weaker density, to cover")


HEADS = (("core_soft", "core-soft"), ("cover", "covering both"), ("cover_same_edge", "both, same edge"))
SHARES = (("kept", "kept"), ("edge", "in the edge"), ("cut", "cut"))


def _leak(facts, told):
    resolution = facts["resolution_angstrom"]
    rows = []
    if resolution is None:
        rows.append(("leak Λ", ["not told: it is a mean up to a resolution, --resolution 3.5A"]))
    else:
        rows.append(("leak Λ", [_number(one["leak_mean"], ".2g") for one in told]))
        rows.append((f"FSC it makes at {resolution:g} Å", [_number(one["predicted_fsc"], ".2g") for one in told]))
    rows.append(("k_leak (1/Å)", [_number(one["k_leak"], ".4f") for one in told]))
    rows.append(("mask-limited resolution", [_number(one["mask_limited_resolution"], ".2f", " Å") for one in told]))
    return rows


def _number(value, form, unit=""):
    return "-" if value is None else f"{value:{form}}{unit}"
