"""Pictures of one's own by what lies at a path: a folder, or a file whose suffix is in FILES."""

from pathlib import Path

from kgan.data.array_file import ArrayFile
from kgan.data.folder import Folder
from kgan.data.picture_zip import PictureZip
from kgan.data.pictures import Pictures
from kgan.errors import UserError

FILES: dict[str, type[Pictures]] = {".npy": ArrayFile, ".npz": ArrayFile, ".zip": PictureZip}


def open_pictures(place: Path) -> Pictures:
    """What lies at `place`. Raises UserError if that is nothing of the kind, or a folder without images."""
    if place.is_dir():
        return Folder(place)
    kind = FILES.get(place.suffix.lower())
    if kind and place.exists():
        return kind(place)
    raise UserError(f"{place}: not a folder of images, nor a file of them ({', '.join(FILES)})")
