"""What a client and a server say to each other: batches of attempts and of queries, one answer for each.

Here:   the requests, the answers and their codecs, for every state machine alike.
Never:  when a client tries again (the client's business), what a command means (the machine's).

Each answer speaks of one attempt. `Done` is definite. `NotLeader`, `Overloaded`, `LogFull`, `TooLarge`, `Lost`,
`SessionExpired`, `Fenced` and `WindowExceeded` say for certain that *this attempt* changed nothing: the operation did
not happen only if the same is known of every other attempt of it. `Unknown` may have happened or may yet happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from raft_actors.application.exchange import LogFull, NotLeader, Overloaded
from raft_actors.application.frames import ClientId, Fenced, Frame, SessionExpired, WindowExceeded
from raft_actors.application.packing import Codec
from raft_actors.core.types import LogIndex, Term

REQUESTS_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one command. Its `key` is never used for a second try, at whatever server."""

    number: int
    """Rises with every try of this sequence. A second copy of the same number is the network's, and not obeyed."""
    frame: Frame

    @property
    def key(self) -> tuple[ClientId, int, int]:
        """What tells this attempt from all others."""
        return self.frame.client_id, self.frame.sequence, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Client to server: these commands, once each, as far as you can. Answered by one `Answer` each, in order."""

    attempts: tuple[Attempt, ...]
    timeout_ms: int
    """How long the client listens; afterwards an answer is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Applied, once. `index` and `term` are those of the entry that gave this answer (a retry's, if one was first)."""

    result: bytes
    index: LogIndex
    term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge:
    """Definite, nothing was appended: the command is above this server's largest proposal."""

    bytes_max: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Definite, not applied: another entry was committed in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It may have happened, or may yet. For a query: no answer in time."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Client to server: answer these from the state. Answered by one `QueryAnswer` each, in order."""

    requests: tuple[bytes, ...]
    linearizable: bool
    """False: from whatever state this member has, old as it may be."""
    timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryDone:
    """The machine's answer, and up to where its state had come (also what a client may open a session with)."""

    result: bytes
    applied_index: LogIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFailed:
    """The machine raised; asking again will not help. `why` holds no values."""

    why: str


Answer: TypeAlias = (
    Done | SessionExpired | Fenced | WindowExceeded | NotLeader | Overloaded | LogFull | TooLarge | Lost | Unknown
)
QueryAnswer: TypeAlias = QueryDone | QueryFailed | NotLeader | Overloaded | Unknown

SUBMIT: Final[Codec[Submit]] = Codec(Submit, version=REQUESTS_VERSION)
ANSWERS: Final[Codec[tuple[Answer, ...]]] = Codec(tuple[Answer, ...], version=REQUESTS_VERSION)
QUERY: Final[Codec[Query]] = Codec(Query, version=REQUESTS_VERSION)
QUERY_ANSWERS: Final[Codec[tuple[QueryAnswer, ...]]] = Codec(tuple[QueryAnswer, ...], version=REQUESTS_VERSION)
