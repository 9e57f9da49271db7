"""A venv for each suite, of the versions pinned in requirements/, kept from run to run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
PLACE = HERE.parents[1] / ".venv" / "compat"


class Environment:
    """The venv of one suite; it is made anew when its requirements or Python change."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = PLACE / name
        self._requirements = HERE / "requirements" / f"{name}.txt"
        self._stamp = self.path / "stamp"
        pinned = self._requirements.read_bytes() if self._requirements.exists() else b""
        state = pinned + sys.version.encode()
        self._digest = hashlib.sha256(state).hexdigest()
        if not self._stamp.exists() or self._stamp.read_text() != self._digest:
            self._make()

    def python(self, *arguments: str, cwd: Path | None = None, environ: dict[str, str] | None = None) -> None:
        """Run the venv's Python; modules of this directory can be imported.

        Raises:
            CalledProcessError: it failed.
        """
        own = {"PYTHONPATH": str(HERE), "OPENKIMI_SUITE": self.name}
        subprocess.run(
            [self.path / "bin" / "python", *arguments],
            cwd=cwd,
            env={**os.environ, **own, **(environ or {})},
            check=True,
        )

    def sources(self, package: str) -> Path:
        """Return the unpacked source distribution of a pinned package."""
        pin = next(
            line for line in self._requirements.read_text().splitlines() if line.startswith(package + "==")
        )
        version = pin.split()[0].rstrip("\\")
        unpacked = self.path / version.replace("==", "-")
        if not unpacked.exists():
            self._pip("download", "--no-deps", "--no-binary", package, "--dest", str(self.path), version)
            with tarfile.open(unpacked.with_name(unpacked.name + ".tar.gz")) as archive:
                archive.extractall(self.path, filter="data")
        return unpacked

    def _make(self) -> None:
        print(f"installing {self._requirements.name} into {self.path}", flush=True)
        venv.create(self.path, clear=True, with_pip=True)
        if self._requirements.exists():
            self._pip("install", "--require-hashes", "--requirement", str(self._requirements))
        self._stamp.write_text(self._digest)

    def _pip(self, *arguments: str) -> None:
        self.python("-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments)
