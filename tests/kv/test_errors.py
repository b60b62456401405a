"""Every error survives the ways it travels: a pickle, a result, and the class that Ray makes of it."""

from __future__ import annotations

import inspect
import pickle

import cloudpickle
import pytest

from kv import errors
from kv.errors import AnswerMalformed, KVError, StoreRefusal, TypeMismatch, VersionMismatch
from kv.fields import pack
from kv.results import REFUSAL_CODES, decode_version, encode_refusal, encode_version
from raft_actors.errors import OperationError, RaftActorsError

ALL = [getattr(errors, name) for name in errors.__all__]
REFUSALS = [cls for cls in ALL if issubclass(cls, StoreRefusal) and cls is not StoreRefusal]
UNKNOWN = {"AnswerMalformed", "SessionLost", "Timeout"}


def example(cls: type[RaftActorsError]) -> RaftActorsError:
    if issubclass(cls, StoreRefusal) and cls is not StoreRefusal:
        return cls.of(**{name: number for number, name in enumerate(cls.detail_names, 1)})
    return cls("what to do", seconds=3)


def test_the_module_lists_every_error_it_defines() -> None:
    defined = {name for name, item in vars(errors).items() if inspect.isclass(item) and issubclass(item, Exception)}
    assert defined - {"OperationError", "StorageError"} == set(errors.__all__)


def test_kv_error_is_the_operation_error_of_the_group() -> None:
    assert KVError is OperationError


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
class TestEveryError:
    def test_says_whether_the_operation_may_have_happened(self, cls: type[RaftActorsError]) -> None:
        if issubclass(cls, KVError):
            assert example(cls).outcome == ("unknown" if cls.__name__ in UNKNOWN else "not_done")

    @pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
    def test_keeps_class_text_and_details_through_a_pickle(self, cls: type[RaftActorsError], pickler: object) -> None:
        error = example(cls)
        copy = pickle.loads(pickler.dumps(error))  # type: ignore[attr-defined]
        assert type(copy) is cls
        assert (str(copy), copy.details) == (str(error), error.details)
        if isinstance(error, KVError):
            assert copy.outcome == error.outcome

    def test_can_be_raised_as_a_subclass_that_wraps_it(self, cls: type[RaftActorsError]) -> None:
        """Ray re-raises a task's error as an instance of a class made of its own error and the task's."""
        cause = example(cls)

        class TaskError(Exception):
            pass

        class Dual(TaskError, cls):  # type: ignore[valid-type,misc]
            def __init__(self, cause: RaftActorsError) -> None:
                self.cause = cause
                self.args = (cause,)

            def __getattr__(self, name: str) -> object:
                return getattr(self.cause, name)

        with pytest.raises(cls) as caught:
            raise Dual(cause)
        assert str(caught.value) == str(cause)
        for name, value in cause.details.items():
            assert getattr(caught.value, name) == value
        if isinstance(cause, KVError):
            assert caught.value.outcome == cause.outcome


class TestRefusalsTravelInResults:
    def test_every_refusal_has_one_code(self) -> None:
        assert sorted(REFUSAL_CODES) == list(range(1, len(REFUSALS) + 1))
        assert set(REFUSAL_CODES.values()) == set(REFUSALS)

    @pytest.mark.parametrize("cls", REFUSALS, ids=lambda cls: cls.__name__)
    def test_a_refusal_is_raised_as_it_was_made(self, cls: type[StoreRefusal]) -> None:
        refusal = example(cls)
        assert isinstance(refusal, StoreRefusal)
        with pytest.raises(cls) as caught:
            decode_version(encode_refusal(refusal))
        assert (str(caught.value), caught.value.details) == (str(refusal), refusal.details)
        assert caught.value.outcome == "not_done"

    def test_details_are_attributes(self) -> None:
        assert VersionMismatch.of(current=7, expected=5).current == 7
        assert TypeMismatch.of(stored="missing", given="str").stored == "missing"

    @pytest.mark.parametrize(
        "result",
        [
            b"",
            b"\xff",
            pack(),
            pack(None),
            pack(99),
            pack(True, 1),
            pack("0", 1),
            pack(5, 1),
            pack(5, 1, 2, 3),
            pack(5, 1, b"x"),
            pack(0),
            pack(0, 0),
            pack(0, -1),
            pack(0, b"1"),
            encode_version(1)[:-1],
            encode_version(1) + b"\x00",
        ],
    )
    def test_an_answer_that_makes_no_sense_leaves_the_outcome_unknown(self, result: bytes) -> None:
        with pytest.raises(AnswerMalformed) as caught:
            decode_version(result)
        assert caught.value.outcome == "unknown"
