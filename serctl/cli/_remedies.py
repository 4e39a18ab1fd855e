"""What to type to get past an error: the errors below know no flags, this table names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serctl.errors import Remedy, SerctlError

if TYPE_CHECKING:
    from serctl.errors import RunInterrupted

REMEDIES = {
    Remedy.OVERWRITE: "--overwrite replaces it",
    Remedy.RESTART: "--overwrite starts again",
    Remedy.RESUME: "--resume continues it",
    Remedy.OTHER_OUTPUT: "choose another -o",
    Remedy.WITH_OUTPUT: "-o FILE names the report to continue",
    Remedy.FOLDER: "-o FOLDER --format NAME writes one for each",
    Remedy.TABLE_OUTPUT: "-o NAME.csv writes one, and `serctl report NAME.csv` makes a page of it",
    Remedy.PARQUET_OUTPUT: "-o NAME.parquet writes one",
    Remedy.CACHE_FOLDER: "--cache-dir DIR chooses another folder",
    Remedy.PER_WINDOW: "--level functionals --per window has no such limit",
    Remedy.CLASSES: "--classes chooses emotions, --map renames them",
    Remedy.COLUMN: "`serctl corpus scan FILE --column path=filename -o manifest.csv` takes a column by its name",
    Remedy.LABEL: "--map LABEL=EMOTION says what a label means",
    Remedy.ARCHITECTURE: "leave --arch out, or give the model's",
    Remedy.CAUSAL: "add --causal",
    Remedy.NOT_CAUSAL: "leave --causal out",
    Remedy.CAUSAL_MODEL: "`serctl train --arch lstm --causal` trains one",
    Remedy.CALIBRATION_RECORDINGS: "--calibrate DIR names recordings like those that the model will hear",
    Remedy.VERIFICATION_RECORDINGS: "--verify DIR names recordings like those that the model will hear",
    Remedy.NO_QUANTIZATION: "--quantize none",
    Remedy.LITERT: "--format litert",
    Remedy.SAMPLE_FORMAT: "--format states how samples are stored",
    Remedy.MICROPHONE: "--device chooses one, `python -m sounddevice` lists them",
    Remedy.LEARNING_RATE: "--lr lowers it",
    Remedy.SHARD: "--shard I/N of predict and extract writes one",
    Remedy.UPDATE: "--update adds what is new",
    Remedy.PROFILE: "`serctl adapt` measures all of them: --adapt PROFILE",
    Remedy.DASK: "add --backend dask",
    Remedy.TOKEN: "--token or SERCTL_TOKEN sets one",
    Remedy.TRANSCRIPTS: "--transcripts DIR names them",
    Remedy.EPSILON: "--epsilon 8 is weak, --epsilon 1 strong",
    Remedy.PRIVATE_STRATEGY: "--strategy fedavg",
    Remedy.NO_TRANSCRIPTS: "leave --transcripts out",
}


def with_remedies(error: SerctlError | RunInterrupted) -> str:
    """Return the message of an error, followed by the flags that help."""
    remedies = ", or ".join(REMEDIES[remedy] for remedy in error.remedies)
    mark = ": " if isinstance(error, SerctlError) else "; "
    return f"{error}{mark}{remedies}" if remedies else str(error)
