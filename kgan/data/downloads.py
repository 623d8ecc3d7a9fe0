"""Files from the internet: complete, of the sha256 that is expected, or not there at all."""

import sys
from pathlib import Path

from kgan.errors import UserError
from kgan.text import one_line


def fetch(address: str, target: Path, sha256: str) -> Path:
    """Downloads `address` to `target`, unless a file of this sha256 is there already; returns `target`.

    A progress bar is shown where stderr is a terminal. Raises UserError that gives the reason, without naming the file.
    """
    import pooch  # slow to import, and seldom needed

    pooch.get_logger().setLevel("WARNING")
    bar = _Bar(target.name) if sys.stderr.isatty() else None
    try:
        pooch.retrieve(
            address,
            known_hash=f"sha256:{sha256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(progressbar=bar or False),
        )
    except Exception as error:  # of the disk, the network, the server's answer, or the hash
        raise UserError(one_line(" ".join(str(error).split()), 300) or type(error).__name__) from None
    finally:
        if bar:
            bar.close()
    return target


class _Bar:
    """A bar of rich as pooch wants it: it sets `total`, then calls the methods."""

    def __init__(self, name: str):
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(name, total=None)
        self.total = 0

    def update(self, amount: int) -> None:
        self._progress.start()
        self._progress.update(self._task, advance=amount, total=self.total or None)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()
