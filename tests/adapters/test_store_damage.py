"""Promise T5: a damaged state file is noticed. Never a silent difference.

Each case damages a copy of a state as a crash leaves it (a file, its write-ahead log and a previous generation).
Opening must give the last commit's content; or say in `recovered` that it does not, with exactly the content of the
commit it names; or refuse. Afterwards the store must still take a commit and show it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from monitor.adapters.store import StateRefused, StorageFailed, Store
from monitor.core.changes import Change
from tests.adapters.pair_table_contract import reference, transcript

CURRENT, LOG, PREVIOUS = "partition-0.db", "partition-0.db-wal", "partition-0.previous.db"
Content = tuple[object, ...]
Damage = Callable[[bytearray, random.Random], None]
KEYS = [random.Random(5).getrandbits(64) for _ in range(400)]


def content(store: Store) -> Content:
    """Everything a caller can see."""
    pairs = [(store.transcript(key), store.references(key)) for key in KEYS]
    return pairs, list(store.documents()), store.offsets(), store.outbox(limit=10_000), store.pending(), store.waiting()


def write_step(store: Store, step: int, rng: random.Random) -> None:
    for key in rng.sample(KEYS, 30):
        store.put_transcript(transcript(key, event_at=float(step), text=f"words of step {step} " * rng.randrange(1, 9)))
    for key in rng.sample(KEYS, 15):
        store.put_reference(reference(key, revision=step, event_at=float(step)))
    for key in rng.sample(KEYS, 3):
        store.erase(key)
    store.apply([Change("cells", f"{rng.randrange(20)}", rng.randbytes(rng.randrange(1, 600)))])
    store.add_outbox("incidents", b'{"step":%d}' % step)
    store.forget_outbox(step - 10)
    store.set_offset("t", step)
    store.commit()


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Content]]:
    """Files of a state as SIGKILL leaves them, and the content of each commit."""
    rng = random.Random(11)
    live, copy = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("crashed")
    store = Store.open(live / CURRENT, config_sha256="c")
    contents = {store.commits: content(store)}
    for step in range(1, 61):
        write_step(store, step, rng)
        contents[store.commits] = content(store)
        if step == 20:
            store.rotate()  # 20 is the previous generation from here on
        if step == 40:
            store._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in live.iterdir():
        shutil.copyfile(path, copy / path.name)
    store.close()
    assert (copy / LOG).stat().st_size > 100_000
    return copy, contents


def flip(body: bytearray, rng: random.Random) -> None:
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)


def flip_used(body: bytearray, rng: random.Random) -> None:
    """Flip in a byte that holds something: unused ones are zero, as removed rows are wiped."""
    while body[at := rng.randrange(100, len(body))] == 0:
        pass
    body[at] ^= 1 << rng.randrange(8)


def flip_header(body: bytearray, rng: random.Random) -> None:
    body[rng.randrange(100)] ^= 1 << rng.randrange(8)


def truncate(body: bytearray, rng: random.Random) -> None:
    del body[rng.randrange(len(body)) :]


def open_damaged(folder: Path, contents: dict[int, Content]) -> str:
    """Open and judge; names the kind of ending."""
    try:
        store = Store.open(folder / CURRENT, config_sha256="c")
    except StateRefused as refused:
        assert CURRENT in str(refused)
        return "refused"
    last = max(contents)
    assert content(store) == contents[store.commits], f"a silent difference, {store.recovered}"
    assert store.commits == last or store.recovered is not None, "lost commits unsaid"
    ending = (
        "identical"
        if store.commits == last
        else "previous"
        if "previous" in (store.recovered or "")
        else "earlier commit"
    )
    number = store.commits
    store.set_offset("after", 1)
    store.commit()
    store.close()
    store = Store.open(folder / CURRENT, config_sha256="c")
    assert store.recovered is None and store.commits == number + 1 and store.offsets()["after"] == 1
    store.close()
    return ending


def run_cases(
    crashed: tuple[Path, dict[int, Content]],
    folder: Path,
    cases: Sequence[tuple[str, Damage]],
    seed: int,
) -> dict[str, int]:
    files, contents = crashed
    rng = random.Random(seed)
    endings: dict[str, int] = {}
    for name, damage in cases:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(files, folder)
        body = bytearray((folder / name).read_bytes())
        damage(body, rng)
        (folder / name).write_bytes(body)
        ending = open_damaged(folder, contents)
        endings[ending] = endings.get(ending, 0) + 1
    return endings


def test_undamaged_copy_is_the_last_commit(crashed: tuple[Path, dict[int, Content]], tmp_path: Path) -> None:
    """The judge itself must be right."""
    assert run_cases(crashed, tmp_path / "case", [(CURRENT, lambda body, rng: None)], 0) == {"identical": 1}


@pytest.mark.parametrize(
    ("scale", "seed"), [pytest.param(1, 1, id="quick"), pytest.param(10, 2, id="T5", marks=pytest.mark.slow)]
)
def test_damage_after_a_crash(crashed: tuple[Path, dict[int, Content]], tmp_path: Path, scale: int, seed: int) -> None:
    """Half of T5: 500 flips, 60 truncations (quick: a tenth). Damage to the log costs commits, and that is said."""
    flips = [(CURRENT, flip)] * 20 + [(LOG, flip)] * 25 + [(CURRENT, flip_header)] * 5
    cuts = [(CURRENT, truncate)] * 3 + [(LOG, truncate)] * 3
    endings = run_cases(crashed, tmp_path / "case", (flips + cuts) * scale, seed)
    print(endings)
    assert endings["earlier commit"] > 15 * scale and endings.get("refused", 0) < 4 * scale


@pytest.mark.parametrize(
    ("scale", "seed"), [pytest.param(1, 5, id="quick"), pytest.param(10, 6, id="T5", marks=pytest.mark.slow)]
)
def test_damage_after_a_clean_end(
    crashed: tuple[Path, dict[int, Content]], tmp_path: Path, scale: int, seed: int
) -> None:
    """The other half: no log any more hides what happens to the file. Only flips in bytes that hold nothing pass."""
    files, contents = crashed
    settled = tmp_path / "settled"
    shutil.copytree(files, settled)
    Store.open(settled / CURRENT, config_sha256="c").close()
    assert not (settled / LOG).exists()
    flips = [(CURRENT, flip)] * 10 + [(CURRENT, flip_used)] * 30 + [(CURRENT, flip_header)] * 10
    endings = run_cases((settled, contents), tmp_path / "case", (flips + [(CURRENT, truncate)] * 4) * scale, seed)
    print(endings)
    assert endings["previous"] > 25 * scale and endings.get("refused", 0) < 4 * scale


@pytest.mark.parametrize(
    ("scale", "seed"), [pytest.param(1, 3, id="quick"), pytest.param(10, 4, id="T5", marks=pytest.mark.slow)]
)
def test_a_damaged_previous_generation_is_not_put_in_place(
    crashed: tuple[Path, dict[int, Content]], tmp_path: Path, scale: int, seed: int
) -> None:
    """When the current one is gone too, its content or a refusal: flips in unused bytes may be harmless."""
    files, contents = crashed
    without = tmp_path / "without"
    shutil.copytree(files, without)
    (without / CURRENT).unlink()
    flips, cuts = [(PREVIOUS, flip)] * 20, [(PREVIOUS, truncate)] * 4
    endings = run_cases((without, contents), tmp_path / "case", (flips + cuts) * scale, seed)
    print(endings)
    assert endings["refused"] >= 5 * scale and set(endings) <= {"refused", "previous"}


def test_damage_while_running_stops_the_store(tmp_path: Path) -> None:
    """A row read back wrong must not be scored: the caller reopens, and recovery takes its course."""
    store = Store.open(tmp_path / CURRENT, config_sha256="c")
    for key in KEYS:
        store.put_transcript(transcript(key, text="a sentence to find"))
    store.commit()
    store.rotate()
    store.close()
    store = Store.open(tmp_path / CURRENT, config_sha256="c")
    # The scan has filled the page cache; drop it, as time would.
    store._database.connection.execute("PRAGMA shrink_memory")
    body = (tmp_path / CURRENT).read_bytes()
    (tmp_path / CURRENT).write_bytes(body.replace(b"a sentence to find", b"a sentence to fand"))
    with pytest.raises(StorageFailed, match="does not match its checksum"):
        for key in KEYS:
            store.transcript(key)
    store.set_offset("t", 1)
    with pytest.raises(StorageFailed):
        store.commit()
    store.close()
    assert Store.open(tmp_path / CURRENT, config_sha256="c").recovered is not None
