"""Data sets published as four IDX files: found on disk or fetched; hashes alone are trusted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.data.download import Remote, download
from akkafka.data.idx import GZIP_MAGIC, parse_idx
from akkafka.data.source import Arrays, LoadContext, Split
from akkafka.data.unpacked import keep_unpacked, open_unpacked
from akkafka.errors import DataError


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file as published, and as it is when unpacked. The hashes are sha256 in hex."""

    stem: str  # its name without .gz
    shape: tuple[int, ...]  # of the uint8 values within
    gz_bytes: int
    gz_sha256: str
    plain_sha256: str

    @property
    def name(self) -> str:
        """As published."""
        return f"{self.stem}.gz"

    @property
    def names(self) -> tuple[str, ...]:
        """As found on disks: packed or not, and with the dot that the packed file's own name has."""
        dotted = self.stem.replace("-idx", ".idx")
        return (self.name, self.stem, f"{dotted}.gz", dotted)


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """A data set of images and their class numbers, and where it can be had.

    There are no validation images: `validation` and `test` both read the second pair of files, unless the
    definition holds some training samples out. A test figure means something only if validation was not used
    to choose by.
    """

    name: str
    folders: tuple[str, ...]  # below a data directory, in which its files are looked for first
    mirrors: tuple[str, ...]  # tried in order; each ends in a slash
    train: tuple[PublishedFile, PublishedFile]  # images, labels
    test: tuple[PublishedFile, PublishedFile]

    def load(self, split: Split, context: LoadContext) -> Arrays:
        """x uint8 (N, 1, rows, columns), y uint8 (N,), read-only; memory-mapped where the cache can be used.

        Raises DataError for a missing data directory, for a file that is not what its hash says, and for
        failed downloads.
        """
        images_file, labels_file = self.train if split == "train" else self.test
        images = self._array(images_file, context)
        labels = self._array(labels_file, context)
        if len(images) != len(labels):
            raise DataError(
                f"{self.name}: {len(images)} images in {images_file.stem}, "
                f"but {len(labels)} labels in {labels_file.stem}",
                hint="images and labels of one split belong together: fetch both files anew",
            )
        return images[:, np.newaxis], labels

    def _array(self, file: PublishedFile, context: LoadContext) -> NDArray[np.uint8]:
        found = self._find(file, context.data_dir)
        data = None if found is None else self._verified(found, file)
        kept = open_unpacked(context.cache_dir, file.plain_sha256, file.shape)
        if kept is not None:
            return kept
        if found is None or data is None:
            found = self._download(file, context)
            data = found.read_bytes()
        array = _of_shape(parse_idx(data, str(found)), file.shape, found)
        keep_unpacked(context.cache_dir, file.plain_sha256, array)
        kept = open_unpacked(context.cache_dir, file.plain_sha256, file.shape)
        return array if kept is None else kept

    def _find(self, file: PublishedFile, data_dir: Path | None) -> Path | None:
        if data_dir is None:
            return None
        if not data_dir.is_dir():
            raise DataError(
                f"{self.name}: the data directory {data_dir} is not there",
                hint="correct --data-dir or AKKAFKA_DATA_DIR, or leave it out: the files are downloaded then",
            )
        places = [data_dir / folder for folder in self.folders] + [data_dir]
        paths = (place / name for place in places for name in file.names)
        return next((path for path in paths if path.is_file()), None)

    def _verified(self, path: Path, file: PublishedFile) -> bytes:
        """The bytes of a user's file, if they are the published ones.

        Hashed at every start, with no memory of earlier answers: that takes 6 ms for MNIST and 15 ms for
        Fashion-MNIST, and a memory of (path, size, time) would believe in a file that was changed under its
        old time.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror or error}",
                hint="mend its permissions, or move it away",
            ) from error
        expected = file.gz_sha256 if data[:2] == GZIP_MAGIC else file.plain_sha256
        got = hashlib.sha256(data).hexdigest()
        if got != expected:
            raise DataError(
                f"{path} is not {self.name}'s {file.stem}: sha256 {got}, expected {expected}",
                hint=f"delete or move it to have it downloaded, or put {self.name}'s files into a folder"
                f" {self.folders[0]!r} of the data directory",
            )
        return data

    def _download(self, file: PublishedFile, context: LoadContext) -> Path:
        remote = Remote(file.name, self.mirrors, file.gz_sha256, file.gz_bytes)
        return download(remote, context.cache_dir / self.name, progress=context.progress)


def _of_shape(array: NDArray[Any], shape: tuple[int, ...], path: Path) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.shape != shape:
        raise DataError(
            f"{path}: holds {array.dtype} {array.shape}, expected uint8 {shape}", hint="fetch the file anew"
        )
    return array
