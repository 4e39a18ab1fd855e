"""Emotional speech corpora: what serctl recognises, one emotion vocabulary, and named evaluation protocols."""

from serctl.corpora.base import EMOTIONS, Corpus, Utterance, digest_of_part, normalise_emotion
from serctl.corpora.protocols import Fold, Protocol, Split, check_protocol, hold_out, make_protocol, protocol_names
from serctl.corpora.registry import load_corpora, load_corpus
from serctl.corpora.terms import citation_of, licence_of

__all__ = [
    "EMOTIONS",
    "Corpus",
    "Fold",
    "Protocol",
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
    "normalise_emotion",
    "protocol_names",
]
