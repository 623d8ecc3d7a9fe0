"""What all files of many pictures have in common, whatever their format."""

from kgan.pictures.manifest import file_sha256
from kgan.pictures.pictures import Pictures

MAX_CLASSES = 100_000
"""Labels are whole numbers from 0 to one less."""


class PictureFile(Pictures):
    """Pictures, and perhaps their labels, in the one file at `place`."""

    @property
    def name(self) -> str:
        return self.place.stem

    def files(self) -> list[str]:
        return [str(self.place)]

    def files_sha256(self) -> str:
        return file_sha256(self.place)
