"""Atomic models: what each residue is, atoms chosen in words, masks and densities on a grid."""

import bz2
import gzip
import itertools
import math
import sys

import numpy as np
import pytest

import gpumask as gm
from gpumask import grids, io, models, units
from gpumask.errors import InputNotFound, InputRefused, MissingExtra, UsageError
from gpumask.volume import Header

gemmi = pytest.importorskip("gemmi", reason="the extra `model` is not installed")

FLOAT32 = 2.0**-24  # relative rounding
SUGAR_NAMES = {"NAG", "BMA", "MAN"}  # of the files below


def line(name, residue, chain, number, x, y, z, element, record="HETATM", altloc=" ", occupancy=1.0, insertion=" "):
    """One atom of a PDB file; positions are x, y, z there."""
    padded = name if len(name) > 3 else f" {name:<3}"
    return (
        f"{record:<6}{1:5d} {padded}{altloc}{residue:>3} {chain}{number:4d}{insertion}   "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{10.0:6.2f}          {element:>2}\n"
    )


def parsed(*lines):
    return models.parse("".join(lines), "x.pdb")


def kinds(model):
    """The kind of each residue by its text."""
    return {str(residue): models.KINDS[residue.kind] for residue in model.residues}


def points(*places, element="C", chain="A", residue="UNL", record="HETATM"):
    """Atoms at (z, y, x), each in a residue of its own."""
    return parsed(*(
        line(element, residue, chain, number, x, y, z, element, record) for number, (z, y, x) in enumerate(places, 1)
    ))  # fmt: skip


def grid(shape, voxel_size=1.0, origin=(0.0, 0.0, 0.0)):
    return grids.empty(shape, voxel_size, Header(origin=origin))


def centres(box):
    """Å (z, y, x) of every voxel centre, shape (3, z, y, x)."""
    steps = np.indices(box.shape, dtype=float)
    return np.stack(units.corner_px_to_angstrom(steps, box.voxel_size, box.origin))


def nearest(model, box):
    """Distance in Å from every voxel centre to the nearest atom, atom by atom."""
    found = np.full(box.shape, np.inf)
    for position in model.positions:
        found = np.minimum(found, np.sqrt(((centres(box) - position[:, None, None, None]) ** 2).sum(axis=0)))
    return found


# what a residue is


def sugar(name, chain, number, at=(0.0, 0.0, 0.0), tail=0, step=1.52):
    """A flat ring C1…C5, O5 of bonds of 1.43 Å with hydroxyls outwards, C1 at `at` (x, y, z) and the ring towards +x;
    its O1 holds a straight chain of `tail` carbons towards -x, `step` Å apart; without one it has no O1."""
    lines = []
    middle = at[0] + 1.43
    for corner, atom in enumerate(("C1", "C2", "C3", "C4", "C5", "O5")):
        angle = math.pi + corner * math.pi / 3
        x, y = middle + 1.43 * math.cos(angle), at[1] + 1.43 * math.sin(angle)
        lines.append(line(atom, name, chain, number, x, y, at[2], atom[0]))
        if atom in ("C2", "C3", "C4"):
            x, y = middle + 2.86 * math.cos(angle), at[1] + 2.86 * math.sin(angle)
            lines.append(line(f"O{atom[1]}", name, chain, number, x, y, at[2], "O"))
    if tail:
        lines.append(line("O1", name, chain, number, at[0] - 1.43, at[1], at[2], "O"))
    for carbon in range(tail):
        lines.append(line(f"C{carbon + 10}", name, chain, number, at[0] - 2.86 - step * carbon, at[1], at[2], "C"))
    return "".join(lines)


def protein(chain="A", number=1, residue="ASN", atom=None, at=None):
    """A residue far from the origin, with one atom of its side chain where it is wanted."""
    lines = [line(name, residue, chain, number, 40 + 1.4 * step, 0, 0, name[0], "ATOM")
             for step, name in enumerate(("N", "CA", "C", "O"))]  # fmt: skip
    if atom:
        lines.append(line(atom, residue, chain, number, *at, atom[0], "ATOM"))
    return "".join(lines)


BOND = (-1.45, 0.0, 0.0)  # from C1
LINK = "LINK         ND2 ASN A   1                 C1  NAG B   1     1555   1555  3.40  \n"
FAR = (-3.4, 0.0, 0.0)  # so that the file's bond alone makes a glycan


def cif(text):
    """The mmCIF document of a PDB text, as gemmi's, and its block."""
    structure = gemmi.read_pdb_string(text)
    structure.setup_entities()
    structure.assign_label_seq_id()
    document = structure.make_mmcif_document()
    return document, document.sole_block()


def only(lines, *names):
    """The lines of those atoms."""
    return "".join(row for row in lines.splitlines(keepends=True) if row[12:16].strip() in names)


def wide(lines, name):
    """The same atoms in residues of a name of four letters, over column 21."""
    return "".join(f"{row[:17]}{name}{row[21:]}" for row in lines.splitlines(keepends=True))


@pytest.mark.parametrize(("residue", "atom"), [("ASN", "ND2"), ("SER", "OG"), ("THR", "OG1"), ("TRP", "CD1")])
def test_a_sugar_on_protein_is_a_glycan(residue, atom):
    model = parsed(protein(residue=residue, atom=atom, at=BOND), "TER\n", sugar("NAG", "B", 1))
    assert kinds(model) == {f"A {residue} 1": "protein", "B NAG 1": "glycan"}
    assert models.table(model)[1]["sites"] == [{"site": f"A {residue} 1", "sugars": {"NAG": 1}}]


def test_a_bond_of_the_file_counts_at_any_length():
    atoms = protein(atom="ND2", at=FAR), "TER\n", sugar("NAG", "B", 1)
    assert kinds(parsed(*atoms))["B NAG 1"] == "ligand"
    assert kinds(parsed(LINK, *atoms))["B NAG 1"] == "glycan"


def test_a_bond_to_a_symmetry_mate_does_not_count():
    cell = "CRYST1   50.000   50.000   50.000  90.00  90.00  90.00 P 21 21 21    1\n"
    atoms = protein(atom="ND2", at=FAR), "TER\n", sugar("NAG", "B", 1)
    assert kinds(parsed(cell, LINK, *atoms))["B NAG 1"] == "glycan"
    assert kinds(parsed(cell, LINK.replace("1555   1555", "1555   2555"), *atoms))["B NAG 1"] == "ligand"


@pytest.mark.parametrize(("named", "kind"), [
    ("covale", "glycan"), ("COVALE", "glycan"), ("covale_sugar", "glycan"), ("?", "glycan"), ("metalc", "ligand"),
    ("hydrog", "ligand"),
])  # fmt: skip
def test_types_of_struct_conn(named, kind):
    document, block = cif(LINK + protein(atom="ND2", at=FAR) + "TER\n" + sugar("NAG", "B", 1))
    block.find("_struct_conn.", ["conn_type_id"])[0][0] = named
    assert kinds(models.parse(document.as_string(), "x.cif"))["B NAG 1"] == kind


def test_of_carbon_only_tryptophan_s_binds_a_sugar():
    """Its CD1 is in the test of bonds above; 1.95 Å is a clash."""
    clash = parsed(protein(residue="LEU", atom="CD1", at=(-1.95, 0, 0)), "TER\n", sugar("GLC", "B", 1))
    assert kinds(clash)["B GLC 1"] == "ligand"


def test_a_ring_without_hydroxyls_is_no_sugar():
    """A tetrahydropyran whose atoms are named as a sugar's, on the sulphur of a cysteine."""
    held = protein(residue="CYS", atom="SG", at=(-1.8, 0, 0))
    ring = only(sugar("DRG", "B", 1), "C1", "C2", "C3", "C4", "C5", "O5")
    model = parsed(held, "TER\n", ring)
    assert kinds(model)["B DRG 1"] == "ligand"
    assert not any(residue.sugar for residue in model.residues)
    assert kinds(parsed(held, "TER\n", sugar("DRG", "B", 1)))["B DRG 1"] == "glycan"
    assert kinds(parsed(held, "TER\n", sugar("DRG", "B", 1).replace("DRG", "NAG")))["B NAG 1"] == "glycan"


RINGS = [(("C1", "C2", "C3", "C4", "C5"), "O5"), (("C2", "C3", "C4", "C5", "C6"), "O6"),
         (("C1", "C2", "C3", "C4"), "O4"), (("C2", "C3", "C4", "C5"), "O5")]  # fmt: skip


@pytest.mark.parametrize(("carbons", "oxygen"), RINGS)
def test_rings_of_sugars(carbons, oxygen):
    """Pyranoses and furanoses, aldoses and ketoses, of a name that is on no list: bonded by the first carbon."""
    count, lines = len(carbons) + 1, []
    radius = 1.45 / (2 * math.sin(math.pi / count))
    for step, name in enumerate((*carbons, oxygen)):
        along, across = (turn(math.pi + step * 2 * math.pi / count) for turn in (math.cos, math.sin))
        lines.append(line(name, "XYZ", "B", 1, radius * (1 + along), radius * across, 0, name[0]))
        if 0 < step < len(carbons):
            far = radius + 1.43
            lines.append(line(f"OX{step}", "XYZ", "B", 1, radius + far * along, far * across, 0, "O"))
    assert kinds(parsed(*lines)) == {"B XYZ 1": "ligand"}
    assert parsed(*lines).residues[0].sugar
    held = parsed(protein(atom="ND2", at=BOND), "TER\n", *lines)
    assert kinds(held)["B XYZ 1"] == "glycan"


def test_a_sialic_acid_without_its_ring_is_bonded_by_c2():
    rest = line("C1", "SIA", "B", 1, 0, 3, 0, "C"), line("C2", "SIA", "B", 1, 0, 0, 0, "C")
    assert kinds(parsed(protein(residue="SER", atom="OG", at=BOND), "TER\n", *rest))["B SIA 1"] == "glycan"
    assert kinds(parsed(protein(residue="SER", atom="OG", at=(-1.4, 3, 0)), "TER\n", *rest))["B SIA 1"] == "ligand"


@pytest.mark.parametrize(
    "lines", [sugar("BGL", "B", 1), sugar("LMT", "B", 1), sugar("XYZ", "B", 1, tail=12)], ids=["BGL", "LMT", "tail"]
)
def test_a_glycoside_on_protein_is_a_glycan_and_a_free_one_a_detergent(lines):
    name = f"B {lines[17:20]} 1"
    free = parsed(protein(), "TER\n", lines)
    assert kinds(free)[name] == "detergent"
    assert not any(residue.sugar for residue in free.residues)
    at = (0.0, 1.45, 0.0)  # from C1, past the oxygen of a tail
    held = parsed(protein(atom="ND2", at=at), "TER\n", lines, sugar("MAN", "B", 2, (5.72, 0, 0)))
    assert kinds(held)[name] == kinds(held)["B MAN 2"] == "glycan"
    assert held.residues[1].sugar
    assert models.table(held)[1]["sites"] == [{"site": "A ASN 1", "sugars": {"MAN": 1, name[2:5]: 1}}]


@pytest.mark.parametrize(("atom", "kind"), [("C1", "glycan"), ("O4", "detergent")])
def test_only_its_anomeric_carbon_makes_a_detergent_a_glycan(atom, kind):
    link = LINK.replace("C1  NAG", f"{atom}  LMT")
    assert kinds(parsed(link, protein(atom="ND2", at=FAR), "TER\n", sugar("LMT", "B", 1)))["B LMT 1"] == kind


def test_names_of_four_letters():
    """As CHARMM writes them into PDB files; gemmi reads BGL in chain CB of BGLC in chain B."""
    held = protein(atom="ND2", at=BOND), "TER\n"
    chain = wide(sugar("XXX", "B", 1), "BGLC"), wide(sugar("XXX", "B", 2, (5.72, 0, 0)), "AMAN")
    lipids = (wide(line("C1", "XXX", "M", number, 0, 0, 40 * number, "C"), name)
              for number, name in enumerate(("POPC", "CHL1"), 1))  # fmt: skip
    water = wide(line("OH2", "XXX", " ", 1, 0, 0, 60, "O"), "TIP3")
    model = parsed(*held, *chain, *lipids, water)
    assert kinds(model) == {"A ASN 1": "protein", "B BGLC 1": "glycan", "B AMAN 2": "glycan", "M POPC 1": "lipid",
                            "M CHL1 2": "lipid", "_ TIP3 1": "water"}  # fmt: skip
    assert len(model.select("residue bglc chain B")) == 9
    link = LINK.replace("NAG B", "BGLCB")
    distant = parsed(link, protein(atom="ND2", at=FAR), "TER\n", *chain)
    assert kinds(distant)["B AMAN 2"] == "glycan"


def test_chains_of_two_letters():
    """A pyrophosphate in chain CB is no POPC where the protein's chain is CA."""
    lines = protein() + "TER\n" + line("P", "POP", "B", 1, 0, 0, 30, "P")
    both = "".join(f"{row[:20]}C{row[21:]}" for row in lines.splitlines(keepends=True) if row[0] != "T")
    assert kinds(parsed(both)) == {"CA ASN 1": "protein", "CB POP 1": "ligand"}


@pytest.mark.parametrize("name", ["GDN", "DDM"])
def test_names_that_two_compounds_share(name):
    assert kinds(points((0, 0, 0), residue=name)) == {f"A {name} 1": "detergent"}
    other = line("C1", name, "A", 1, 0, 0, 0, "C"), line("N1", name, "A", 1, 1.4, 0, 0, "N")
    assert kinds(parsed(*other)) == {f"A {name} 1": "ligand"}


@pytest.mark.parametrize("name", ["DGX", "OBN"])
def test_glycosides_of_steroids_that_are_drugs(name):
    assert kinds(parsed(sugar(name, "A", 1, tail=12))) == {f"A {name} 1": "ligand"}


def test_a_conjugated_chain_and_a_ring_without_hydroxyls_make_no_detergent():
    assert kinds(parsed(sugar("XYZ", "A", 1, tail=12, step=1.40))) == {"A XYZ 1": "ligand"}
    whole = sugar("XYZ", "A", 1, tail=12)
    bare = "".join(row for row in whole.splitlines(keepends=True) if row[12:16].strip() not in ("O1", "O2", "O3", "O4"))
    assert kinds(parsed(whole)) == {"A XYZ 1": "detergent"}
    assert kinds(parsed(bare)) == {"A XYZ 1": "ligand"}


def test_a_coordinated_metal_makes_no_glycan():
    link = "LINK         ND2 ASN A   1                ZN    ZN B   2     1555   1555  2.00  \n"
    model = parsed(link, protein(), "TER\n", sugar("NAG", "B", 1), line("ZN", "ZN", "B", 2, -2, 0, 0, "ZN"))
    assert kinds(model) == {"A ASN 1": "protein", "B NAG 1": "ligand", "B ZN 2": "ion"}


def test_sugars_on_a_glycan_are_glycans_and_free_ones_are_ligands():
    """A chain of three, C1 of each on O4 of the one before: with and without the protein."""
    chain = [sugar("NAG", "B", 1), sugar("NAG", "B", 2, (5.72, 0, 0)), sugar("BMA", "B", 3, (11.44, 0, 0))]
    held = parsed(protein(atom="ND2", at=BOND), "TER\n", *chain)
    assert [kind for name, kind in kinds(held).items() if name[0] == "B"] == ["glycan"] * 3
    assert models.table(held)[1]["sites"] == [{"site": "A ASN 1", "sugars": {"NAG": 2, "BMA": 1}}]
    free = parsed(protein(), "TER\n", *chain)
    assert [kind for name, kind in kinds(free).items() if name[0] == "B"] == ["ligand"] * 3
    alone = parsed(protein(), "TER\n", chain[0])
    assert alone.notes == ("x.pdb: 1 sugar hangs on no protein and counts as a ligand: B NAG 1",)
    assert "3 sugars hang on no protein and count as ligands: B NAG 1, B NAG 2, B BMA 3" in free.notes[0]
    assert len(free.select("sugar")) == len(held.select("glycan")) == len(held.select("sugar"))


@pytest.mark.parametrize(("tail", "kind"), [(0, "ligand"), (1, "ligand"), (5, "ligand"), (6, "detergent"),
                                            (12, "detergent")])  # fmt: skip
def test_a_sugar_with_an_alkyl_chain_is_a_detergent(tail, kind):
    """Of a name that is on no list; the first carbon of the chain holds the oxygen."""
    model = parsed(sugar("XYZ", "A", 1, tail=tail))
    assert kinds(model) == {"A XYZ 1": kind}
    assert model.residues[0].sugar == (kind == "ligand")


def test_a_phosphorylated_glycoside_is_no_detergent():
    model = parsed(sugar("XYZ", "A", 1, tail=12), line("P", "XYZ", "A", 1, 0, 0, 5, "P"))
    assert kinds(model) == {"A XYZ 1": "ligand"}


@pytest.mark.parametrize(("residue", "element", "kind"), [
    ("LMT", "C", "detergent"), ("BOG", "C", "detergent"), ("LMN", "C", "detergent"), ("Q7G", "C", "detergent"),
    ("AJP", "C", "detergent"), ("LDA", "C", "detergent"), ("CPS", "C", "detergent"), ("CLR", "C", "lipid"),
    ("Y01", "C", "lipid"), ("POV", "C", "lipid"), ("PC1", "C", "lipid"), ("PEE", "C", "lipid"), ("PLM", "C", "lipid"),
    ("OLA", "C", "lipid"), ("LPE", "C", "lipid"), ("CDL", "C", "lipid"), ("LMG", "C", "lipid"), ("ZN", "ZN", "ion"),
    ("CL", "CL", "ion"), ("NA", "NA", "ion"), ("SO4", "S", "ion"), ("PO4", "P", "ion"), ("HOH", "O", "water"),
    ("DOD", "O", "water"), ("WAT", "O", "water"), ("EDO", "C", "ligand"), ("IMD", "C", "ligand"),
    ("HEM", "C", "ligand"), ("ATP", "P", "ligand"), ("SF4", "S", "ligand"), ("NAG", "C", "ligand"),
])  # fmt: skip
def test_kinds_by_name(residue, element, kind):
    assert kinds(points((0, 0, 0), element=element, residue=residue)) == {f"A {residue} 1": kind}


def test_polymers():
    """Modified residues and caps are of the chain; an amino acid that is a ligand is not."""
    texts = [line("CH3", "ACE", "A", 0, 0, 0, 0, "C")]
    for number, name in enumerate(("ALA", "MSE", "SEP", "GLY"), 1):
        record = "HETATM" if name in ("MSE", "SEP") else "ATOM"
        texts += [line(atom, name, "A", number, 4 * number + step, 0, 0, atom[0], record)
                  for step, atom in enumerate(("N", "CA", "C", "O"))]  # fmt: skip
    texts += ["TER\n", line("CA", "GLU", "A", 101, 0, 30, 0, "C")]
    for number, name in enumerate(("A", "PSU", "G"), 1):
        record = "HETATM" if name == "PSU" else "ATOM"
        texts += [line(atom, name, "R", number, 4 * number + step, 60, 0, atom[0], record)
                  for step, atom in enumerate(("P", "O5'", "C5'", "C4'", "C3'", "O3'"))]  # fmt: skip
    found = kinds(parsed(*texts))
    assert {name for name, kind in found.items() if kind == "protein"} == {
        "A ACE 0", "A ALA 1", "A MSE 2", "A SEP 3", "A GLY 4"}  # fmt: skip
    assert {name for name, kind in found.items() if kind == "nucleic"} == {"R A 1", "R PSU 2", "R G 3"}
    assert found["A GLU 101"] == "ligand"


def test_sugars_without_ter_before_them():
    model = parsed(protein(), sugar("NAG", "A", 2), line("O", "HOH", "A", 3, 0, 0, 9, "O"))
    assert kinds(model) == {"A ASN 1": "protein", "A NAG 2": "ligand", "A HOH 3": "water"}


# files


def text_of(path):
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()


def bonded_sugars(path):
    """From LINK or struct_conn alone: the sugars that bonds lead to from ASN, and all that are in a bond;
    (chain, number)."""
    if ".cif" in path.name:
        block = gemmi.cif.read_string(text_of(path)).sole_block()
        columns = [f"ptnr{end}_{what}" for end in (1, 2)
                   for what in ("auth_asym_id", "auth_seq_id", "auth_comp_id")]  # fmt: skip
        rows = [tuple(row) for row in block.find("_struct_conn.", ["conn_type_id", *columns]) if row[0] == "covale"]
        pairs = [((row[3], row[1], row[2]), (row[6], row[4], row[5])) for row in rows]
    else:
        rows = [row for row in text_of(path).splitlines() if row.startswith("LINK")]
        pairs = [((row[17:20], row[21], row[22:26].strip()), (row[47:50], row[51], row[52:56].strip())) for row in rows]
    pairs = [pair for pair in pairs if {end[0] for end in pair} & SUGAR_NAMES]
    linked = {end for pair in pairs for end in pair if end[0] in SUGAR_NAMES}
    reached = {end for pair in pairs for end in pair} - linked
    sites = set(reached)
    for _ in pairs:
        reached |= {end for pair in pairs if set(pair) & reached for end in pair}
    return {end[1:] for end in reached - sites}, {end[1:] for end in linked}


def glycans(model):
    return {(r.chain, str(r.number)) for r in model.residues if models.KINDS[r.kind] == "glycan"}


@pytest.mark.parametrize(("name", "sugars", "linked"), [
    ("5fji.pdb.gz", 91, 91), ("6m15.pdb.gz", 72, 69), ("6x79.cif.gz", 51, 51), ("7bv2.pdb.gz", 0, 0),
    ("5ni1_updated.cif", 0, 0),
])  # fmt: skip
def test_glycans_are_those_of_the_link_records(data, name, sugars, linked):
    """6m15 has three NAG 3.4 Å from their ASN 512, without a LINK."""
    path = data / "models" / name
    held, bonded = bonded_sugars(path)
    assert len(held) == len(bonded) == linked
    model = models.read(path)
    assert glycans(model) == held
    assert sum(residue.sugar for residue in model.residues) == sugars
    assert {r.name for r in model.residues if r.sugar} <= SUGAR_NAMES
    rest = {(r.chain, r.name, r.number) for r in model.residues if r.sugar and r.site < 0}
    assert rest == ({(chain, "NAG", 1217) for chain in "ABC"} if name.startswith("6m15") else set())


@pytest.mark.parametrize("name", ["5fji.pdb.gz", "6m15.pdb.gz", "6x79.cif.gz"])
def test_without_bonds_in_the_file_their_length_gives_the_same(data, name):
    path = data / "models" / name
    text = text_of(path)
    if ".cif" in name:
        document = gemmi.cif.read_string(text)
        document.sole_block().find_mmcif_category("_struct_conn.").erase()
        bare = document.as_string()
        assert "_struct_conn." not in bare
    else:
        bare = "".join(row for row in text.splitlines(keepends=True) if not row.startswith("LINK"))
        assert len(bare) < len(text)
    assert models.parse(bare, name).residues == models.read(path).residues


def test_what_the_files_hold(data):
    def rows(name):
        return {row["kind"]: row for row in models.table(models.read(data / "models" / name))}

    found = rows("7bv2.pdb.gz")
    assert {kind: row["residues"] for kind, row in found.items()} == {
        "protein": 1011, "nucleic": 25, "ligand": 2, "ion": 4, "water": 5}  # fmt: skip
    assert found["ion"]["names"] == {"MG": 2, "ZN": 2}
    assert found["nucleic"]["chains"] == ["P", "T"]
    assert set(found["ligand"]["names"]) == {"F86", "POP"}
    found = rows("5ni1_updated.cif")
    assert found["ligand"]["names"] == {"HEM": 4}
    assert (found["protein"]["residues"], found["water"]["residues"]) == (574, 24)
    assert found["protein"]["mass_kda"] == pytest.approx(57.6, abs=0.1)  # haemoglobin without hydrogens
    found = rows("5fji.pdb.gz")
    assert found["ligand"]["names"] == {"EDO": 39, "IMD": 7}
    assert found["glycan"]["names"] == {"MAN": 45, "NAG": 32, "BMA": 14}
    assert len(found["glycan"]["sites"]) == 18
    assert found["glycan"]["sites"][0] == {"site": "A ASN 61", "sugars": {"MAN": 4, "NAG": 2, "BMA": 1}}


@pytest.mark.parametrize("name", ["5fji.pdb.gz", "7bv2.pdb.gz"])
def test_mmcif_of_a_pdb_file_is_the_same_model(data, name):
    text = text_of(data / "models" / name)
    structure = gemmi.read_pdb_string(text)
    structure.setup_entities()
    one, other = models.parse(text, name), models.parse(structure.make_mmcif_document().as_string(), name)
    assert one.residues == other.residues
    for what in ("positions", "numbers", "masses", "kinds", "names", "residue"):
        assert np.array_equal(getattr(one, what), getattr(other, what)), what


def test_packed_files_are_read(tmp_path):
    text = protein()
    for name, packed in (("x.pdb.gz", gzip.compress), ("x.pdb.bz2", bz2.compress), ("x.ent", bytes)):
        (tmp_path / name).write_bytes(packed(text.encode()))
        assert kinds(models.read(tmp_path / name)) == {"A ASN 1": "protein"}


def test_chains_without_a_name():
    """As programs of simulation write them; gemmi makes no entity of the polymer."""
    model = parsed(protein(" ", atom="ND2", at=BOND), "TER\n", sugar("NAG", " ", 2), protein("B", 3))
    assert kinds(model) == {"_ ASN 1": "protein", "_ NAG 2": "glycan", "B ASN 3": "protein"}
    assert models.table(model)[1]["sites"] == [{"site": "_ ASN 1", "sugars": {"NAG": 1}}]
    assert len(model.select("chain _ protein")) == 5


@pytest.mark.parametrize("named", ["other", "?", "'polypeptide(D)'"])
def test_types_of_polymers(named):
    document, block = cif("".join(protein("A", number, "ALA") for number in range(1, 9)))
    block.find("_entity_poly.", ["type"])[0][0] = named
    assert set(kinds(models.parse(document.as_string(), "x.cif")).values()) == {"protein"}


def test_the_block_that_holds_atoms_is_read():
    atoms = cif(protein())[0].as_string()
    assert kinds(models.parse("data_first\n_cell.length_a 5\n\n" + atoms, "x.cif")) == {"A ASN 1": "protein"}


def test_a_byte_order_mark_is_no_part_of_the_text():
    for text in (protein(), cif(protein())[0].as_string()):
        assert len(models.parse("\ufeff" + text, "x")) == len(models.parse(("\ufeff" + text).encode(), "x")) == 4


def test_the_word_map_in_a_header_makes_no_map():
    """A map has it in the same bytes, but is no text."""
    header = "".join(f"{text:<80}\n" for text in ("HEADER    VIRAL PROTEIN", "TITLE     STRUCTURE"))
    text = f"{header}{'TITLE    2 FITTED INTO THE CRYO-EM':<46}MAP AT 3 A\n{protein()}".encode()
    assert text[208:211] == b"MAP"
    assert kinds(models.parse(text, "x.pdb")) == {"A ASN 1": "protein"}


def test_symmetry_copies_that_are_named_only_are_told():
    rows = "".join(f"MTRIX{axis}   2{''.join(f'{axis == other:10.6f}' for other in (1, 2, 3))}{9.0:15.5f}    {{}}\n"
                   for axis in (1, 2, 3))  # fmt: skip
    named = rows.replace("{}", " ")
    told = "symmetry copy (NCS) that the file names but does not hold is left out"
    assert parsed(named, protein()).notes == (f"x.pdb: 1 {told}",)
    several = parsed(named + named.replace("   2", "   3"), protein()).notes
    assert several == (f"x.pdb: 2 {told.replace('copy', 'copies').replace('is left', 'are left')}",)
    assert parsed(rows.replace("{}", "1"), protein()).notes == ()


def test_the_most_occupied_conformer_is_kept():
    model = parsed(
        line("N", "SER", "A", 1, 0, 0, 0, "N", "ATOM"),
        line("CA", "SER", "A", 1, 1, 0, 0, "C", "ATOM", "A", 0.4),
        line("CA", "SER", "A", 1, 2, 0, 0, "C", "ATOM", "B", 0.6),
        line("CB", "SER", "A", 1, 3, 0, 0, "C", "ATOM", "A", 0.5),
        line("CB", "SER", "A", 1, 4, 0, 0, "C", "ATOM", "B", 0.5),
    )
    assert model.positions[:, 2].tolist() == [0, 2, 3]
    assert "2 atoms of less occupied conformers are left out" in model.notes[0]
    one = parsed(line("CA", "SER", "A", 1, 1, 0, 0, "C", "ATOM", "A", 0.4),
                 line("CA", "SER", "A", 1, 2, 0, 0, "C", "ATOM", "B", 0.6))  # fmt: skip
    assert one.notes == ("x.pdb: 1 atom of a less occupied conformer is left out",)


def test_of_two_residues_in_one_place_the_more_occupied_is_kept():
    model = parsed(
        line("CA", "SER", "A", 1, 0, 0, 0, "C", "ATOM", "A", 0.3),
        line("CA", "THR", "A", 1, 1, 0, 0, "C", "ATOM", "B", 0.7),
        line("CA", "GLY", "A", 2, 4, 0, 0, "C", "ATOM"),
    )
    assert [residue.name for residue in model.residues] == ["THR", "GLY"]


def test_the_first_of_several_models():
    model = parsed("MODEL        1\n", protein(), "ENDMDL\nMODEL        2\n", protein(), "ENDMDL\n")
    assert len(model) == 4
    assert model.notes == ("x.pdb: the first of 2 models is used",)


@pytest.mark.parametrize(("content", "text"), [
    (b"", "holds no atoms"),
    (b"REMARK nothing\nEND\n", "holds no atoms"),
    (b"\xff\xfe\x00garbage" * 99, "neither PDB nor mmCIF"),
    (b"<html>\nnot found\n</html>\n", "holds no atoms"),
    (b"data_x\nloop_\n_atom_site.id\n_atom_site.type_symbol\n1\n", "cannot be read as PDB or mmCIF"),
    (b"data_x\n_cell.length_a 5\n", "holds no atoms"),
    (b"ATOM      1  N   ALA A   1       0.0", "cannot be read as PDB or mmCIF"),
    (protein().replace("  40.000", "     nan").encode(), "no numbers"),
    (gzip.compress(protein().encode(), mtime=0)[:60], "damaged compressed file"),
    (b"BZh91AY&SY" + bytes(30), "damaged compressed file"),
])  # fmt: skip
def test_files_that_are_no_models_are_refused_in_a_line(tmp_path, content, text):
    path = tmp_path / "x.pdb"
    path.write_bytes(content)
    with pytest.raises(InputRefused, match=text) as caught:
        models.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_map_is_no_model(tmp_path):
    gm.write(tmp_path / "map.mrc", gm.Volume(np.ones((4, 5, 6), np.float32), 1))
    with pytest.raises(InputRefused, match="is a map, not a model"):
        models.read(tmp_path / "map.mrc")
    with pytest.raises(InputNotFound, match="check the name"):
        models.read(tmp_path / "none.pdb")
    with pytest.raises(InputNotFound, match="cannot be read"):
        models.read(tmp_path)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path):
    for name, pack in (("x.gz", gzip.compress), ("x.bz2", bz2.compress), ("x", bytes)):
        (tmp_path / name).write_bytes(pack(bytes(5000)))
        assert io.unpacked(tmp_path / name, 5000) == bytes(5000)
        with pytest.raises(InputRefused, match="too much to read"):
            io.unpacked(tmp_path / name, 4999)


def test_without_gemmi_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(MissingExtra, match=r"gpumask\[model\]"):
        parsed(protein())


# words


@pytest.fixture(scope="module")
def mixed():
    return parsed(
        "".join(protein("A", number, "ASN") for number in (9, 10, 11)), "TER\n",
        "".join(protein("b", number, "GLY") for number in (10, -5)), "TER\n",
        line("CA", "ALA", "A", 52, 0, 0, 60, "C", "ATOM", insertion="A"),
        line("HA", "ALA", "A", 52, 1, 0, 60, "H", "ATOM", insertion="A"), "TER\n",
        sugar("NAG", "C", 1), line("ZN", "ZN", "A", 90, 0, 0, 20, "ZN"), line("O", "HOH", "A", 91, 0, 0, 30, "O"),
    )  # fmt: skip


def chosen(model, words):
    """The residues that words choose, as texts."""
    taken = model.select(words)
    return {str(model.residues[index]) for index in np.unique(taken.residue)}


PROTEIN = {"A ASN 9", "A ASN 10", "A ASN 11", "A ALA 52A", "b GLY 10", "b GLY -5"}


@pytest.mark.parametrize(("words", "wanted"), [
    ("protein", PROTEIN),
    ("proteins", PROTEIN),
    ("Protein", PROTEIN),
    ("polymer", PROTEIN),
    ("ion or water", {"A ZN 90", "A HOH 91"}),
    ("sugar", {"C NAG 1"}),
    ("ligand", {"C NAG 1"}),
    ("chain b", {"b GLY 10", "b GLY -5"}),
    ("chain A not protein", {"A ZN 90", "A HOH 91"}),
    ("protein chain b", {"b GLY 10", "b GLY -5"}),
    ("protein and chain b residue 10", {"b GLY 10"}),
    ("chain b, C", {"b GLY 10", "b GLY -5", "C NAG 1"}),
    ("residue 10-20,9 protein", {"A ASN 9", "A ASN 10", "A ASN 11", "b GLY 10"}),
    ("residue -5", {"b GLY -5"}),
    ("residue -6--4", {"b GLY -5"}),
    ("residue 52", {"A ALA 52A"}),
    ("residue 52A", {"A ALA 52A"}),
    ("residue nag,ZN", {"C NAG 1", "A ZN 90"}),
    ("not (protein or water or ion)", {"C NAG 1"}),
    ("not protein not water not ion", {"C NAG 1"}),
    ("not not ion", {"A ZN 90"}),
    ("ion or water chain b", {"A ZN 90"}),
    ("(ion or water) residue 91", {"A HOH 91"}),
    ("hydrogen", {"A ALA 52A"}),
    ("atom C1", {"C NAG 1"}),
    ("all not protein", {"A ZN 90", "A HOH 91", "C NAG 1"}),
    ("residue 1-3,90", {"C NAG 1", "A ZN 90"}),
])  # fmt: skip
def test_words(mixed, words, wanted):
    assert chosen(mixed, words) == wanted


def test_a_number_is_a_name_too_where_there_is_one():
    model = parsed(line("C", "017", "C", 5, 0, 0, 70, "C"), line("C", "EDO", "C", 17, 0, 0, 80, "C"))
    assert chosen(model, "residue 017") == {"C 017 5", "C EDO 17"}
    assert chosen(model, "residue 17") == {"C EDO 17"}


def test_words_choose_atoms(mixed):
    assert len(mixed.select("all")) == len(mixed)
    assert mixed.select("hydrogen").numbers.tolist() == [1]
    assert mixed.select("atom CA").names.tolist() == ["CA"] * 6
    assert len(mixed.select("protein")) + len(mixed.select("not protein")) == len(mixed)
    twice = mixed.select("protein").select("chain b")
    assert np.array_equal(twice.positions, mixed.select("protein chain b").positions)


@pytest.mark.parametrize(("words", "text"), [
    ("", "the end"),
    ("peptide", "'peptide', word 1"),
    ("protein or", "the end"),
    ("protein and and water", "'and', word 3"),
    ("glycan, water", "'glycan,water', word 1"),
    ("(protein", "without ')'"),
    ("protein) water", "without '('"),
    ("chain", "without a list such as chain A,B"),
    ("chain )", "without a list"),
    ("residue 1,,2", "without a list such as residue 10-20,35"),
    ("residue 20-10", "20-10"),
    ("not", "the end"),
    (7, "must be text"),
    ("chain A, not water", "'not' in the list of 'chain'"),
    ("residue NAG,or", "'or' in the list of 'residue'"),
    ("atom and", "'and' in the list of 'atom'"),
    ("chain A,residue", "'residue' in the list of 'chain'"),
    ("not " * 5000 + "all", "more than 100 parentheses, or 'not'"),
    ("(" * 3000 + "all" + ")" * 3000, "more than 100 parentheses"),
])  # fmt: skip
def test_words_that_are_not_understood(mixed, words, text):
    with pytest.raises(UsageError) as caught:
        mixed.select(words)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_nothing_selected_says_what_there_is(mixed):
    with pytest.raises(InputRefused) as caught:
        mixed.select("glycan chain C")
    assert (
        "holds no 'glycan chain C'; it has 6 protein (ASN,GLY,ALA; chains A,b), 1 ligand (NAG; chains C), 1 ion"
        in str(caught.value)
    )


@pytest.mark.parametrize(("words", "text"), [
    ("chain A,Z", "x.pdb: has no chain 'Z', which the selection 'chain A,Z' names; it has A,C,b"),
    ("protein not chain B", "has no chain 'B'"),
    ("chain a", "has no chain 'a'"),
    ("chain A,water", "has no chain 'water'"),
    ("residue 10,30:40", "has no residue '30:40'"),
    ("residue 9,2A-5", "has no residue '2A-5'"),
    ("residue 10,20-30", "has no residue '20-30'"),
    ("residue NAG,BMA", "has no residue 'BMA', which the selection 'residue NAG,BMA' names; it has ALA,ASN,GLY,HOH"),
    ("atom CA,CB1", "has no atom 'CB1'"),
])  # fmt: skip
def test_lists_of_what_is_not_there(mixed, words, text):
    with pytest.raises(InputRefused) as caught:
        mixed.select(words)
    assert text in str(caught.value)


def test_what_the_file_holds_may_be_named_of_selected_atoms(mixed):
    """The lists are checked against the file, not against what was selected before."""
    assert len(mixed.select("protein").select("not chain C or residue NAG")) == len(mixed.select("protein"))


def test_as_many_parentheses_as_are_allowed(mixed):
    assert len(mixed.select("(" * 100 + "all" + ")" * 100)) == len(mixed)
    assert len(mixed.select("(all) " * 101)) == len(mixed)


# on a grid


def test_a_ball_of_five_voxels():
    """515 lattice points lie within 5 of one of them; headers hold float32, so 1.05 Å is not quite that."""
    voxel = float(np.float32(1.05))
    for place, box in (
        ((9, 10, 11), grid((20, 21, 22))),
        ((9 * 1.05, 10 * 1.05, 11 * 1.05), grid((20, 21, 22), voxel)),
        ((5.0, 4.0, 3.0), grid((20, 21, 22), 1.0, (-4.0, -6.0, -8.0))),
    ):
        made = models.base(points(place), 5 * box.voxel_size[0], box)
        assert made.dtype == bool
        assert made.sum() == 515
        assert made[9, 10, 11]
        assert not made[9, 10, 17]
        assert made[9, 10, 16]


@pytest.mark.parametrize("voxel_size", [1.3, (2.0, 1.5, 1.0)])
def test_base_distance_and_edge_against_every_atom(voxel_size):
    box = grid((18, 22, 30), voxel_size, (3.0, -7.0, 11.0))
    random = np.random.default_rng(1)
    low, high = centres(box)[:, 0, 0, 0], centres(box)[:, -1, -1, -1]
    model = points(*(low - 3 + random.random((40, 3)) * (high - low + 6)).round(3))
    distance = nearest(model, box)
    assert np.array_equal(models.base(model, 3.7, box), distance <= 3.7)
    edge = units.pixel_edge(box.voxel_size)
    squares = models.squared_distance(model, 6, box)
    assert np.array_equal(np.isfinite(squares), distance <= 6)
    np.testing.assert_allclose(np.sqrt(squares[distance <= 6]) * edge, distance[distance <= 6], rtol=1e-12)
    wanted = np.where(distance < 3.7 + 5, 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - 3.7) / 5, 0, 1)), 0)
    # one rounding to float32 of values up to 1
    np.testing.assert_allclose(models.soft_mask(model, 3.7, 5, box), wanted, rtol=0, atol=FLOAT32)


def test_atoms_outside_count_as_far_as_they_reach():
    box = grid((10, 11, 12))
    model = points((5, 5, -2), (5, 5, 20))
    made = models.base(model, 3, box)
    assert np.array_equal(made, nearest(model, box) <= 3)
    assert made[:, :, 2:].sum() == 0
    assert models.outside(model, box) == 2
    assert models.outside(points((5, 5, -0.4), (9.4, 5, 5), (9.6, 5, 5)), box) == 1


def test_hydrogens_are_in_densities_only():
    box = grid((12, 12, 12))
    heavy, light = line("C", "UNL", "A", 1, 5, 5, 5, "C"), line("H", "UNL", "A", 1, 6, 5, 5, "H")
    alone, both = parsed(heavy), parsed(heavy, light)
    assert np.array_equal(models.base(alone, 2, box), models.base(both, 2, box))
    assert not np.array_equal(models.density(alone, 4, box), models.density(both, 4, box))
    assert models.base(parsed(light), 2, box).sum() == models.base(alone, 2, box).sum()


def test_a_base_grows_with_its_radius_and_its_atoms():
    box = grid((20, 20, 20), 1.1)
    model = points(*np.random.default_rng(2).uniform(4, 18, (20, 3)).round(3))
    bases = [models.base(model, radius, box) for radius in (0.8, 2, 2.5, 6)]
    assert all((small <= large).all() for small, large in itertools.pairwise(bases))
    assert (models.base(model.select("residue 1-7"), 2, box) <= bases[1]).all()
    assert np.array_equal(bases[1], models.base(model, 2, box))


@pytest.mark.parametrize(("place", "origin", "texts"), [
    ((5, 5, 90), (0, 0, 0), ["by 79 Å", "from 90,5,5 to 90,5,5 Å", "from 0,0,0 to 11,10,9 Å", "belong together"]),
    ((5, 5, 5), (100, 100, 100), ["would lie in the box if the map's origin were 0,0,0"]),
    ((-1, 2, -3), (50, 50, 50), ["if the map's origin were minus half the box"]),
])  # fmt: skip
def test_a_model_off_the_grid_is_refused(place, origin, texts):
    for make in (lambda *given: models.base(*given), lambda model, radius, box: models.density(model, 3, box)):
        with pytest.raises(InputRefused) as caught:
            make(points(place), 3, grid((10, 11, 12), 1.0, origin))
        for text in ("x.pdb: lies off the grid", *texts):
            assert text in str(caught.value)


def test_an_atom_between_the_voxels_is_not_off_the_grid():
    box, model = grid((9, 9, 9), 2.0), points((5, 5, 5))
    for make in (lambda: models.base(model, 0.5, box), lambda: models.density(model, 0.4, box)):
        with pytest.raises(InputRefused, match=r"x\.pdb: no voxel centre lies as near to an atom as that") as caught:
            make()
        assert "origin" not in str(caught.value)


def test_lengths_that_cannot_be():
    model, box = points((5, 5, 5)), grid((9, 9, 9))
    for call in (lambda: models.base(model, -1, box), lambda: models.base(model, math.nan, box),
                 lambda: models.density(model, 0, box), lambda: models.density(model, 3, box, cutoff=0)):  # fmt: skip
        with pytest.raises(UsageError):
            call()


# servalcat and ChimeraX


def test_servalcat_hard_mask_voxel_by_voxel(data):
    box = io.read(data / "maps" / "emd_3488.mrc.gz")
    reference = io.read(data / "reference_masks" / "serv_modelmask_r5_s0.mrc.gz").data
    made = models.base(models.read(data / "models" / "5ni1_updated.cif"), 5, box)
    assert made.sum() == 130521
    assert np.array_equal(made, reference == 1)


def test_servalcat_soft_mask(data):
    """Its edge is measured from the atoms in Å, 0.5 + 0.5·cos(π·(d - 3)/5), in float32: d of up to 8 Å to half an ulp,
    the root of a float32 square to another, and the slope is at most π/10 per Å; then the value's own rounding."""
    box = io.read(data / "maps" / "emd_3488.mrc.gz")
    reference = io.read(data / "reference_masks" / "serv_modelmask_r3_s5.mrc.gz").data
    model = models.read(data / "models" / "5ni1_updated.cif")
    made = models.soft_mask(model, 3, 5, box)
    # the coordinates that servalcat takes the difference of reach 105 Å and are float32, in each of three axes
    tolerance = math.pi / 10 * (3 * 105 + 2 * 8) * FLOAT32 + 2 * FLOAT32
    assert np.abs(made - reference).max() < tolerance
    # measured from the voxels within 3 Å instead, whose surface lies up to half a voxel's diagonal further in
    from_voxels = gm.mask.soft_mask(models.base(model, 3, box), 0, units.to_px("5A", box.voxel_size))
    diagonal = math.sqrt(3) * box.voxel_size[0]
    assert np.abs(from_voxels - reference).max() < math.pi / 10 * diagonal
    assert (from_voxels <= reference + tolerance).all()


def test_density_is_the_direct_sum(data):
    """ChimeraX's molmap: Σ Z (2π)^-1.5 σ^-3 exp(-d²/2σ²), each Gaussian cut at 5σ along each axis."""
    model = models.read(data / "models" / "5ni1_updated.cif").select("chain A")
    resolution, box = 6.0, models.around(model, (1.6, 1.4, 1.2), 18.0)
    sigma = resolution / (math.pi * math.sqrt(2))
    made = models.density(model, resolution, box)
    assert made.dtype == np.float32
    random = np.random.default_rng(3)
    voxels = np.rint((model.positions[::97] - box.origin) / box.voxel_size).astype(int)  # of atom centres
    voxels = np.concatenate([voxels, random.integers(0, box.shape, (200, 3))])
    for voxel in voxels:
        apart = voxel * np.array(box.voxel_size) + box.origin - model.positions
        near = (np.abs(apart) <= 5 * sigma).all(axis=1)
        terms = model.numbers[near] * np.exp(-(apart[near] ** 2).sum(axis=1) / (2 * sigma**2))
        wanted = terms.sum() * (2 * math.pi) ** -1.5 / sigma**3
        # one rounding to float32, and float64 sums of up to 1100 terms
        assert made[tuple(voxel)] == pytest.approx(wanted, rel=FLOAT32 + 1200 * 2**-53, abs=1e-30)
    # 5σ leaves out 6e-7 of each axis; the sum over a lattice of σ/1.2 Å is the integral to exp(-2π²σ²/1.6²) = 8e-7
    total = made.sum(dtype=float) * math.prod(box.voxel_size)
    assert total == pytest.approx(model.numbers.sum(), rel=1e-5)


def test_density_does_not_depend_on_the_box():
    model = points((10.3, 11.1, 9.7), (12.0, 9.2, 13.3), element="N")
    large, small = grid((24, 25, 26)), grid((9, 8, 7), 1.0, (8.0, 9.0, 10.0))
    whole = models.density(model, 5, large)
    assert np.array_equal(models.density(model, 5, small), whole[8:17, 9:17, 10:17])
    assert np.array_equal(whole, models.density(model, 5, large))


@pytest.mark.parametrize("voxel_size", [1.0, (1.7, 1.3, 0.9)])
def test_a_box_around_a_model(voxel_size):
    model = points((-20.2, 3, 40), (10, 30.7, 55.5))
    box = models.around(model, voxel_size, 6.0)
    assert all(n % 2 == 0 for n in box.shape)
    low, high = centres(box)[:, 0, 0, 0], centres(box)[:, -1, -1, -1]
    assert (low <= model.positions.min(axis=0) - 6).all()
    assert (high >= model.positions.max(axis=0) + 6).all()
    assert (low > model.positions.min(axis=0) - 6 - np.array(box.voxel_size)).all()
    assert (high < model.positions.max(axis=0) + 6 + 2 * np.array(box.voxel_size)).all()
    np.testing.assert_allclose(np.array(box.origin), np.array(box.header.nstart) * box.voxel_size, rtol=1e-12)


# recipes


def test_recipes_have_one_spelling():
    recipe = models.ModelRecipe(select=" protein  or glycan ", radius="3.0Å", soft_edge=5)
    assert (recipe.select, recipe.radius, recipe.soft_edge) == ("protein or glycan", "3A", "5px")
    assert recipe == models.ModelRecipe.from_dict(recipe.to_dict())
    assert recipe.hash == models.ModelRecipe("protein or glycan", soft_edge="5px", dilation="0px").hash
    assert recipe.hash != models.ModelRecipe("protein", soft_edge="5px").hash
    assert models.ModelRecipe(density=5).density == models.ModelRecipe(density="5Å").density == "5A"


@pytest.mark.parametrize(("fields", "text"), [
    ({"density": "5A", "radius": "3A"}, "a density has no radius"),
    ({"density": "5A", "invert": True}, "a density has no invert"),
    ({"density": "5px"}, "must be in Å"),
    ({"radius": "-3A"}, "radius must be >= 0"),
    ({"radius": "wide"}, "radius must be a length"),
    ({"style": "chimerax"}, "style must be one of euclidean, relion, cryodrgn, servalcat"),
    ({"style": "servalcat", "dilation": "2px"}, "from the atoms"),
    ({"style": "servalcat", "edge": "convolved"}, "from the atoms"),
    ({"soft_edge": "-1px"}, "soft edge must be >= 0"),
    ({"edge": "steep"}, "steep"),
    ({"select": None}, "must be text"),
    ({"colour": 1}, "unknown key in the recipe of a model: colour"),
])  # fmt: skip
def test_recipes_that_cannot_be(fields, text):
    with pytest.raises(UsageError, match=text):
        models.ModelRecipe.from_dict(fields)
