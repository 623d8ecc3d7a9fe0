"""Runs a command, and prints how long it took and the most memory that it and its children held, by kind.

    python tests/memory/measure.py [--limit=3G] -- kgan train --dataset=folder --data_dir=DIR ...

Anonymous memory (RssAnon) can only be swapped out; pages of mapped files (RssFile), such as the decoded images, are
dropped when others need the room. With --limit the command runs in a memory cgroup of that size, page cache included,
where root can make one (cgroup v1 or v2): it is killed if it cannot do with that.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

_KINDS = ("VmHWM", "RssAnon", "RssFile")
_VERSION_1 = Path("/sys/fs/cgroup/memory")


def held(pid: int) -> dict[str, int]:
    """Bytes by kind, of a process and all below it."""
    total = dict.fromkeys(_KINDS, 0)
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in total:
                total[name] = int(value.split()[0]) * 1024
        children = " ".join(task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children"))
        for child in children.split():
            total = {kind: total[kind] + amount for kind, amount in held(int(child)).items()}
    return total


@contextlib.contextmanager
def limited(text: str | None):
    """A cgroup of this size and a function that moves the calling process into it; both nothing without a size."""
    if text is None:
        yield None, None
        return
    root, setting = (Path("/sys/fs/cgroup"), "memory.max")
    if _VERSION_1.is_dir():
        root, setting = _VERSION_1, "memory.limit_in_bytes"
    group = root / f"kgan-{os.getpid()}"
    group.mkdir()
    try:
        (group / setting).write_text(text)
        yield group, lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    most = dict.fromkeys(_KINDS, 0)
    with limited(given.limit) as (group, enter):
        started = time.monotonic()
        with subprocess.Popen(command, preexec_fn=enter) as process:
            while process.poll() is None:
                most = {kind: max(most[kind], amount) for kind, amount in held(process.pid).items()}
                time.sleep(0.2)
        seconds = time.monotonic() - started
        amounts = "  ".join(f"{kind} {amount / 1e9:.2f} GB" for kind, amount in most.items())
        peaks = [group / name for name in ("memory.max_usage_in_bytes", "memory.peak")] if group else []
        for peak in filter(Path.exists, peaks):
            amounts += f"  cgroup {int(peak.read_text()) / 1e9:.2f} GB of {given.limit}"
    user = os.times()
    print(
        f"exit {process.returncode}  {seconds:.1f} s  processor {user.children_user + user.children_system:.1f} s  "
        f"{amounts}",
        file=sys.stderr,
    )
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
