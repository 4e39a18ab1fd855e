"""Licence and citation of the corpora that are known by name."""

from __future__ import annotations

from serctl.corpora import filename, iemocap


def licence_of(corpus: str) -> str | None:
    """Return the licence of a known corpus, None of another."""
    if corpus == iemocap.NAME:
        return iemocap.LICENCE
    return filename.BY_NAME[corpus].licence if corpus in filename.BY_NAME else None


def citation_of(corpus: str) -> str | None:
    """Return the citation of a known corpus, None of another."""
    if corpus == iemocap.NAME:
        return iemocap.CITATION
    return filename.BY_NAME[corpus].citation if corpus in filename.BY_NAME else None
