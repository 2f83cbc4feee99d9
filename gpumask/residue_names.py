"""What residues are by their name: identifiers of the Chemical Component Dictionary of the PDB
(https://www.wwpdb.org/data/ccd), and the names that simulation programs write. Names decide before geometry does, see
:mod:`gpumask.residues`."""


def _listed(*names):
    return frozenset(" ".join(names).split())


# Unlike gemmi's table these do not change with the version that is installed.

WATERS = _listed("HOH DOD WAT H2O OH2 TIP TIP3 TIP4 SOL SPC")

# What closes a chain of protein at its ends: acetyl, formyl, amide, methylamide.
CAPS = _listed("ACE FOR NH2 NME")

# Inorganic ions of more than one atom, with the fluorides that stand for a phosphate. Single metals and halides are
# ions by their element. Clusters (SF4, FES) are ligands.
IONS = _listed("SO4 SO3 PO4 PO3 PI 2HP NO3 NO2 CO3 BCT NH4 LCP PER AZI CYN SCN VO4 WO4 MOO CAC ALF AF3 BEF MGF UNX")

# Sugars that are still one where the atoms of the ring are missing; complete ones are known by their ring.
SUGARS = _listed(
    # N- and O-glycans: N-acetylglucosamine, mannose, fucose, galactose, N-acetylgalactosamine, sialic acids, xylose
    "NAG NDG BMA MAN FUC FUL GAL GLA NGA A2G SIA SLB NGC KDN XYP XYS GLC BGC RAM",
    # glycosaminoglycans
    "GCU BDP IDR IDS SGN GNS UAP ASG",
    # furanoses and bacterial ones
    "FRU AHR FUB RIB KDO GMH ARA ARB",
    # as CHARMM names them, cut to four letters
    "AGLC BGLC AMAN BMAN AGAL BGAL AFUC BFUC AXYL BXYL ANE5",
)

# Detergents. Glycosides (octyl glucoside, dodecyl maltoside) are known by their sugar and their chain as well; one that
# is bonded to protein or a glycan by its anomeric carbon is a glycan.
DETERGENTS = _listed(
    # glycosides: dodecyl, undecyl and decyl maltoside, octyl, nonyl and heptyl glucoside, CYMAL, LMNG
    "LMT LMU UMQ DMU BOG BNG BGL SOG HTG B7G MA4 CM5 LMN",
    # glycosides of steroids: digitonin, glyco-diosgenin (GDN) and its steroid
    "AJP Q7G 9Z9",
    # LDAO and its kin, CHAPS, CHAPSO, dodecyl sulphate, polyoxyethylenes, Triton
    "LDA DDQ DET CPS 1N7 SDS C8E CXE CE1 TRT",
    # as simulations and depositors outside the PDB name them
    "DDM LMNG GDN DPC LDAO CHAPS",
)

# Lipids, sterols, fatty acids and the tails that are built where no head is seen. The glycolipids of
# photosynthetic membranes (LMG, DGD, SQD) are glycosides too, and are here because they are of the membrane.
LIPIDS = _listed(
    # phosphatidylcholines, -ethanolamines, -glycerols, -serines, -inositols, cardiolipin
    "PC1 PCW POV PLC PX4 MC3 6PL LBN PCF PEE PTY 3PE PEF PEV PGT PGV LHG P5S PSF 17F PIO PT5 CDL LPE LPP LPX",
    # sterols, sphingolipid, glycolipids, glycerides
    "CLR Y01 CHS ERG SPH LMG DGD SQD OLB OLC DGA TGL",
    # fatty acids and alkanes
    "PLM OLA STE MYR DAO LNL D10 D12 UND R16 TRD C14 LFA HP6 MYS OCT",
    # as simulations name them
    "POPC POPE POPG POPS POPI DOPC DOPE DOPG DOPS DPPC DPPE DMPC DSPC CHL1",
)

# Glycosides of steroids that are no detergents: digoxin and ouabain.
DRUGS = _listed("DGX OBN")

# Other compounds have these names too, glutathione with dinitrobenzene that of GDN; those here are of C, H and O alone.
OXYGEN_ALONE = _listed("DDM GDN CHS")

KETOSES = _listed("SIA SLB NGC KDN KDO FRU ANE5")  # of the sugars, those whose anomeric carbon is C2

# Names of four letters, which some programs write into PDB files.
WIDE = frozenset(name for name in WATERS | SUGARS | DETERGENTS | LIPIDS if len(name) == 4)
