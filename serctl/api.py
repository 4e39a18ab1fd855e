"""The library: what the commands do, for Python, as `serctl.NAME`; imports are made when they are needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from serctl.extras import require_extra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from serctl.audio.find import Recording
    from serctl.bundle.store import Bundle
    from serctl.corpora import ReadOptions
    from serctl.explanation.options import ExplainOptions
    from serctl.explanation.recording import Explanation
    from serctl.learning.fit import EpochCallback
    from serctl.learning.options import LabelOptions
    from serctl.reports.schema import Columns, Table
    from serctl.run import Run
    from serctl.runtime.recogniser import Recogniser
    from serctl.verbs.evaluate import CrossValidation, Evaluation, FoldCallback
    from serctl.verbs.moments import Prediction as Stretch
    from serctl.verbs.options import ExtractOptions, PredictOptions
    from serctl.verbs.train import TrainOptions, TrainResult

    Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Prediction:
    """The emotion of a recording, or of a part of it.

    Attributes:
        emotion: the likeliest one; `uncertain` below the least confidence, `no-speech` in silence.
        confidence: its calibrated probability, 0 to 1; NaN without speech.
        probabilities: calibrated, by emotion; NaN without speech.
        start_s: where the part starts, in seconds from the start of the recording.
        end_s: where it ends.
        windows: the parts that a recording was cut into, in their order; empty for such a part.
        novelty: how unlike the training recordings it is, 0 to 1; NaN unless asked for, or without speech.
        value: of a model of numbers, which names no emotion; NaN without speech.
    """

    emotion: str
    confidence: float
    probabilities: Mapping[str, float]
    start_s: float
    end_s: float
    windows: tuple[Prediction, ...] = ()
    novelty: float = math.nan
    value: float = math.nan


class Scan(NamedTuple):
    """What was recognised in corpora: a manifest, one row for each utterance, and what is wrong with them."""

    manifest: pd.DataFrame
    problems: tuple[str, ...]


class Model:
    """A model that is loaded once and predicts as often as asked; made by load_model.

    Attributes:
        bundle: what the model consists of: network, labels, features, calibration, metrics, licence.
        recogniser: the loaded network.
    """

    def __init__(self, bundle: Bundle) -> None:
        from serctl.runtime.recogniser import Recogniser
        from serctl.runtime.trial import try_network

        try_network(bundle)
        self.bundle = bundle
        self.recogniser: Recogniser = Recogniser(bundle)

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions that the model knows; none for a model of numbers."""
        return self.bundle.facts.labels

    def __repr__(self) -> str:
        return f"Model({self.bundle.identity!r}, labels={self.labels})"

    def predict(
        self,
        audio: str | Path | NDArray,  # type: ignore[type-arg]
        *,
        sample_rate: int | None = None,
        options: PredictOptions | None = None,
    ) -> Prediction:
        """Predict the emotion of one recording.

        Args:
            audio: a recording's path; or samples, shape (n,) or (n, channels), float or integers of their full scale.
            sample_rate: of the samples, in Hz; for samples only.
            options: window, hop, least confidence and language; windows overlap with `per` segment. No transcripts.

        Returns:
            The prediction of the whole recording, with those of its windows.

        Raises:
            AudioError: the recording or the samples cannot be read or used, or are shorter than 0.1 s.
            ConfigError: samples without their rate, or a path with one.
        """
        from serctl.backends.serial import one_thread
        from serctl.features import open_windows
        from serctl.verbs import predict as verb
        from serctl.verbs.moments import merge
        from serctl.verbs.options import PredictOptions

        options = options or PredictOptions()
        config, group, hop_s = verb.analysis(self.bundle.facts.features, options)
        windows = open_windows(audio, config, sample_rate=sample_rate, hop_s=hop_s)
        with one_thread():
            parts = verb.predict_windows(windows, self.recogniser, config=config, group=group, options=options)
        verb.check_duration(
            repr(str(audio)) if isinstance(audio, str | Path) else "the recording", parts[-1].end_s - parts[0].start_s
        )
        return self._named(merge(parts), options, tuple(self._named(part, options) for part in parts))

    def _named(self, part: Stretch, options: PredictOptions, windows: tuple[Prediction, ...] = ()) -> Prediction:
        from serctl.verbs.moments import emotion_of, shown_probabilities

        row = shown_probabilities(part)
        about = (part.start_s, part.end_s, windows, part.novelty)
        if target := self.bundle.facts.target:
            return Prediction("", math.nan, {}, *about, float(target.scale.values(row)))
        emotion = emotion_of(row, self.labels, options.min_confidence)
        return Prediction(emotion, float(row.max()), dict(zip(self.labels, row.tolist(), strict=True)), *about)


def load_model(model: str | Path | None = None) -> Model:
    """Load and verify a model.

    Args:
        model: a bundled model's name or a bundle's folder; None for the default of `serctl predict`.

    Raises:
        BundleError: there is no such model, or it is damaged.
        MissingExtraError: it needs a package that is not installed.
    """
    return Model(_bundle(model))


def predict(
    recordings: Paths,
    *,
    model: Model | str | Path | None = None,
    options: PredictOptions | None = None,
    run: Run | None = None,
) -> pd.DataFrame:
    """Predict the emotions of recordings, on all cores.

    Args:
        recordings: paths of recordings, or of folders, which are searched recursively.
        model: a loaded model, a bundled model's name or a bundle's folder; None for the default.
        options: what a row stands for, and so on.
        run: workers, cache, and so on; without it every core, and no cache.

    Returns:
        The report of `serctl predict`, in the order of the recordings; one that cannot be read has the status `error`.

    Raises:
        AudioError: a path does not exist, or a folder holds no recordings.
        BundleError: there is no such model, or it is damaged.
    """
    from serctl.verbs import predict as verb

    bundle = _bundle(model)
    tables: list[Table] = []
    verb.predict(_found(recordings), model=bundle, options=options, run=run, on_table=tables.append)
    return _frame(tables, verb.columns(bundle, options))


def explain(
    recording: str | Path, *, model: Model | str | Path | None = None, options: ExplainOptions | None = None
) -> Explanation:
    """Explain the answer to a recording; takes some seconds.

    Args:
        recording: its path.
        model: loaded, or a bundled model's name or a bundle's folder; None for the default.
        options: which emotion, which window.

    Raises:
        AudioError: the recording cannot be read, or holds no speech where it is to be explained.
        BundleError: there is no such model, or it is damaged.
        ConfigError: the model does not know the emotion.
    """
    from serctl.explanation.options import ExplainOptions
    from serctl.verbs import explain as verb

    loaded = model if isinstance(model, Model) else load_model(model)
    return verb.explain_one(Path(recording), recogniser=loaded.recogniser, options=options or ExplainOptions())


def extract(recordings: Paths, *, options: ExtractOptions | None = None, run: Run | None = None) -> pd.DataFrame:
    """Extract acoustic features of recordings, on all cores.

    Args:
        recordings: paths of recordings, or of folders, which are searched recursively.
        options: functionals per recording or per window, window, deep features.
        run: workers, cache, and so on; without it every core, and no cache.

    Returns:
        The rows and columns of the report that `serctl extract` writes, in the order of the recordings.

    Raises:
        AudioError: a path does not exist, or a folder holds no recordings.
        ConfigError: frame-level descriptors are asked for, which only a file can hold.
    """
    from serctl.verbs import extract as verb
    from serctl.verbs.options import ExtractOptions

    options = options or ExtractOptions()
    tables: list[Table] = []
    verb.extract(_found(recordings), options=options, run=run, on_table=tables.append)
    return _frame(tables, verb.columns(options))


def scan(corpora: Paths, *, options: ReadOptions | None = None, run: Run | None = None) -> Scan:
    """Recognise corpora of emotional speech and list their utterances.

    Args:
        corpora: folders of corpora, or manifests (CSV, Parquet).
        options: names of columns and meanings of labels that are not the usual ones.
        run: only its jobs and progress matter.

    Returns:
        The manifest, with the columns that `serctl corpus scan -o` writes, and what is wrong with the corpora.

    Raises:
        CorpusError: a path is no corpus.
    """
    import pandas as pd

    from serctl.verbs import scan as verb

    result = verb.scan(_paths(corpora), options=options, run=run)
    problems = tuple(problem for report in result.corpora for problem in report.problems)
    return Scan(pd.DataFrame(list(result.rows), columns=list(result.columns)), problems)


def train(
    corpora: Paths,
    *,
    output: str | Path,
    options: TrainOptions | None = None,
    run: Run | None = None,
    on_epoch: EpochCallback | None = None,
) -> TrainResult:
    """Train a model on labelled corpora and write it as a bundle; needs the extra `train`.

    Args:
        corpora: folders of corpora, or manifests (CSV, Parquet).
        output: folder of the bundle to write.
        options: architecture, labels, augmentation, fit, and what is written down beside the model.
        run: workers, cache, and so on; without it every core, and no cache.
        on_epoch: called with the scores of every epoch.

    Returns:
        Where the bundle is, its scores on the held-out part, and what it was trained on.

    Raises:
        MissingExtraError: the packages of the extra are not installed.
        CorpusError: the corpora do not suffice.
        ConfigError: the output exists, or an option cannot be used.
    """
    from serctl.learning.backend import start_training

    start_training("training")
    from serctl.learning.learn import ignore_epoch
    from serctl.verbs import train as verb

    return verb.train(
        _paths(corpora),
        output=Path(output),
        options=options or verb.TrainOptions(),
        run=run,
        on_epoch=on_epoch or ignore_epoch,
    )


def evaluate(
    corpora: Paths,
    *,
    output: str | Path,
    model: Model | str | Path | None = None,
    labels: LabelOptions | None = None,
    seed: int = 0,
    adapt: bool = False,
    run: Run | None = None,
) -> Evaluation:
    """Score a model on labelled recordings; needs the extra `train`, for the plots.

    Args:
        corpora: folders of corpora, or manifests (CSV, Parquet).
        output: folder to write scores, plots and predictions to.
        model: a loaded model, a bundled model's name or a bundle's folder; None for the default.
        labels: which emotions take part, after renaming; all that model and corpora share without it.
        seed: of the bootstrap of the intervals.
        adapt: normalise features by the recordings of each corpus, without labels; the scores are stamped so.
        run: workers, cache, and so on; without it every core, and no cache.

    Returns:
        The scores with their intervals, and the content of metrics.json.

    Raises:
        MissingExtraError: the packages of the extra are not installed.
        CorpusError: the corpora and the model share fewer than two emotions.
        ConfigError: the output exists.
    """
    require_extra("train", "evaluation")
    from serctl.learning.options import LabelOptions as Labels
    from serctl.verbs import evaluate as verb

    bundle = _bundle(model)
    return verb.evaluate_model(
        _paths(corpora), model=bundle, output=Path(output), labels=labels or Labels(), seed=seed, adapt=adapt, run=run
    )


def cross_validate(
    corpora: Paths,
    *,
    output: str | Path,
    options: CrossValidation,
    command: str = "",
    run: Run | None = None,
    on_fold: FoldCallback | None = None,
    on_epoch: EpochCallback | None = None,
) -> Evaluation:
    """Score an architecture, trained anew for every fold of a protocol; needs the extra `train`.

    Args:
        corpora: folders of corpora, or manifests (CSV, Parquet).
        output: folder to write scores, plots and predictions to.
        options: the protocol, and how the network of each fold is trained.
        command: written down with the scores.
        run: workers, cache, and so on; without it every core, and no cache.
        on_fold: called as each fold begins.
        on_epoch: called with the scores of every epoch.

    Returns:
        The scores of all folds together, and the content of metrics.json.

    Raises:
        MissingExtraError: the packages of the extra are not installed.
        CorpusError: the corpora do not suffice for the protocol.
        ConfigError: the output exists, or an option cannot be used.
    """
    from serctl.learning.backend import start_training

    start_training("evaluation")
    from serctl.learning.learn import ignore_epoch
    from serctl.verbs import evaluate as verb

    return verb.cross_validate(
        _paths(corpora),
        output=Path(output),
        options=options,
        command=command,
        run=run,
        on_fold=on_fold or verb.ignore_fold,
        on_epoch=on_epoch or ignore_epoch,
    )


def _bundle(model: Model | str | Path | None) -> Bundle:
    from serctl.bundle.store import DEFAULT_MODEL, load_bundle

    if isinstance(model, Model):
        return model.bundle
    return load_bundle(DEFAULT_MODEL if model is None else model)


def _paths(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _found(recordings: Paths) -> list[Recording]:
    from serctl.audio.find import find_recordings

    return find_recordings(_paths(recordings))


def _frame(tables: Sequence[Table], columns: Columns) -> pd.DataFrame:
    from serctl.reports.frame import to_frame

    return to_frame(tables, columns)
