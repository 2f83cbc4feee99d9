"""The residues of a coordinate file: read with gemmi (extra ``model``), and what each of them is.

Names decide first (:mod:`gpumask.residue_names`), then polymers, then the atoms: a sugar by its ring, a glycan by its
bonds, a detergent by a sugar with an alkyl chain. :mod:`gpumask.models` says what the kinds mean.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from gpumask import residue_names
from gpumask.errors import InputRefused, MissingExtra

KINDS = ("protein", "nucleic", "glycan", "detergent", "lipid", "ligand", "ion", "water")
# Å between atoms of two residues that are bonded: C to O, N, C or S is 1.4 to 1.85 Å, over two bonds 2.3 Å or more
BOND = 2.0
INNER_BOND = 1.8  # Å between bonded carbon, nitrogen and oxygen in a residue: 1.2 to 1.55 Å, over two bonds 2.2 or more
SINGLE_BOND = 1.45  # Å: C-C of aromatic rings and double bonds is shorter
ALKYL = 5  # carbons bonded to carbon alone; the sixth of a hexyl chain holds the glycosidic oxygen
LISTED = 8  # residues, chains or names that a message holds
NAMELESS = "_"  # the chain of residues that the file gives none
# the carbons from the anomeric one on and the oxygen that close a sugar's ring: pyranoses, furanoses
RINGS = (
    *((("C1", "C2", "C3", "C4", "C5"), "O5"), (("C2", "C3", "C4", "C5", "C6"), "O6")),
    *((("C1", "C2", "C3", "C4"), "O4"), (("C2", "C3", "C4", "C5"), "O5")),
)
# where records of a PDB file have names of residues
_NAMES_AT = {"ATOM": (17,), "HETATM": (17,), "LINK": (17, 47)}


class Residue(NamedTuple):
    """What is known of a residue; its chain and number are the author's, the chain ``_`` where it has no name.

    `kind` counts :data:`KINDS`; `sugar` is true of glycans and free sugars; `site` is the index of the protein residue
    that a glycan hangs on, -1 for all else.
    """

    chain: str
    number: int
    insertion: str
    name: str
    kind: int
    sugar: bool = False
    site: int = -1

    def __str__(self):
        return f"{self.chain} {self.name} {self.number}{self.insertion}"


class Found(NamedTuple):
    """What a file holds; see :class:`gpumask.models.Model`, whose fields these are."""

    positions: np.ndarray
    numbers: np.ndarray
    masses: np.ndarray
    names: np.ndarray
    residue: np.ndarray
    residues: tuple
    notes: tuple


def parse(data, name):
    """Atoms and residues of a PDB or mmCIF text, bytes or str; see :func:`gpumask.models.read`.

    Returns
    -------
    Found
    """
    structure = _structure(data, name)
    notes = _notes(structure, name)
    found, atoms, dropped = _residues(structure)
    if not atoms:
        raise InputRefused(f"{name}: holds no atoms; give a PDB or mmCIF file of coordinates")
    if dropped:
        atoms_are = "1 atom of a less occupied conformer is"
        if dropped > 1:
            atoms_are = f"{dropped} atoms of less occupied conformers are"
        notes.append(f"{name}: {atoms_are} left out")
    positions = np.array([(atom.pos.z, atom.pos.y, atom.pos.x) for _, atom in atoms])
    if not np.isfinite(positions).all():
        raise InputRefused(f"{name}: holds coordinates that are no numbers; repair or download it again")
    belongs = np.array([index for index, _ in atoms], np.int32)
    names = np.array([atom.name.upper() for _, atom in atoms])
    elements = np.array([atom.element.name for _, atom in atoms])
    residues = tuple(_classified(structure, found, belongs, names, elements, positions))
    free = [str(residue) for residue in residues if residue.sugar and residue.site < 0]
    if free:
        more = ", …" if len(free) > LISTED else ""
        what = "sugar hangs on no protein and counts as a ligand"
        if len(free) > 1:
            what = "sugars hang on no protein and count as ligands"
        notes.append(f"{name}: {len(free)} {what}: {', '.join(free[:LISTED])}{more}")
    return Found(
        positions=positions,
        numbers=np.array([atom.element.atomic_number for _, atom in atoms], np.int16),
        masses=np.array([atom.element.weight for _, atom in atoms]),
        names=names,
        residue=belongs,
        residues=residues,
        notes=tuple(notes),
    )


def library():
    """gemmi; refused where it is not installed (:class:`MissingExtra`)."""
    try:
        import gemmi
    except ImportError as error:
        raise MissingExtra("atomic models need gemmi: pip install 'gpumask[model]'") from error
    return gemmi


def _structure(data, name):
    """gemmi's Structure of a text, with polymers told from the rest."""
    gemmi = library()
    if isinstance(data, bytes):
        if data[208:211] == b"MAP" and b"\0" in data[:208]:
            raise InputRefused(f"{name}: is a map, not a model; give a PDB or mmCIF file of coordinates")
        if b"\0" in data[:4096]:
            raise InputRefused(f"{name}: is no text, so neither PDB nor mmCIF; convert it to one of them")
        data = data.decode("utf-8", "replace")
    data = data.removeprefix("\ufeff")
    lines = (line.strip() for line in data.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    try:
        if first.lower().startswith("data_"):
            document = gemmi.cif.read_string(data)
            tag = "_atom_site.Cartn_x"
            block = next((block for block in document if block.find_values(tag)), document[0])
            structure = gemmi.make_structure_from_block(block)
        else:
            structure = _pdb(data)
        structure.setup_entities()
    except (ValueError, RuntimeError, IndexError) as error:
        what = " ".join(str(error).split())
        raise InputRefused(f"{name}: cannot be read as PDB or mmCIF: {what}; repair or download it again") from error
    return structure


def _pdb(data):
    """gemmi's Structure of a PDB text.

    Simulation programs write names of four letters over column 21, which gemmi takes for the first letter of a chain;
    so it gets other names in their place. Where residues of protein have a letter there, it is of the chain.
    """
    gemmi = library()
    lines = data.splitlines(keepends=True)
    wide = {line[17:21] for line in lines if line.startswith(("ATOM", "HETATM")) and line[20:21].strip()}
    if any(gemmi.find_tabulated_residue(name[:3].strip()).is_amino_acid() for name in wide):
        wide = set()
    names = {f"~{number:02}": name for number, name in enumerate(sorted(wide & residue_names.WIDE))}
    if not names:
        return gemmi.read_pdb_string(data)
    short = {name: alias for alias, name in names.items()}
    for number, line in enumerate(lines):
        for start in _NAMES_AT.get(line[:6].strip(), ()):
            name = line[start : start + 4]
            if name in short:
                line = f"{line[:start]}{short[name]} {line[start + 4 :]}"
        lines[number] = line
    structure = gemmi.read_pdb_string("".join(lines))
    of_links = [end.res_id for link in structure.connections for end in (link.partner1, link.partner2)]
    for residue in (*(residue for model in structure for chain in model for residue in chain), *of_links):
        residue.name = names.get(residue.name, residue.name)
    return structure


def _notes(structure, name):
    notes = []
    if len(structure) > 1:
        notes.append(f"{name}: the first of {len(structure)} models is used")
    operators = sum(not operator.given for operator in structure.ncs)
    if operators:
        copies, are = ("copy", "is") if operators == 1 else ("copies", "are")
        notes.append(
            f"{name}: {operators} symmetry {copies} (NCS) that the file names but does not hold {are} left out"
        )
    return notes


def _residues(structure):
    """Residues, their atoms as (index of the residue, gemmi's atom), and how many atoms of other conformers there are.

    Residues here are (chain's name, gemmi's residue, polymer kind or None).
    """
    residues, atoms, dropped = [], [], 0
    for chain in structure[0] if len(structure) else ():
        polymers = _polymers(structure, chain)
        places = {}  # residues of one number where one of them has conformers
        for index, residue in enumerate(chain):
            places.setdefault(str(residue.seqid), []).append(index)
        for index, residue in enumerate(chain):
            rivals = places[str(residue.seqid)]
            several = len(rivals) > 1 and all(atom.has_altloc() for rival in rivals for atom in chain[rival])
            if several and index != max(rivals, key=lambda rival: sum(atom.occ for atom in chain[rival])):
                dropped += len(residue)
                continue
            kept = {}
            for atom in residue:
                if atom.name not in kept or atom.occ > kept[atom.name].occ:
                    kept[atom.name] = atom
            dropped += len(residue) - len(kept)
            atoms += [(len(residues), atom) for atom in kept.values()]
            residues.append((chain.name, residue, polymers.get(residue.subchain)))
    return residues, atoms, dropped


def _polymers(structure, chain):
    """``protein`` or ``nucleic`` for the subchains of a chain that are polymers."""
    gemmi, found = library(), {}
    kind = gemmi.PolymerType
    named = {
        "protein": (kind.PeptideL, kind.PeptideD, kind.CyclicPseudoPeptide),
        "nucleic": (kind.Dna, kind.Rna, kind.DnaRnaHybrid, kind.Pna),
    }
    for subchain in chain.subchains():
        if len(subchain) and subchain[0].entity_type == gemmi.EntityType.Polymer:
            entity = structure.get_entity_of(subchain)
            polymer = entity.polymer_type if entity else kind.Unknown
            if polymer in (kind.Unknown, kind.Other):
                polymer = subchain.check_polymer_type()
            found |= {subchain.subchain_id(): word for word, types in named.items() if polymer in types}
    return found


def _classified(structure, found, belongs, names, elements, positions):
    """A :class:`Residue` for each residue of :func:`_residues`."""
    starts = np.searchsorted(belongs, np.arange(len(found) + 1))

    def inside(index):
        """Names, elements and positions of a residue's heavy atoms."""
        part = slice(starts[index], starts[index + 1])
        heavy = ~np.isin(elements[part], ("H", "D"))
        return names[part][heavy], elements[part][heavy], positions[part][heavy]

    fullest = {}  # of each name, since one with atoms missing says less
    for index, (_, residue, _) in enumerate(found):
        size = starts[index + 1] - starts[index]
        if residue.name not in fullest or size > fullest[residue.name][0]:
            fullest[residue.name] = size, index
    by_name = {name: _of_name(name, *inside(index)) for name, (_, index) in fullest.items()}
    kinds = [_of_residue(residue, polymer, by_name[residue.name]) for _, residue, polymer in found]
    sugars = {}  # of each what it is bonded by; detergents that have a sugar's ring may turn out to be glycans
    for index, kind in enumerate(kinds):
        if kind in ("sugar", "detergent"):
            atoms = inside(index)
            ring = _ring(atoms[0], atoms[2])
            if ring is not None:
                sugars[index] = str(atoms[0][ring[0]])
            elif kind == "sugar":
                sugars[index] = "C2" if found[index][1].name in residue_names.KETOSES else "C1"
    sites = _sites(kinds, sugars, _bonds(structure, found, kinds, sugars, belongs, names, elements, positions))
    return [
        Residue(
            chain=chain or NAMELESS,
            number=residue.seqid.num or 0,
            insertion=residue.seqid.icode.strip(),
            name=residue.name,
            kind=KINDS.index("glycan" if index in sites else "ligand" if kind == "sugar" else kind),
            sugar=kind == "sugar" or index in sites,
            site=sites.get(index, -1),
        )
        for index, ((chain, residue, _), kind) in enumerate(zip(found, kinds, strict=True))
    ]


def _of_residue(residue, polymer, by_name):
    """The kind of a residue, or ``sugar``."""
    if by_name in ("water", "sugar") and not residue.find_atom("CA", "*"):  # also without a TER before them
        return by_name
    info = library().find_tabulated_residue(residue.name)
    if polymer or residue.het_flag == "A":
        if info.is_amino_acid() or residue.name in residue_names.CAPS:
            return "protein"
        if info.is_nucleic_acid():
            return "nucleic"
    return polymer or ("protein" if residue.name in residue_names.CAPS else by_name)


def _of_name(name, names, elements, positions):
    """The kind of the residues of a name outside of polymers, or ``sugar``; from the name, else from the atoms."""
    if name in residue_names.WATERS and len(elements) == 1:
        return "water"
    other = name in residue_names.OXYGEN_ALONE and not np.isin(elements, ("C", "O")).all()
    for kind, listed in (
        ("ion", residue_names.IONS),
        ("lipid", residue_names.LIPIDS),
        ("detergent", residue_names.DETERGENTS),
        ("sugar", residue_names.SUGARS),
        ("ligand", residue_names.DRUGS),
    ):
        if name in listed and not other:
            return kind
    element = library().Element(elements[0]) if len(elements) == 1 else None
    if element and (element.is_metal or element.name in ("F", "Cl", "Br", "I")):
        return "ion"
    if _is_glycoside(elements, positions):
        return "detergent"
    ring = _ring(names, positions)
    return "sugar" if ring is not None and _is_sugar(ring, elements, _bonded(positions)) else "ligand"


def _ring(names, positions):
    """The atoms of a sugar's ring with its usual names, closed by bonds: the carbons from the anomeric one on, and the
    oxygen. None where there is none."""
    places = {name: place for place, name in enumerate(names)}
    for carbons, oxygen in RINGS:
        ring = [places.get(name) for name in (*carbons, oxygen)]
        if None not in ring and all(
            np.linalg.norm(positions[a] - positions[b]) < INNER_BOND
            for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)
        ):
            return ring
    return None


def _is_sugar(ring, elements, bonded):
    """Whether two carbons at least of a ring hold an oxygen or a nitrogen outside of it; the ring's oxygen is last."""
    outer = bonded[ring[:-1]] & np.isin(elements, ("O", "N")) & (np.arange(len(elements)) != ring[-1])
    return outer.any(axis=1).sum() >= 2


def _bonded(positions):
    """Which atoms of a residue are bonded, a matrix."""
    apart = np.linalg.norm(positions[:, None] - positions, axis=2)
    return (apart < INNER_BOND) & ~np.eye(len(apart), dtype=bool)


def _is_glycoside(elements, positions):
    """Whether a residue is a sugar with an alkyl chain of six carbons or a steroid: a ring of four or five carbons and
    an oxygen that :func:`_is_sugar`, and :data:`ALKYL` carbons in a row that are bonded to carbon alone, by single
    bonds. Nucleotides and phospholipids are none."""
    if "P" in elements or (elements == "C").sum() < ALKYL + 5:
        return False
    bonded, carbon = _bonded(positions), elements == "C"
    alkyl = carbon & ~(bonded & ~carbon).any(axis=1)
    apart = np.linalg.norm(positions[:, None] - positions, axis=2)
    single = bonded & (apart >= SINGLE_BOND) & alkyl & alkyl[:, None]
    if not any(_connected(single, start) >= ALKYL for start in np.flatnonzero(alkyl)):
        return False
    for oxygen in np.flatnonzero(elements == "O"):
        ends = np.flatnonzero(bonded[oxygen] & carbon)
        if len(ends) == 2:
            carbons = _path(bonded & carbon & carbon[:, None], *ends)
            if len(carbons) in (4, 5) and _is_sugar([*carbons, oxygen], elements, bonded):
                return True
    return False


def _connected(bonded, start):
    """How many atoms hang together with one."""
    return len(_steps(bonded, start))


def _path(bonded, start, end):
    """The shortest way between two atoms, both included; empty where there is none."""
    before = _steps(bonded, start)
    way = [end] if end in before else []
    while way and way[-1] != start:
        way.append(before[way[-1]])
    return way


def _steps(bonded, start):
    """For each atom that can be reached, the one before it on a shortest way."""
    before, front = {start: start}, [start]
    while front:
        fresh = {int(other): atom for atom in front for other in np.flatnonzero(bonded[atom]) if other not in before}
        before |= fresh
        front = list(fresh)
    return before


def _bonds(structure, found, kinds, sugars, belongs, names, elements, positions):
    """Pairs of residues that are bonded, of which one is a sugar and the other sugar or protein."""
    if not sugars:
        return set()
    types = library().ConnectionType
    index = {_address(chain, residue): number for number, (chain, residue, _) in enumerate(found)}
    pairs = set()
    for link in structure.connections:  # unknown are struct_conn's types such as covale_sugar
        if link.type in (types.Covale, types.Unknown) and link.asu != library().Asu.Different:
            ends = [(index.get(_address(end.chain_name, end.res_id)), end) for end in (link.partner1, link.partner2)]
            if all(_may_be_bonded(kinds, sugars, number, end.atom_name) for number, end in ends):
                pairs.add(tuple(number for number, _ in ends))
    from scipy.spatial import cKDTree

    heavy = ~np.isin(elements, ("H", "D"))
    joined = np.array([kind == "protein" or index in sugars for index, kind in enumerate(kinds)])[belongs] & heavy
    of_tryptophan = np.array([residue.name == "TRP" for _, residue, _ in found])[belongs] & (names == "CD1")
    partners = np.flatnonzero(joined & ((elements != "C") | of_tryptophan))  # of carbon only C-mannose's
    anomeric = [atom for atom in np.flatnonzero(joined) if sugars.get(belongs[atom]) == names[atom]]
    near = cKDTree(positions[partners]).query_ball_point(positions[anomeric], BOND)
    for atom, others in zip(anomeric, near, strict=True):
        pairs |= {(int(belongs[atom]), int(belongs[partners[other]])) for other in others}
    return {(a, b) for a, b in pairs if a != b and (a in sugars or b in sugars)}


def _may_be_bonded(kinds, sugars, number, atom):
    """Whether a bond that the file names may make a glycan: that of a detergent only where it is its anomeric
    carbon's."""
    return number is not None and (kinds[number] != "detergent" or sugars.get(number) == atom.upper())


def _address(chain, residue):
    return chain, str(residue.seqid), residue.name


def _sites(kinds, sugars, pairs):
    """The protein residue that each glycan hangs on: from protein through bonds between sugars."""
    bonded = defaultdict(list)
    for a, b in sorted(pairs):
        bonded[a].append(b)
        bonded[b].append(a)
    sites, front = {}, [index for index in sorted(bonded) if kinds[index] == "protein"]
    while front:
        index = front.pop(0)
        for sugar in bonded[index]:
            if sugar in sugars and sugar not in sites:
                sites[sugar] = sites.get(index, index)
                front.append(sugar)
    return sites
