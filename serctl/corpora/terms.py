"""Licence and citation of the corpora that are known by name."""

from __future__ import annotations

from serctl.corpora import filename, iemocap

OTHERS = {
    iemocap.NAME: (iemocap.LICENCE, iemocap.CITATION),
    "banglaser": ("CC BY 4.0", "Das et al. 2022, BanglaSER, Data in Brief 42, doi:10.1016/j.dib.2022.108091"),
}
"""Licence and citation of corpora that are not recognised by their file names; BanglaSER's are those of RAVDESS."""


def licence_of(corpus: str) -> str | None:
    """Return the licence of a known corpus, None of another."""
    if corpus in OTHERS:
        return OTHERS[corpus][0]
    return filename.BY_NAME[corpus].licence if corpus in filename.BY_NAME else None


def citation_of(corpus: str) -> str | None:
    """Return the citation of a known corpus, None of another."""
    if corpus in OTHERS:
        return OTHERS[corpus][1]
    return filename.BY_NAME[corpus].citation if corpus in filename.BY_NAME else None
