"""Which row of a sweep to take for a goal, and why the others lose."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from gpumask import sweeps
from gpumask.errors import InputRefused


@dataclass(frozen=True)
class Policy:
    """Every number that a pick depends on.

    Attributes
    ----------
    leak_mean : float
        Λ that is let pass at the most.
    fsc_at_resolution : float
        FSC that the mask may make by itself at the resolution.
    anisotropy_db : float
        In a cone of 20° at the resolution.
    tie : float
        Relative: values of d' this close are one.
    error_tie : float
        Relative, of the error of a subtraction.
    threshold_change : float
        Relative: how far the threshold is moved to see what depends on it.
    """

    leak_mean: float = 0.05
    fsc_at_resolution: float = 0.05
    anisotropy_db: float = sweeps.ANISOTROPY
    tie: float = 0.01
    error_tie: float = 0.05
    threshold_change: float = 0.2


POLICY = Policy()


class Goal(NamedTuple):
    """What a mask is for: what is searched, in multiples of the resolution, and whose signal is the target."""

    dilations: tuple
    soft_edges: tuple
    target: str  # "particle": all that is connected to the base; "base": the base itself
    criterion: str


BEST = "highest d' with Λ <= {leak_mean:g}, FSC_n <= {fsc_at_resolution:g} at the resolution, 0 on the box faces, at "
BEST += "most {anisotropy_db:g} dB in one direction; d' within {tie:.0%} is a tie, which the smaller dilation wins"
EXACT = "least error of the subtracted images, what is left of the part under the mask and what is taken of the rest; "
EXACT += "an error within {error_tie:.0%} of the least is a tie, which the lowest Λ wins; 0 on the box faces"
GOALS = {
    "global": Goal((0, 1, 2, 3, 4), (1, 2, 3.5, 5, 7, 10), "particle", BEST),
    "local": Goal((-1, 0, 1, 2, 3), (1, 2, 3.5, 5, 7, 10), "base", BEST),
    "subtraction": Goal((-1, 0, 1, 2), (1, 2, 3.5, 5), "base", EXACT),
    "glycoprotein": Goal((0, 1, 2, 3, 4), (2, 3.5, 5, 7, 10, 14), "particle", BEST),
}


@dataclass(frozen=True)
class Choice:
    """The pick among the rows of a sweep; see :func:`choose`.

    Attributes
    ----------
    index : int
        Of the picked row.
    passes : bool
        False where no row does what is asked: the pick is then the one with the lowest Λ of those with d' > 0 (an
        error < 1, for a subtraction) that are 0 at the faces of the box, if there are such.
    fails : list of str
        What the pick does not do.
    front : list of int
        Rows within the box that no other beats in both d' (in the error, for a subtraction) and Λ, from low Λ to
        high.
    reasons : list of str or None
        Why each other row loses; None for the pick.
    """

    index: int
    passes: bool
    fails: list
    front: list
    reasons: list


def choose(sweep, goal="global", policy=POLICY):
    """The pick among the rows of a sweep with half maps, and why the others lose.

    Parameters
    ----------
    sweep : Sweep
        With a resolution.
    goal : str
        See :func:`advise`; ``subtraction`` has another criterion than the rest.
    policy : Policy

    Returns
    -------
    Choice

    Raises
    ------
    InputRefused
        A sweep without half maps or a resolution, or with no mask that has d' > 0 (an error < 1, for a subtraction) or,
        but for a subtraction, a Λ.
    """
    judge = _Judge(sweep, goal, policy)
    index, passes = judge.pick()
    reasons = [None if i == index else judge.reason(i, index) for i in range(len(sweep.rows))]
    return Choice(index, passes, judge.fails(index), judge.front(), reasons)


def front(sweep, goal="global"):
    """Rows within the box that no other beats in both d' (in the error, for a subtraction) and Λ.

    Parameters
    ----------
    sweep : Sweep
        Without half maps no row is on it.
    goal : str
        See :func:`choose`.

    Returns
    -------
    list of int
        From low Λ to high.
    """
    return _Judge(sweep, goal, POLICY).front()


def fails(sweep, goal="global", policy=POLICY):
    """What of the criterion of a goal each row of a sweep fails.

    Parameters
    ----------
    sweep : Sweep
        With half maps.
    goal, policy
        See :func:`choose`.

    Returns
    -------
    list of list of str
    """
    judge = _Judge(sweep, goal, policy)
    return [judge.fails(i) for i in range(len(sweep.rows))]


def no_leak(done):
    """Why no mask of a sweep has a Λ."""
    return (
        f"no mask has a Λ: it is told of shells from the third past the onset, {done.onset['resolution']:.3g} Å, to "
        f"the resolution, {done.resolution:.3g} Å, and none is left; give a coarser onset or a finer resolution"
    )


class _Judge:
    """The rows of a sweep by the criterion of a goal; their merit is d', or for a subtraction 1 less the error: above 0
    where a mask is better than none."""

    def __init__(self, sweep, goal, policy):
        self.sweep, self.rows, self.policy = sweep, sweep.rows, policy
        self.subtraction = goal == "subtraction"
        self.errors = [detail["subtraction_error"] for detail in sweep.details]

    def fails(self, i):
        """What of the criterion row i does not do, in words."""
        row, policy, merit = self.rows[i], self.policy, self._merit(i)
        if "empty" in row["flags"]:
            return ["nothing is left after erosion"]
        found = ["it meets the faces of the box"] if "touches_border" in row["flags"] else []
        if merit is None:
            found.append("its error is not defined" if self.subtraction else "its d' is not defined")
        elif merit <= 0 and self.subtraction:
            found.append(f"error {self.errors[i]:.3f} is not below 1, that of subtracting nothing")
        elif merit <= 0:
            found.append(f"d' {merit:.2f} is not above 0: it holds more of the rest than of the target")
        if self.subtraction:
            return found
        at = f" at {self.sweep.resolution:.3g} Å"
        limits = (
            ("leak_mean", "Λ", policy.leak_mean, ""),
            ("fsc_predicted_at_resolution", "its own FSC", policy.fsc_at_resolution, at),
        )
        for name, what, limit, at in limits:
            if row[name] is None:
                found.append(f"{what} is not defined{at}")
            elif row[name] > limit:
                found.append(f"{what} {row[name]:.3f} is over {limit:g}{at}")
        if row["anisotropy_db"] is not None and row["anisotropy_db"] > policy.anisotropy_db:  # None: there is no power
            found.append(f"{row['anisotropy_db']:.1f} dB in one direction is over {policy.anisotropy_db:g}")
        return found

    def pick(self):
        """Index of the best row, and whether it fails nothing."""
        told = self._told()
        passing = [i for i in told if not self.fails(i)]
        if not passing:
            inside = [i for i in told if self._inside(i)] or told
            return min(inside, key=lambda i: (*self._leaks(i), -self._merit(i))), False
        if self.subtraction:
            least = min(self.errors[i] for i in passing)
            tied = [i for i in passing if self.errors[i] <= least * (1 + self.policy.error_tie)]
            return min(tied, key=lambda i: (*self._leaks(i), *self._size(i))), True
        best = max(map(self._merit, passing))
        tied = [i for i in passing if self._merit(i) >= best * (1 - self.policy.tie)]
        return min(tied, key=lambda i: (self.rows[i]["dilation_px"], *self._leaks(i), *self._size(i))), True

    def front(self):
        """Rows within the box that no other beats in both merit and Λ."""
        told = [
            i
            for i, row in enumerate(self.rows)
            if self._merit(i) is not None and row["leak_mean"] is not None and self._inside(i)
        ]
        order = sorted(told, key=lambda i: (*self._leaks(i)[:1], -self._merit(i), *self._size(i)))
        front = []
        for i in order:
            if not front or self._merit(i) > self._merit(front[-1]):
                front.append(i)
        return front

    def reason(self, i, picked):
        """Why row i loses against the picked one."""
        row, pick = self.rows[i], self.rows[picked]
        fails, leaks = self.fails(i), f"Λ {self._shown(i)} against {self._shown(picked)}"
        if fails and self.fails(picked) and self._counts(i) and self._inside(i) >= self._inside(picked):
            return f"{leaks}, where no mask does all that is asked; this one: {'; '.join(fails)}"
        if fails:
            return "; ".join(fails)
        if self.subtraction:
            told, least = self.errors[i], self.errors[picked]
            text = f"error {told:.3f} against {least:.3f}"
            return text if told > least * (1 + self.policy.error_tie) else f"{text}, and {leaks}"
        told, best = row["detectability"], pick["detectability"]
        text = f"d' {told:.2f} against {best:.2f} ({told / best - 1:+.1%})"
        if told < best * (1 - self.policy.tie):
            return text
        if row["dilation_px"] > pick["dilation_px"]:
            return f"{text}: no better, with a dilation of {row['dilation_px']:g} px against {pick['dilation_px']:g} px"
        return f"{text}: no better, with {leaks}"

    def _told(self):
        """Rows that count; refused where there are none."""
        if self.sweep.onset is None or self.sweep.resolution is None:
            raise InputRefused("a pick needs d' and Λ of masks; sweep with unmasked half maps and a resolution")
        told = [i for i in range(len(self.rows)) if self._counts(i)]
        if not told:
            if all("empty" in row["flags"] for row in self.rows):
                raise InputRefused("nothing is left of any mask after erosion; search dilations above those")
            best = max((merit for i in range(len(self.rows)) if (merit := self._merit(i)) is not None), default=None)
            raise InputRefused(no_leak(self.sweep) if best is not None and best > 0 else self._no_signal(best))
        return told

    def _no_signal(self, best):
        wanted = "leaves an error below 1, that of subtracting nothing" if self.subtraction else "has a d' above 0"
        best = 1 - best if self.subtraction and best is not None else best
        came = "it is not defined for any" if best is None else f"the best has {best:.3g}"
        return (
            f"no mask {wanted}, {came}: the half maps share too little of the target below "
            f"{self.sweep.onset['resolution']:.3g} Å, the onset, or every mask holds more of the rest; "
            "search smaller dilations and edges, or give another base, region or onset"
        )

    def _counts(self, i):
        """Whether a row is better than no mask and has, where that counts, a Λ."""
        merit = self._merit(i)
        return merit is not None and merit > 0 and (self.subtraction or self.rows[i]["leak_mean"] is not None)

    def _inside(self, i):
        return "touches_border" not in self.rows[i]["flags"]

    def _merit(self, i):
        if not self.subtraction:
            return self.rows[i]["detectability"]
        return None if self.errors[i] is None else 1 - self.errors[i]

    def _leaks(self, i):
        """Λ, and what parts those that have the same."""
        names = ("leak_mean", "fsc_predicted_at_resolution")
        return tuple(math.inf if self.rows[i][name] is None else self.rows[i][name] for name in names)

    def _shown(self, i):
        leak = self.rows[i]["leak_mean"]
        return "not defined" if leak is None else f"{leak:.3f}"

    def _size(self, i):
        row = self.rows[i]
        return row["dilation_px"], row["soft_edge_px"], row["edge"], row["threshold"]
