"""Words in streets, as the Postal Service abbreviates them (Publication 28, appendices B and C), lower case.

Those that turn up in residential addresses; every kind of unit is one word here, for people mix them up.
"""

_ABBREVIATED = """
    north n; south s; east e; west w; northeast ne; northwest nw; southeast se; southwest sw; alley aly; avenue
    ave; bend bnd; boulevard blvd; branch br; bridge brg; bypass byp; canyon cyn; center ctr; circle cir; court
    ct; cove cv; creek crk; crossing xing; drive dr; estates ests; expressway expy; extension ext; falls fls;
    ferry fry; field fld; forest frst; fort ft; freeway fwy; garden gdn; gardens gdns; glen gln; green grn;
    grove grv; harbor hbr; heights hts; highway hwy; hill hl; hills hls; hollow holw; island is; junction jct;
    lake lk; lakes lks; landing lndg; lane ln; manor mnr; meadow mdw; meadows mdws; mill ml; mount mt; mountain
    mtn; orchard orch; parkway pkwy; place pl; plaza plz; point pt; port prt; ranch rnch; ridge rdg; river riv;
    road rd; route rte; saint st; shore shr; shores shrs; spring spg; springs spgs; square sq; station sta;
    street st; summit smt; terrace ter; trail trl; turnpike tpke; valley vly; view vw; village vlg; ville vl;
    vista vis; av ave; boul blvd; cr cir; crt ct; drv dr; hiway hwy; lanes ln; parkwy pkwy; str st; terr ter; tr
    trl; trails trl; apartment unit; apt unit; number unit; no unit; ste unit; suite unit; room unit; rm unit;
    lot unit; trlr unit; trailer unit; building bldg; floor fl; first 1st; second 2nd; third 3rd; fourth 4th;
    fifth 5th; sixth 6th; seventh 7th; eighth 8th; ninth 9th; tenth 10th
"""

STREET_WORDS: dict[str, str] = {entry.split()[0]: entry.split()[1] for entry in _ABBREVIATED.split(";")}
"""The abbreviation of each word."""
