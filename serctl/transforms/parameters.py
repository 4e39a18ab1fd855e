"""What a transform reports of what it drew."""

from __future__ import annotations

Parameters = dict[str, float | str]
