"""Where the files of a data set with a name of its own lie: as given, in Keras's cache, in a package, or downloaded."""

import importlib.util
import os
from pathlib import Path

from kgan.data import downloads
from kgan.data.source import Source
from kgan.errors import UserError


def where(source: Source, data_dir: str | None = None) -> Path | None:
    """The file or folder that a data set would be read from, or None if it would have to be downloaded."""
    place = _search(source, _given_roots(source, data_dir)) or _search(source, _own_roots(source))
    return place[1] if place else None


def find(source: Source, data_dir: str | None) -> tuple[str, Path]:
    """The form and the place of a data set, downloaded if need be."""
    found = _search(source, _given_roots(source, data_dir))
    if found is None and data_dir and not source.package:
        raise UserError(f"--data_dir={data_dir}: no {source.name} in it; it may lie there as {_forms(source)}")
    found = found or _search(source, _own_roots(source))
    if found:
        return found
    if source.package:
        raise UserError(f"{source.name} comes with the package {source.package}: pip install 'kgan[{source.extra}]'")
    _download(source)
    if found := _search(source, _own_roots(source)):
        return found
    raise UserError(f"{source.name}: what was downloaded is gone again")


def _given_roots(source: Source, data_dir: str | None) -> list[Path]:
    folder = data_dir or os.environ.get("KGAN_DATA_DIR")
    return [Path(folder, source.name), Path(folder)] if folder and not source.package else []


def _own_roots(source: Source) -> list[Path]:
    """Where Keras's own loaders, and `_download`, leave their files; or the package that has them."""
    if source.package:
        package = importlib.util.find_spec(source.package)
        return [Path(package.origin).parent] if package and package.origin else []
    cache = _cache()
    keras_name = {"fashion_mnist": "fashion-mnist", "cifar10": "cifar-10-batches-py-target"}.get(source.name)
    return [cache / source.name, *([cache / keras_name] if keras_name else []), cache]


def _cache() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "datasets")


def _search(source: Source, roots: list[Path]) -> tuple[str, Path] | None:
    for root in roots:
        for form in source.forms:
            path = root / form.removesuffix("[.gz]")
            if path.exists() or (form.endswith("[.gz]") and path.with_name(path.name + ".gz").exists()):
                return form, root if form.endswith("[.gz]") else path
    return None


def _forms(source: Source) -> str:
    return " or ".join(source.forms)


def _download(source: Source) -> None:
    """The files by which a form is recognised are fetched last, so that an interrupted download is not taken for a data
    set."""
    forms = {form.removesuffix("[.gz]") for form in source.forms}
    files = sorted(source.downloads, key=lambda file: file.file_name.removesuffix(".gz") in forms)
    for file_name, address, sha256 in files:
        try:
            downloads.fetch(address, _cache() / source.name / file_name, sha256)
        except UserError as error:
            raise UserError(
                f"{source.name} is not on this machine and could not be downloaded ({error}): put it, as "
                f"{_forms(source)}, into a folder and give that as --data_dir or KGAN_DATA_DIR"
            ) from None
