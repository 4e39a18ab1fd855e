"""Explain recordings: recordings in, one page (or file, or picture) out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from serctl.backends.serial import one_thread
from serctl.errors import ConfigError, Failure
from serctl.explanation.options import ExplainOptions
from serctl.explanation.recording import Explanation, explain_recording, find_emotion
from serctl.extras import require_extra
from serctl.files import atomic_path, check_new_file
from serctl.reports.schema import utf8
from serctl.run import Progress, Run
from serctl.runtime.trial import try_network
from serctl.verbs.adapt import load_recogniser
from serctl.verbs.predict import check_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from serctl.audio.find import Recording
    from serctl.bundle.store import Bundle
    from serctl.cache import Cache
    from serctl.runtime.recogniser import Recogniser

Format = Literal["html", "json", "png"]


@dataclass(frozen=True)
class Explained:
    """What became of the recordings: explanations in their order, and the path and error of each that failed."""

    explanations: tuple[Explanation, ...]
    failures: tuple[tuple[str, str], ...]


def explain(
    recordings: Sequence[Recording],
    *,
    model: Bundle,
    options: ExplainOptions | None = None,
    output: Path | None = None,
    form: Format | None = None,
    run: Run | None = None,
) -> Explained:
    """Explain the answer to every recording, and write a page, a JSON file or a picture, whole or not at all.

    Args:
        recordings: what to explain.
        model: what is explained.
        options: which emotion, which window.
        output: file to write; None to write none. None is written either where nothing could be explained.
        form: of the output; None for what its suffix names.
        run: workers, cache, progress, and whether an output may be replaced.

    Raises:
        ConfigError: the model does not know the emotion, what runs its network is not installed, or the output exists
            or cannot be written.
        MissingExtraError: a picture is asked for without the extra that draws it.
        BundleError: the network cannot be loaded.
    """
    options, run = options or ExplainOptions(), run or Run()
    chosen = _check_output(output, form, recordings=len(recordings), overwrite=run.overwrite) if output else "json"
    explained = _explain(recordings, model, options, run)
    if output and explained.explanations:
        _write(output, explained, chosen)
    return explained


def _explain(recordings: Sequence[Recording], model: Bundle, options: ExplainOptions, run: Run) -> Explained:
    try_network(model)
    recogniser = load_recogniser(model.folder, model.digest)
    if options.emotion:
        find_emotion(options.emotion, recogniser)
    function = partial(explain_path, folder=model.folder, digest=model.digest, options=options, cache=run.cache)
    paths = [recording.path for recording in recordings]
    found: dict[int, Explanation] = {}
    failed: dict[int, tuple[str, str]] = {}
    for index, result in run.map(function, paths):
        if isinstance(result, Failure):
            failed[index] = (utf8(str(paths[index])), utf8(result.message))
        else:
            found[index] = result
        run.progress(Progress(len(found) + len(failed), len(paths), len(failed)))
    return Explained(tuple(found[index] for index in sorted(found)), tuple(failed[index] for index in sorted(failed)))


def explain_path(path: Path, *, folder: Path, digest: str, options: ExplainOptions, cache: Cache | None) -> Explanation:
    """Explain one recording; runs in a worker process. Raises AudioError if it cannot be read or holds no speech."""
    return explain_one(path, recogniser=load_recogniser(folder, digest), options=options, cache=cache)


def explain_one(
    path: Path, *, recogniser: Recogniser, options: ExplainOptions, cache: Cache | None = None
) -> Explanation:
    """Explain one recording on one thread; see explain_recording. Raises AudioError for one below 0.1 s too."""
    with one_thread():
        found = explain_recording(path, recogniser=recogniser, options=options, cache=cache)
    check_duration(repr(str(path)), found.window_end_s[-1])
    return found


def _check_output(output: Path, form: Format | None, *, recordings: int, overwrite: bool) -> Format:
    """The format of an output that can be written."""
    known: dict[str, Format] = {".html": "html", ".htm": "html", ".json": "json", ".png": "png"}
    found = form or known.get(output.suffix.lower())
    if found is None:
        raise ConfigError(f"expected an output ending in .html, .json or .png. Received: {output}")
    if found == "png":
        require_extra("train", "a picture", "matplotlib")
    if found == "png" and recordings != 1:
        raise ConfigError(f"a picture shows one recording. Received: {recordings}")
    check_new_file(output, overwrite=overwrite)
    return found


def _write(path: Path, explained: Explained, form: Format) -> None:
    if form == "png":
        from serctl.explanation.picture import draw

        draw(path, explained.explanations[0])
        return
    with atomic_path(path) as draft:
        draft.write_text(as_json(explained) if form == "json" else as_page(explained), encoding="utf-8")


def as_json(explained: Explained) -> str:
    """The explanations and the failures as JSON text, NaN-free."""
    failures = [{"path": path, "error": error} for path, error in explained.failures]
    content = {"explanations": [each.to_dict() for each in explained.explanations], "failures": failures}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_page(explained: Explained) -> str:
    """The explanations and the failures as one HTML page."""
    from serctl.explanation.page import make_page

    return make_page(explained.explanations, explained.failures)
