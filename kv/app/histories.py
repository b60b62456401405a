"""What clients wrote and how it ended, held against what the store has: is every acknowledged write there, once?

Here:   `Write`, and one check for each kind of key; each returns its faults as sentences, none when all is well.
Never:  Ray, threads, the store. The checks know nothing about how the store works, only what it promises.

Every write carries a token of its own. An acknowledged one must be there exactly once; an unknown one may be there,
once; one that ended as not done must not be there. Versions order the writes: the store's numbers rise with each.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["ok", "not_done", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write of one client."""

    client: int
    key: str
    token: str
    """What was written; no two writes have the same."""
    outcome: Outcome
    version: int | None = None
    """Of an acknowledged write."""


def append_faults(writes: Sequence[Write], found: Mapping[str, Sequence[str]]) -> list[str]:
    """Each key's list holds every acknowledged token once, in the order in which its client wrote them.

    `writes`: all appends; those of one client in the order in which it wrote them, one after the other. `found`: the
    lists as they were read.
    """
    return [fault for key, own in _by_key(writes, found) for fault in _list_faults(key, own, found.get(key, ()))]


def _list_faults(key: str, writes: Sequence[Write], tokens: Sequence[str]) -> Iterator[str]:
    times = Counter(tokens)
    for write in writes:
        if write.outcome == "ok" and not times[write.token]:
            yield f"{key}: the acknowledged append {write.token} is lost"
        if write.outcome == "not_done" and times[write.token]:
            yield f"{key}: the append {write.token} ended as not done and is there"
    for token, count in times.items():
        if count > 1:
            yield f"{key}: the append {token} is there {count} times"
    for token in times.keys() - {write.token for write in writes}:
        yield f"{key}: nobody appended {token}"
    place = {token: position for position, token in enumerate(tokens)}
    latest: dict[int, Write] = {}
    for write in writes:
        if write.outcome == "ok" and write.token in place:
            before = latest.get(write.client)
            if before is not None and place[before.token] > place[write.token]:
                yield f"{key}: {write.token} was appended after {before.token} was acknowledged and stands before it"
            latest[write.client] = write


def put_faults(writes: Sequence[Write], found: Mapping[str, tuple[str, int]]) -> list[str]:
    """Each key has the value and version of its last acknowledged put, or the value of an unknown one after that.

    `found`: value and version of each key that is there.
    """
    return [fault for key, own in _by_key(writes, found) if (fault := _value_fault(key, own, found.get(key)))]


def _value_fault(key: str, writes: Sequence[Write], found: tuple[str, int] | None) -> str | None:
    last = max((write.version for write in writes if write.version is not None), default=0)
    if found is None:
        return f"{key}: acknowledged with version {last}, and missing" if last else None
    token, version = found
    author = next((write for write in writes if write.token == token), None)
    if author is None:
        return f"{key}: nobody put {token}"
    if author.outcome == "not_done":
        return f"{key}: the put {token} ended as not done and is there"
    if author.outcome == "ok" and not author.version == version == last:
        return (
            f"{key}: holds {token}, version {version}, which was acknowledged as {author.version}; the last "
            f"acknowledged put is version {last}"
        )
    if author.outcome == "unknown" and version < last:
        return f"{key}: holds {token}, version {version}, though version {last} was acknowledged"
    return None


def loaded_faults(loaded: Mapping[str, int], found: Mapping[str, object]) -> list[str]:
    """Every key that was loaded has the value it was loaded with."""
    return [
        f"{key}: loaded with {value}, found {found.get(key, 'nothing')}"
        for key, value in loaded.items()
        if found.get(key) != value
    ]


def _by_key(writes: Iterable[Write], found: Iterable[str]) -> list[tuple[str, list[Write]]]:
    """The writes of each key; a key that is there without any has none."""
    grouped: defaultdict[str, list[Write]] = defaultdict(list, {key: [] for key in found})
    for write in writes:
        grouped[write.key].append(write)
    return sorted(grouped.items())
