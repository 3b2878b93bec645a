"""What any producer compressed comes out byte for byte; what nobody can hold does not come out at all."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import Callable, Mapping

import kafka.codec as client
import kafka.record.default_records
import kafka.record.legacy_records
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch

from monitor.adapters.kafka import allowance, codecs
from tests.kafka.broker import Broker
from tests.kafka.poison_batches import CODECS, HEADER, Record, batch, bomb, header_bomb

Decoder = Callable[[bytes], bytes]

THEIRS: Mapping[str, Decoder] = {
    "gzip": client.gzip_decode,
    "snappy": client.snappy_decode,
    "lz4": client.lz4_decode,
    "zstd": client.zstd_decode,
}
"""kafka-python's own, kept before `install`."""

OURS: Mapping[str, Decoder] = {
    "gzip": codecs.gzip_decode,
    "snappy": codecs.snappy_decode,
    "lz4": codecs.lz4_decode,
    "zstd": codecs.zstd_decode,
}
ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": client.gzip_encode,
    "snappy": client.snappy_encode,
    "lz4": client.lz4_encode,
    "zstd": client.zstd_encode,
}
TEXT = b'{"schema":1,"id":"utterance-1","text":"so it goes on and on"}'
LONG = random.Random(4).randbytes(700_000) + TEXT * 60_000  # several pieces, of both kinds

FRAMINGS = {
    "gzip, two members": ("gzip", gzip.compress(TEXT) + gzip.compress(LONG)),
    "gzip, padded with zero bytes": ("gzip", gzip.compress(TEXT) + b"\0\0\0" + gzip.compress(TEXT) + b"\0"),
    "gzip, a member of nothing": ("gzip", gzip.compress(b"") + gzip.compress(TEXT)),
    "snappy, one raw block": ("snappy", client.snappy_encode(LONG, xerial_compatible=False)),
    "snappy, xerial with long blocks": ("snappy", client.snappy_encode(LONG, xerial_blocksize=1 << 20)),
    "lz4, size not said": ("lz4", client.lz4.compress(LONG, store_size=False)),
    "lz4, linked blocks and checksums": (
        "lz4",
        client.lz4.compress(LONG, block_linked=True, content_checksum=True, block_checksum=True),
    ),
    "lz4, two frames (Kafka reads the first)": ("lz4", client.lz4.compress(TEXT) + client.lz4.compress(LONG)),
    "zstd, two frames": ("zstd", client.zstd_encode(TEXT) + client.zstd_encode(LONG)),
    "zstd, a frame to skip": ("zstd", b"\x50\x2a\x4d\x18\x04\0\0\0skip" + client.zstd_encode(TEXT)),
    "zstd, size not said": ("zstd", client.zstd.ZstdCompressor(write_content_size=False).compress(LONG)),
    "zstd, the largest window": ("zstd", client.zstd.ZstdCompressor(level=22).compress(LONG)),
}


@pytest.mark.parametrize("codec", OURS)
@pytest.mark.parametrize("content", [b"x", TEXT, LONG, bytes(codecs.BATCH_BYTES_MAX)], ids=len)
def test_what_the_client_compressed_comes_out_the_same(codec: str, content: bytes) -> None:
    """Up to the last byte below the limit: a decoder that differs would be a silent loss of good records."""
    assert OURS[codec](ENCODERS[codec](content)) == content


@pytest.mark.parametrize("framing", FRAMINGS)
def test_every_framing_comes_out_as_before(framing: str) -> None:
    """Other producers frame otherwise than kafka-python: several members and frames, raw blocks, unknown sizes."""
    codec, compressed = FRAMINGS[framing]
    assert OURS[codec](compressed) == THEIRS[codec](compressed)


@given(st.sampled_from(sorted(OURS)), st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_damage_never_turns_into_other_records(codec: str, draw: st.DataObject) -> None:
    """Whatever happened to the bytes: the same answer as the client's, or BatchRefused. Nothing else may escape, as
    only that is known to be poison.
    """
    compressed = bytearray(ENCODERS[codec](TEXT * draw.draw(st.integers(1, 40))))
    for place in draw.draw(st.lists(st.integers(0, len(compressed) - 1), max_size=3)):
        compressed[place] = draw.draw(st.integers(0, 255))
    damaged = bytes(compressed[: draw.draw(st.integers(0, len(compressed)))])
    try:
        expanded = OURS[codec](damaged)
    except codecs.BatchRefused:
        return
    assert expanded == THEIRS[codec](damaged)


@pytest.mark.parametrize("codec", OURS)
@pytest.mark.parametrize("size", [codecs.BATCH_BYTES_MAX + 1, 105_000_000])
def test_a_bomb_is_refused_before_it_is_held(codec: str, size: int) -> None:
    """One byte too many is too many; and 105 MB must not be in memory for the moment in which that is found out."""
    payload = bomb(codec, size)[HEADER.size :]
    tracemalloc.start()
    try:
        with pytest.raises(codecs.BatchTooLarge):
            OURS[codec](payload)
        # lz4, snappy and zstd take memory that is not traced; the figure for all is the resident size in test_poison.
        assert tracemalloc.get_traced_memory()[1] < codecs.BATCH_BYTES_MAX + 8 * len(payload) + (4 << 20)
    finally:
        tracemalloc.stop()


def test_a_size_that_is_only_claimed_takes_no_memory() -> None:
    """Both decoders take what the first bytes claim before they look at the rest."""
    with pytest.raises(codecs.BatchTooLarge):
        codecs.snappy_decode(b"\xff\xff\xff\xff\x0f" + TEXT)
    with pytest.raises(codecs.BatchRefused):
        codecs.lz4_decode(client.lz4.LZ4FrameCompressor().begin(source_size=1 << 62) + TEXT)


def test_install_reaches_every_decoder_that_the_client_calls() -> None:
    """The client's names are not public: a version that calls others would have no limit, and nobody would see it."""
    codecs.install()
    codecs.install()
    for codec, whole in {codec: batch([Record(TEXT)], codec) for codec in CODECS}.items():
        assert [record.value for record in DefaultRecordBatch(whole)] == [TEXT], codec
    for codec in OURS:
        with pytest.raises(codecs.BatchTooLarge):
            list(DefaultRecordBatch(bomb(codec, codecs.BATCH_BYTES_MAX)))
    old_names = {name for name in vars(kafka.record.legacy_records) if name.endswith("_decode")}
    assert old_names == {"gzip_decode", "snappy_decode", "lz4_decode"}
    assert {getattr(kafka.record.legacy_records, name) for name in old_names} < set(OURS.values())


def test_a_missing_library_is_not_taken_for_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """An incomplete installation would skip every batch of a codec, whole topics, as unreadable."""
    monkeypatch.setattr(client, "snappy", None)
    with pytest.raises(ModuleNotFoundError, match="snappy"):
        codecs.install()


def test_a_record_made_of_headers_is_refused_unread() -> None:
    """31 KB of gzip would become 1.2 GB of tuples, and ten seconds, in one record."""
    codecs.install()
    with pytest.raises(allowance.TooManyHeaders):
        next(iter(DefaultRecordBatch(header_bomb(2_000_000))))
    (most,) = DefaultRecordBatch(header_bomb(allowance.HEADERS_MAX))
    assert len(most.headers) == allowance.HEADERS_MAX


@given(st.binary(max_size=60), st.integers(-5, 2**31))
@example(b"\x01", 2**31 - 1)  # a record of -1 bytes, again and again
def test_looking_for_headers_ends_on_any_bytes(records: bytes, count: int) -> None:
    """It reads what nobody has checked yet: a count of two thousand million must not be a loop of as many steps."""
    allowance.refuse_too_many_headers(bytearray(records), 0, count)


@pytest.mark.parametrize(
    ("size", "headers", "polls"), [(100, 0, 1), (8 * 1024, 0, 1), (1 << 20, 0, 20), (0, 10_000, 10)]
)
def test_a_poll_ends_when_its_bytes_are_used_up(size: int, headers: int, polls: int) -> None:
    """2,000 records may be 2 GB. Small ones must still come in as few polls as before, and none may be left out."""
    codecs.install()
    allowed = 100  # records, so 800 KiB
    whole = batch([Record(bytes(size), headers=[(b"", None)] * headers)] * 20, "gzip")
    reader = Fetcher.PartitionRecords(0, TopicPartition("topic", 0), kafka.record.MemoryRecords(whole))
    taken = []
    while reader:
        taken.append([record.offset for record in reader.take(allowed)])
    assert [offset for poll in taken for offset in poll] == list(range(20))
    assert len([poll for poll in taken if poll]) == polls


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_batches_of_java_and_of_python_come_out_as_they_went_in(broker: Broker, codec: str) -> None:
    """Java frames in its own way. The broker compresses anew what comes in another codec than the topic's."""
    codecs.install()
    values = [TEXT + str(number).encode() for number in range(3_000)]
    received = []
    for topic, compression, sent_as in (("java", codec, None), ("python", "producer", codec)):
        name = broker.unique(f"{topic}-{codec}")
        broker.create_topic(name, config={"compression.type": compression})
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap, compression_type=sent_as, batch_size=200_000)
        for value in values:
            producer.send(name, value, partition=0)
        producer.close()
        received.append(_read(broker, name, len(values)))
    assert received == [values, values]


def _read(broker: Broker, topic: str, number: int) -> list[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=10_000
    )
    consumer.assign([TopicPartition(topic, 0)])
    values = [record.value for _, record in zip(range(number), consumer, strict=False)]
    consumer.close()
    return values
