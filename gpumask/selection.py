"""Atoms of a model chosen in words: ``glycan chain A,B``, ``not (water or ion)``, ``protein residue 10-20,35``."""

import re

import numpy as np

from gpumask.errors import InputRefused, UsageError
from gpumask.residues import LISTED

GROUPS = {"polymer": ("protein", "nucleic")}  # words for several kinds
LISTS = ("chain", "residue", "atom")  # words with a list behind them
OTHERS = ("all", "sugar", "hydrogen")
BETWEEN = ("and", "or", "not")
DEEPEST = 100  # parentheses, and nots in a row
LONGEST = 200  # characters of a selection that a message holds
_RANGE = re.compile(r"(-?\d+)(?:-(-?\d+))?")
_TOKEN = re.compile(r"[()]|[^\s()]+")


def atoms(model, words, kinds):
    """Which atoms of a model the words mean.

    Parameters
    ----------
    model : Model
        See :mod:`gpumask.models`.
    words : str
        Kinds (``protein``, ``glycan``, …), ``polymer`` (protein and nucleic), ``sugar`` (glycans and free sugars),
        ``hydrogen``, ``all``; ``chain A,B``, ``chain _`` where the file names none; ``residue NAG,BMA`` (names),
        ``residue 10-20,35,52A`` (the author's numbers, with insertion codes; a number is a name too where there is
        one); ``atom CA,CB``; ``not``, ``and``, ``or`` and parentheses. Words side by side mean ``and``, which binds
        tighter than ``or``. Names of chains are as in the file, all else in either case.
    kinds : tuple of str
        The kinds that ``model.kinds`` counts.

    Returns
    -------
    array of bool, shape (atoms,)

    Raises
    ------
    UsageError
        Words that are not understood, and where.
    InputRefused
        Part of a list that the model does not hold: no such chain, residue or name of an atom.
    """
    return _Words(model, words, kinds).chosen()


class _Words:
    """A recursive descent: any → every → one."""

    def __init__(self, model, text, kinds):
        if not isinstance(text, str):
            raise UsageError(f"a selection must be text such as 'protein or glycan', got {text!r}")
        self.model, self.kinds = model, kinds
        self.told = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        self.tokens = _TOKEN.findall(re.sub(r"\s*,\s*", ",", text))
        self.next = self.depth = 0

    def chosen(self):
        found = self.any()
        if self.next < len(self.tokens):
            raise self.error(f"')' without '(' before word {self.next + 1}")
        return found

    def any(self):
        found = self.every()
        while self.take("or"):
            found = found | self.every()
        return found

    def every(self):
        found = self.one()
        while self.take("and") or (self.next < len(self.tokens) and self.word() not in ("or", ")")):
            found = found & self.one()
        return found

    def one(self):
        word = self.word()
        self.next += 1
        if word in ("not", "("):
            return self.nested(word)
        if word == "all":
            return np.ones(len(self.model.numbers), bool)
        if word in LISTS:
            return getattr(self, word)(self.items(word))
        if word == "sugar":
            return self.of_residues(lambda residue: residue.sugar)
        if word == "hydrogen":
            return self.model.numbers == 1
        kinds = GROUPS.get(word) or [kind for kind in self.kinds if word in (kind, f"{kind}s")]
        if kinds:
            return np.isin(self.model.kinds, [self.kinds.index(kind) for kind in kinds])
        known = ", ".join([*self.kinds, *GROUPS, *OTHERS, *(f"{name} …" for name in LISTS)])
        what = f"{self.tokens[self.next - 1]!r}, word {self.next}" if word else "the end"
        raise self.error(f"{what}; known are {known}, {', '.join(BETWEEN)}")

    def nested(self, word):
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(f"more than {DEEPEST} parentheses, or 'not', within one another")
        found = ~self.one() if word == "not" else self.any()
        if word == "(" and not self.take(")"):
            raise self.error("'(' without ')'")
        self.depth -= 1
        return found

    def chain(self, names):
        self.check_held("chain", names, {residue.chain for residue in self.model.residues})
        return self.of_residues(lambda residue: residue.chain in names)

    def residue(self, items):
        found = {item: self.described(item.upper()) for item in items}
        missing = [item for item, chosen in found.items() if not any(chosen)]
        self.check_held("residue", missing, {residue.name for residue in self.model.residues})
        return np.any(list(found.values()), axis=0)[self.model.residue]

    def described(self, item):
        """Per residue whether an item of a list means it."""
        numbers = _RANGE.fullmatch(item)
        low, high = (int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else (1, 0)
        if numbers and low > high:
            raise self.error(f"the range {low}-{high}, which goes down")
        return [
            low <= residue.number <= high
            or item in (residue.name.upper(), f"{residue.number}{residue.insertion}".upper())
            for residue in self.model.residues
        ]

    def atom(self, names):
        names = [name.upper() for name in names]
        self.check_held("atom", names, set(self.model.names.tolist()))
        return np.isin(self.model.names, names)

    def check_held(self, what, items, held):
        missing = [item for item in items if item not in held]
        if missing:
            more = ",…" if len(held) > LISTED else ""
            raise InputRefused(
                f"{self.model.name}: has no {what} {missing[0]!r}, which the selection {self.told!r} names; it has "
                f"{','.join(sorted(held)[:LISTED])}{more}"
            )

    def of_residues(self, chosen):
        """Per atom what `chosen` says of its residue."""
        return np.array([bool(chosen(residue)) for residue in self.model.residues], bool)[self.model.residue]

    def items(self, word):
        items = self.word(), self.next < len(self.tokens) and self.tokens[self.next].split(",")
        if not items[0] or items[0] in "()" or not all(items[1]):
            raise self.error(f"{word!r} without a list such as {word} {'10-20,35' if word == 'residue' else 'A,B'}")
        for item in items[1]:
            if item.lower() in (*BETWEEN, *LISTS):
                raise self.error(f"{item!r} in the list of {word!r}; a comma is between the parts of a list only")
        self.next += 1
        return items[1]

    def take(self, word):
        found = self.word() == word
        self.next += found
        return found

    def word(self):
        """The next word in lower case, empty at the end."""
        return self.tokens[self.next].lower() if self.next < len(self.tokens) else ""

    def error(self, what):
        return UsageError(f"the selection {self.told!r} is not understood: {what}")
