"""Pictures of one's own by what lies at a path: a folder, or a file whose suffix is in FILES."""

import os
from pathlib import Path

from kgan.errors import UserError
from kgan.pictures.array_file import ArrayFile
from kgan.pictures.folder import Folder
from kgan.pictures.picture_file import PictureFile
from kgan.pictures.picture_zip import PictureZip
from kgan.pictures.pictures import Pictures

FILES: dict[str, type[PictureFile]] = {".npy": ArrayFile, ".npz": ArrayFile, ".zip": PictureZip}


def open_pictures(place: Path) -> Pictures:
    """What lies at `place`. Raises UserError if that is nothing of the kind, or a folder without images."""
    if os.path.isdir(place):
        return Folder(place)
    kind = FILES.get(place.suffix.lower())
    if kind and os.path.exists(place):
        return kind(place)
    raise UserError(f"{place}: not a folder of images, nor a file of them ({', '.join(FILES)})")


def own_pictures(name: str, data_dir: str | None) -> Pictures:
    """The pictures of --dataset=NAME ("folder"): at `data_dir`, else in $KGAN_DATA_DIR/NAME, else in $KGAN_DATA_DIR.

    Raises UserError if neither is given, or nothing is there.
    """
    if data_dir:
        return open_pictures(Path(data_dir))
    if root := os.environ.get("KGAN_DATA_DIR"):
        below = Path(root, name)
        return open_pictures(below if below.exists() else Path(root))
    raise UserError(
        f"--dataset={name} needs --data_dir: the parent of the class folders or of the images, or a file of images "
        "(or name it in $KGAN_DATA_DIR)"
    )
