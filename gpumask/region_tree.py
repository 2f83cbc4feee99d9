"""The tree of regions, and what operations make of it: numbers only, so that they are replayed without an array."""

from dataclasses import dataclass, replace

from gpumask.errors import InputRefused, UsageError

OPERATIONS = ("group", "ungroup", "step-back", "hide", "show", "delete", "select")


@dataclass(frozen=True)
class State:
    """Where the operations in force have led; numbers only.

    Attributes
    ----------
    children : dict
        Number of each group → its members, regions of any level.
    top : frozenset of int
        The regions at the top of the tree, deleted ones left out.
    hidden, selection : frozenset of int
        Of those.
    deleted : frozenset of int
    highest : int
        The highest number that any region has or had.
    """

    children: dict
    top: frozenset
    hidden: frozenset = frozenset()
    selection: frozenset = frozenset()
    deleted: frozenset = frozenset()
    highest: int = 0


def start(count, groups):
    """The :class:`State` of leaves 1…`count` and their groups (:class:`gpumask.watershed.Group`), nothing done."""
    children = {group.number: tuple(group.children) for group in groups}
    inside = {child for members in children.values() for child in members}
    top = frozenset(number for number in (*range(1, count + 1), *children) if number not in inside)
    return State(children, top, highest=max([count, *children]))


def applied(state, operation):
    """The :class:`State` after an operation.

    Parameters
    ----------
    state : State
    operation : dict
        ``do``, one of ``OPERATIONS``; ``regions``, a list of numbers; of a group ``made``, its number, one more than
        any before; ``show``, where hiding some shows others.

    Raises
    ------
    UsageError
        An unknown operation, or regions that are not at the top of the tree.
    """
    word, numbers = operation.get("do"), operation.get("regions")
    if word not in OPERATIONS:
        raise UsageError(f"unknown operation {word!r}; there are {', '.join(OPERATIONS)}")
    if "show" in operation and word != "hide":
        raise UsageError(f"{word}: shows no regions; only hide does")
    numbers, shown = listed(numbers), listed(operation.get("show", []))
    if not (numbers | shown) <= state.top:
        missing = sorted((numbers | shown) - state.top)
        raise UsageError(f"{word}: {told(missing)} not at the top of the tree")
    if word == "select":
        return replace(state, selection=numbers)
    if word == "hide":
        return replace(state, hidden=state.hidden - shown | numbers)
    if word == "show":
        return replace(state, hidden=state.hidden - numbers)
    without = {
        "top": state.top - numbers,
        "hidden": state.hidden - numbers,
        "selection": state.selection - numbers,
    }
    if word == "delete":
        return replace(state, **without, deleted=state.deleted | numbers)
    if word == "group":
        made = operation.get("made")
        if isinstance(made, bool) or not isinstance(made, int) or made != state.highest + 1 or len(numbers) < 2:
            raise UsageError(f"group: two or more regions make region {state.highest + 1}, got {made!r}")
        without |= {"top": without["top"] | {made}, "selection": frozenset([made])}
        return replace(state, **without, children=state.children | {made: tuple(sorted(numbers))}, highest=made)
    if not numbers <= state.children.keys():
        raise UsageError(f"{word}: {told(sorted(numbers - state.children.keys()))} not a group")
    members = {number: frozenset(state.children[number]) for number in numbers}
    children = {group: inside for group, inside in state.children.items() if group not in numbers}
    freed = frozenset().union(*members.values())
    hidden = frozenset().union(*(members[number] for number in numbers & state.hidden))
    return replace(
        state,
        children=children,
        top=without["top"] | freed,
        hidden=without["hidden"] | hidden,
        selection=freed if word == "ungroup" else without["selection"],
    )


def filled(groups, leaves):
    """The groups of a tree that hold a leaf, without members that hold none, each after its members.

    Parameters
    ----------
    groups : sequence of watershed.Group
    leaves : iterable of int

    Raises
    ------
    InputRefused
        Two regions of one number, one region in two groups, or groups that are in each other.
    """
    members = {group.number: group for group in groups}
    if len(members) != len(groups) or members.keys() & set(leaves):
        raise InputRefused("two regions have one number, or a group has voxels of its own")
    found, waiting = [], dict(members)
    good, settled = set(leaves), set(leaves) | {n for g in groups for n in g.children if n not in members}
    while waiting:
        ready = [number for number, group in waiting.items() if settled.issuperset(group.children)]
        if not ready:
            raise InputRefused(f"the groups {told(waiting)} are no tree: each is in another of them")
        for number in ready:
            group = waiting.pop(number)
            settled.add(number)
            children = tuple(sorted(n for n in group.children if n in good))
            if children:
                found.append(group._replace(children=children))
                good.add(number)
    inside = [child for group in found for child in group.children]
    if len(inside) != len(set(inside)):
        raise InputRefused("a region is in two groups")
    return found


def worded(operation):
    """An operation in words.

    Examples
    --------
    >>> worded({"do": "group", "regions": [3, 5], "made": 70})
    'group 3, 5 into 70'
    """
    word, numbers = operation["do"], told(operation["regions"])
    if word == "group":
        return f"group {numbers} into {operation['made']}"
    if word == "step-back":
        return f"take back a step of smoothing: ungroup {numbers}"
    if "show" in operation:
        return f"show only {told(operation['show'])}"
    return f"{word} {numbers}"


def told(numbers):
    """Numbers as people read them.

    Examples
    --------
    >>> told([1, 2, 3, 5, 9, 8])
    '1 to 3, 5, 8, 9'
    >>> told([])
    'none'
    """
    runs = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = []
    for low, high in runs:
        texts += [f"{low} to {high}"] if high - low > 1 else [str(n) for n in range(low, high + 1)]
    if len(texts) > 12:
        texts = [*texts[:10], "…", texts[-1]]
    return ", ".join(texts) or "none"


def listed(numbers):
    """A list of whole numbers as a frozenset; refused (UsageError) where it is none."""
    if not isinstance(numbers, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        raise UsageError(f"an operation is for a list of whole numbers, got {numbers!r:.60}")
    return frozenset(numbers)
