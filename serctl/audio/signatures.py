"""How recordings begin that have a header: what raw samples must not be taken for."""

from __future__ import annotations

import re

from serctl.audio.mpeg import begins_with_frames

SIGNATURES = {
    rb"RIFF|RF64|RIFX|BW64|riff\x2e\x91\xcf\x11": "WAV",
    rb"FORM....AIF[FC]": "AIFF",
    rb"fLaC": "FLAC",
    rb"OggS": "OGG",
    rb"ID3[\x02-\x04]": "MP3",
    rb"\.snd|dns\.": "AU",
    rb"caff\x00": "CAF",
    rb"....ftyp": "MP4",
    rb"\x1aE\xdf\xa3": "WebM",
    rb"#!AMR": "AMR",
    rb"0&\xb2u\x8ef\xcf\x11": "WMA",
    rb"NIST_1A": "NIST",
    rb"Creative Voice File": "VOC",
    rb"wvpk": "WavPack",
    rb"MAC |APETAGEX": "APE",
    rb"FLV\x01": "FLV",
    rb"GIF8|\x89PNG|\xff\xd8\xff\xe0|%PDF|PK\x03\x04|\x1f\x8b\x08": "no audio",
}
"""First bytes by regular expression; as samples they would be loud and most unlikely ones."""

SIGNED_BYTES = 4096
"""By then the kind shows: MPEG audio has no signature but two frames that fit together, of at most 2881 bytes."""

_KINDS = re.compile(b"|".join(b"(%s)" % pattern for pattern in SIGNATURES), re.DOTALL)


def kind_of(beginning: bytes) -> str | None:
    """Name the kind of recording that begins so.

    Args:
        beginning: the first bytes, SIGNED_BYTES of them where there are so many.

    Returns:
        Such as WAV or MP3; None for what may be raw samples.
    """
    if found := _KINDS.match(beginning):
        return list(SIGNATURES.values())[found.lastindex - 1 if found.lastindex else 0]
    if begins_with_frames(beginning):
        return "MP3"
    return "AAC" if _begins_with_adts(beginning) else None


def _begins_with_adts(beginning: bytes) -> bool:
    """Whether an AAC frame begins here, and another of the same stream right behind it."""
    length = _adts_frame_bytes(beginning[:6])
    following = beginning[length : length + 6]
    return length > 0 and following[:2] == beginning[:2] and _adts_frame_bytes(following) > 0


def _adts_frame_bytes(head: bytes) -> int:
    """The length of an AAC frame by its ADTS header (ISO/IEC 13818-7); 0 if it is none."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0
