"""What a run is made with: package versions, the source's revision, and TensorFlow itself."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import kgan


def versions() -> dict[str, str]:
    """Of the packages that decide what a network computes."""
    return {
        "kgan": kgan.__version__,
        "python": platform.python_version(),
        "tensorflow": importlib.metadata.version("tensorflow"),
        "keras": importlib.metadata.version("keras"),
        "numpy": importlib.metadata.version("numpy"),
    }


def git_revision() -> str | None:
    """The revision of the source kgan runs from, with "+" if it was changed; None for an installed package."""
    root = Path(kgan.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        revision = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("+" if changed else "")


def import_tensorflow() -> None:
    """Imports TensorFlow without the page about the machine that it prints to stderr before its log level counts.

    If the import fails, what it printed is shown. Keras would load scikit-learn, where there is one, for wrappers that
    kgan has no use for: a fifth of the time that the import takes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.modules.setdefault("sklearn", None)
    with tempfile.TemporaryFile() as page:
        stderr = os.dup(2)
        os.dup2(page.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            page.seek(0)
            os.write(stderr, page.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
