"""The exceptions serctl raises on purpose.

SerctlError
├── AudioError    a recording cannot be found, read or used
├── CorpusError   a corpus, manifest or protocol is not what was expected
├── BundleError   a model bundle is missing, damaged or of another make
└── ConfigError   an option, configuration value or output path cannot be used

Every message says what was expected, what came, and which file.
"""

__all__ = ["AudioError", "BundleError", "ConfigError", "CorpusError", "SerctlError"]


class SerctlError(Exception):
    """Root of every error that serctl raises on purpose."""


class AudioError(SerctlError):
    """A recording cannot be found, read or used."""


class CorpusError(SerctlError):
    """A corpus, manifest or protocol is not what was expected."""


class BundleError(SerctlError):
    """A model bundle is missing, damaged or of another make."""


class ConfigError(SerctlError):
    """An option, configuration value or output path cannot be used."""
