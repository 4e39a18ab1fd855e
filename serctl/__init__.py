"""Speech emotion recognition for folders of recordings."""

__all__ = ["__version__"]

__version__ = "0.1.0"
