"""Help texts of options whose default depends on the architecture."""

from __future__ import annotations

from serctl.models import ARCHITECTURES, Architecture


def by_architecture(fact: str) -> str:
    """Return the default, and the architectures that have another.

    Args:
        fact: name of a field of Architecture.
    """
    usual = getattr(Architecture, fact)
    others = [f"{name} {getattr(each, fact)}" for name, each in ARCHITECTURES.items() if getattr(each, fact) != usual]
    return "; ".join([str(usual), *others])


def by_fit(field: str, usual: float, *, facts: str = "fit") -> str:
    """Return the default of a fit or of the augmentation, and the architectures that have another.

    Args:
        field: name of the option.
        usual: its default.
        facts: fit or augmentation.
    """
    tables = {name: getattr(each, facts) for name, each in ARCHITECTURES.items()}
    return "; ".join([f"{usual:g}", *(f"{name} {each[field]:g}" for name, each in tables.items() if field in each)])
