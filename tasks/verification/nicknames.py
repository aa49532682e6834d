"""Short forms of first names in the United States, and what they are short for.

Used only where a configuration says so: two brothers may well be William and Bill.
"""

_SHORT_FORMS = """
    abigail: abby; albert: al bert; alexander: alex al; alexandra: alex sandra; alfred: fred al; allison: ally;
    andrew: andy drew; anthony: tony; barbara: barb; benjamin: ben; beverly: bev; bradley: brad; catherine:
    cathy kate; charles: charlie chuck; christina: chris tina; christine: chris; christopher: chris; cynthia:
    cindy; daniel: dan danny; david: dave; deborah: deb debbie; donald: don donnie; dorothy: dot dottie;
    douglas: doug; edward: ed eddie ted; elizabeth: beth betty liz lizzie; eugene: gene; frances: fran; francis:
    frank; frederick: fred; gabriel: gabe; gerald: gerry jerry; gregory: greg; harold: hal harry; henry: hank
    harry; jacob: jake; james: jim jimmy; janet: jan; jeffrey: jeff; jennifer: jen jenny; jessica: jess; john:
    jack johnny; jonathan: jon; joseph: joe joey; joshua: josh; judith: judy; katherine: kathy kate katie;
    kenneth: ken kenny; kimberly: kim; lawrence: larry; leonard: len lenny; margaret: maggie meg peggy; matthew:
    matt; michael: mike mikey; nathaniel: nate; nicholas: nick; pamela: pam; patricia: pat patty tricia;
    patrick: pat; peter: pete; philip: phil; raymond: ray; rebecca: becky; richard: dick rich rick; robert: bob
    bobby rob; ronald: ron; samantha: sam; samuel: sam sammy; sandra: sandy; stephanie: steph; stephen: steve;
    steven: steve; susan: sue susie; theodore: ted teddy; theresa: terry; thomas: tom tommy; timothy: tim;
    victoria: vicky; vincent: vince; virginia: ginny; walter: walt; william: bill billy will; zachary: zach
"""


def _formal_names() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for entry in _SHORT_FORMS.replace("\n", " ").split(";"):
        formal, short_forms = entry.split(":")
        for short in short_forms.split():
            found.setdefault(short, set()).add(formal.strip())
    return {short: frozenset(formals) for short, formals in found.items()}


FORMAL_NAMES = _formal_names()
"""What each short form may stand for."""
