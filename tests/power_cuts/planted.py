"""How a member's process opens its storage: as the product does, or with a fault planted to show that it is found.

Here:   `OPENERS`, by name, since a name crosses process borders.
Never:  changes of the product's code: what is planted lies in the calls to the system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from raft_actors.storage.files import OsFiles
from raft_actors.storage.wal import FileStorage
from tests.storage.logs import GROUP, MEMBER

Opener: TypeAlias = Callable[[str, int], FileStorage]
"""Data directory and `segment_bytes_max` to an open storage."""

PRODUCT: Final = "product"


class _FilesWithoutDataSync(OsFiles):
    """Acknowledges before the disk does."""

    def sync_data(self, descriptor: int) -> None:
        pass


class _FilesThatSyncLater(OsFiles):
    """Syncs nothing until it is told to."""

    syncs = False

    def sync_data(self, descriptor: int) -> None:
        if self.syncs:
            super().sync_data(descriptor)

    def sync(self, descriptor: int) -> None:
        if self.syncs:
            super().sync(descriptor)


def _product(path: str, segment_bytes_max: int) -> FileStorage:
    return FileStorage.open(path, group=GROUP, member_id=MEMBER, segment_bytes_max=segment_bytes_max)


def _without_data_sync(path: str, segment_bytes_max: int) -> FileStorage:
    return FileStorage.open(
        path, group=GROUP, member_id=MEMBER, segment_bytes_max=segment_bytes_max, files=_FilesWithoutDataSync()
    )


def _trusts_the_page_cache(path: str, segment_bytes_max: int) -> FileStorage:
    """What a start reads and answers is not made durable (contracts 4); what is written later is."""
    files = _FilesThatSyncLater()
    storage = FileStorage.open(path, group=GROUP, member_id=MEMBER, segment_bytes_max=segment_bytes_max, files=files)
    files.syncs = True
    return storage


OPENERS: Final[Mapping[str, Opener]] = {
    PRODUCT: _product,
    "without data sync": _without_data_sync,
    "trusts the page cache": _trusts_the_page_cache,
}
