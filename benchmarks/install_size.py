"""Install size: what `pip install` puts into site-packages, for the light install and for each extra.

Each kind is installed from this checkout into an environment of its own; pip and setuptools, which venv brings, do not
count. Byte-compiled files do: pip writes them. MiB are those of `du --apparent-size -m`, 2**20 bytes of
file content; MB are 10**6. Needs a package index.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LIMIT_MIB = 400
"""What the light install may take."""

OF_THE_ENVIRONMENT = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")


def site_packages(environment: Path) -> Path:
    """Return the folder that pip installs into."""
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each package in site-packages, without what the environment itself brings."""
    found = {
        each.name: sum(path.stat().st_size for path in each.rglob("*") if path.is_file()) or each.stat().st_size
        for each in folder.iterdir()
        if not each.name.startswith(OF_THE_ENVIRONMENT)
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def install(environment: Path, extra: str) -> dict[str, int]:
    """Install the project with an extra (or none) into a new environment and return the sizes."""
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    target = f"{PROJECT}[{extra}]" if extra else str(PROJECT)
    subprocess.run([environment / "bin" / "pip", "install", "--quiet", target], check=True)
    return sizes(site_packages(environment))


def main() -> None:
    """Print a table; exit code 1 if the light install is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", default=["", "parquet", "train"], help="extras to measure; '' for none")
    parser.add_argument("--largest", type=int, default=8, help="packages to list for each")
    options = parser.parse_args()
    print("| install | MiB | MB | largest packages, in MiB |\n|---|---|---|---|")
    for extra in options.extras:
        with tempfile.TemporaryDirectory() as folder:
            found = install(Path(folder), extra)
        total = sum(found.values())
        largest = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in list(found.items())[: options.largest])
        command = f"pip install '.[{extra}]'" if extra else "pip install ."
        print(f"| `{command}` | {total / 2**20:.0f} | {total / 1e6:.0f} | {largest} |", flush=True)
        if not extra and total > LIMIT_MIB * 2**20:
            sys.exit(f"expected at most {LIMIT_MIB} MiB, received {total / 2**20:.0f}")


if __name__ == "__main__":
    main()
