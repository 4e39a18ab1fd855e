"""Emotional speech corpora: what serctl recognises, one emotion vocabulary, and named evaluation protocols."""

from serctl.corpora.base import EMOTIONS, Corpus, ReadOptions, Utterance, digest_of_part, normalise_emotion
from serctl.corpora.protocols import Fold, Protocol, check_protocol, make_protocol, protocol_names
from serctl.corpora.registry import load_corpora, load_corpus
from serctl.corpora.splits import Split, hold_out, marked_split, testable
from serctl.corpora.terms import citation_of, licence_of

__all__ = [
    "EMOTIONS",
    "Corpus",
    "Fold",
    "Protocol",
    "ReadOptions",
    "Split",
    "Utterance",
    "check_protocol",
    "citation_of",
    "digest_of_part",
    "hold_out",
    "licence_of",
    "load_corpora",
    "load_corpus",
    "make_protocol",
    "marked_split",
    "normalise_emotion",
    "protocol_names",
    "testable",
]
