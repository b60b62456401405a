"""Limits are checked at birth, travel as equal bytes, and another machine version is refused by name."""

from __future__ import annotations

from dataclasses import asdict

import msgpack
import pytest

from kv.errors import BatchTooLarge, KeyInvalid, KeyTooLarge, ValueTooLarge
from kv.limits import BATCH_BYTES_LARGEST, MACHINE_VERSION, Limits, decode_settings, encode_settings
from kv.machine import KVMachine
from raft_actors.errors import ConfigError, VersionDiffers


class TestLimitsAreCheckedAtBirth:
    def test_the_defaults_are_those_of_the_documentation(self) -> None:
        assert asdict(Limits()) == {
            "key_bytes_max": 65_536,
            "value_bytes_max": 1_048_576,
            "batch_bytes_max": 8_388_608,
            "machine_version": 1,
        }

    @pytest.mark.parametrize(
        "knobs",
        [
            {"key_bytes_max": 0},
            {"value_bytes_max": -1},
            {"value_bytes_max": True},
            {"value_bytes_max": 1.5},
            {"value_bytes_max": 8_388_608},
            {"batch_bytes_max": BATCH_BYTES_LARGEST + 1},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, knobs: dict[str, int]) -> None:
        with pytest.raises(ConfigError, match="must"):
            Limits(**knobs)

    def test_the_largest_put_fits_the_largest_batch(self) -> None:
        Limits(key_bytes_max=10, value_bytes_max=20, batch_bytes_max=94)
        with pytest.raises(ConfigError):
            Limits(key_bytes_max=10, value_bytes_max=20, batch_bytes_max=93)


class TestChecks:
    limits = Limits(key_bytes_max=4, value_bytes_max=8, batch_bytes_max=100)

    @pytest.mark.parametrize("key", [b"a", "é".encode() * 2, b"abcd"])
    def test_keys_of_one_to_the_most_bytes_pass(self, key: bytes) -> None:
        self.limits.check_key(key)

    @pytest.mark.parametrize("key", [b"", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf"])
    def test_what_is_no_utf8_is_no_key(self, key: bytes) -> None:
        with pytest.raises(KeyInvalid):
            self.limits.check_key(key)

    def test_sizes_up_to_the_limit_pass_and_the_refusal_says_both(self) -> None:
        self.limits.check_value(8)
        self.limits.check_batch(100)
        with pytest.raises(KeyTooLarge, match="5 bytes of UTF-8, the store allows 4"):
            self.limits.check_key(b"abcde")
        with pytest.raises(ValueTooLarge, match="9 bytes, the store allows 8"):
            self.limits.check_value(9)
        with pytest.raises(BatchTooLarge, match="101 bytes, the store allows 100"):
            self.limits.check_batch(101)


class TestSettings:
    def test_round_trip(self) -> None:
        limits = Limits(key_bytes_max=10, value_bytes_max=20, batch_bytes_max=300)
        assert decode_settings(encode_settings(limits)) == limits
        assert KVMachine.from_settings(encode_settings(limits)).limits == limits

    def test_golden_bytes(self) -> None:
        assert encode_settings(Limits(key_bytes_max=1, value_bytes_max=2, batch_bytes_max=99)) == (
            b"\x84\xadkey_bytes_max\x01\xafvalue_bytes_max\x02\xafbatch_bytes_max\x63\xafmachine_version\x01"
        )

    def test_another_machine_version_is_refused_before_its_unknown_fields(self) -> None:
        newer = msgpack.packb({"machine_version": MACHINE_VERSION + 1, "colour": "red"})
        with pytest.raises(VersionDiffers, match="machine version 2") as caught:
            KVMachine.from_settings(newer)
        assert caught.value.group_version == 2
        with pytest.raises(VersionDiffers):
            KVMachine(Limits(machine_version=2))

    @pytest.mark.parametrize(
        "settings",
        [
            b"",
            b"\xc1",
            msgpack.packb([1]),
            msgpack.packb({"machine_version": 1}),
            msgpack.packb({**asdict(Limits()), "colour": 1}),
            msgpack.packb({**asdict(Limits()), "key_bytes_max": "many"}),
            encode_settings(Limits())[:-1],
        ],
    )
    def test_settings_that_make_no_sense_are_refused(self, settings: bytes) -> None:
        with pytest.raises(ConfigError):
            decode_settings(settings)
