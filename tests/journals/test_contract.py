"""What every journal promises, and every memory of marks: the same tests over all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.journals.sql import engine_of
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import CorruptJournalError, JournalLostError, JournalMismatchError
from airflow_provider_8x8.surveys.journal.header import JOURNAL_FORMAT
from airflow_provider_8x8.surveys.journal.marks import STATE_STORE, JournalName, Mark, Memory, Place, TaskJournal
from airflow_provider_8x8.surveys.journal.memory import MemoryJournal
from airflow_provider_8x8.surveys.journal.protocol import Compose, EntryLog
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from airflow_provider_8x8.surveys.journal.state_store import StateStoreMemory
from airflow_provider_8x8.surveys.messages.row_keys import unpack
from tests.journals.entries import HEADER, NOW, TASK_INSTANCE, always, entry_of, keys, settled
from tests.journals.task_state_store import NEVER, Store
from tests.simulation.campaign_journals import Database, DatabaseMemory
from tests.simulation.state_stores import Accessor, StateStore
from tests.simulation.worlds import Process, World

FULL_HEADER = msgspec.structs.replace(
    HEADER, address="https://sms.example.com", deployment="https://airflow.example.com"
)

# What can be known of a batch with the row keys 1, 2 and 3.
KNOWN: dict[str, dict[str, Any]] = {
    "pending": {"state": EntryState.PENDING, "batch_id": None},
    "pending, evidence": {
        "state": EntryState.PENDING,
        "batch_id": None,
        "watermark_begun": NOW + 700,
        "watermark_seen": NOW + 800.5,
    },
    "resent": {"state": EntryState.RESENT, "batch_id": None},
    "assumed sent": {"state": EntryState.ASSUMED_SENT, "batch_id": None},
    "not sent": {"state": EntryState.NOT_SENT, "batch_id": None},
    "sent, 2 unknown": {"rejected_keys": keys(1), "unknown_keys": keys(2, 3)},
    "sent, 2 assumed": {"rejected_keys": keys(1), "assumed_keys": keys(2, 3)},
    "sent, 2 resent": {"rejected_keys": keys(1), "resent_keys": keys(2, 3)},
    "sent, 1 unknown": {"rejected_keys": keys(1, 2), "unknown_keys": keys(3)},
    "sent, by a person's word": {"batch_id": None},
    "sent": {"rejected_keys": keys(2)},
}

_UNKNOWN = {"pending", "pending, evidence"}
_WITHOUT_AN_ANSWER = {*_UNKNOWN, "resent", "assumed sent"}
_WITHOUT_A_BATCH = {*_WITHOUT_AN_ANSWER, "not sent"}
_TWO_LEFT = {"sent, 2 unknown", "sent, 2 assumed", "sent, 2 resent"}

# By what is said later: what it takes the place of. Each stays where it is said again.
REPLACED: dict[str, set[str]] = {
    "pending, evidence": {"pending"},
    "resent": _UNKNOWN,
    "assumed sent": _UNKNOWN,
    "not sent": _WITHOUT_AN_ANSWER,
    "sent, 2 unknown": _WITHOUT_A_BATCH,
    "sent, 2 assumed": {*_WITHOUT_A_BATCH, "sent, 2 unknown"},
    "sent, 2 resent": {*_WITHOUT_A_BATCH, "sent, 2 unknown"},
    "sent, 1 unknown": {*_WITHOUT_A_BATCH, *_TWO_LEFT},
    "sent, by a person's word": {*_WITHOUT_A_BATCH, *_TWO_LEFT, "sent, 1 unknown"},
    "sent": {*_WITHOUT_A_BATCH, *_TWO_LEFT, "sent, 1 unknown", "sent, by a person's word"},
}


def known(entry: Entry, what: str) -> Entry:
    return settled(entry, **KNOWN[what])


class Entries:
    """What holds for a journal even if it ends with its try."""

    @pytest.fixture
    def next_journal(self) -> Callable[[], EntryLog]:
        """Give the journal of one campaign as the next try has it, open; the first try's is the first."""
        raise NotImplementedError

    def test_what_is_known_better_takes_the_place_of_what_is_known_less(
        self, next_journal: Callable[[], EntryLog]
    ) -> None:
        first = next_journal()
        pairs = [(before, after) for after in REPLACED for before in KNOWN]
        names = {pair: f"batch-{number}" for number, pair in enumerate(pairs)}
        stands: dict[str, Entry] = {}
        for (before, _), name in names.items():
            first.begin(always(entry_of(name)))
            if before != "pending":
                assert first.settle(known(entry_of(name), before)) == known(entry_of(name), before)
        second = next_journal()
        for (before, after), name in names.items():
            wins = after if before in REPLACED[after] else before
            stands[name] = known(entry_of(name), wins)
            given = known(entry_of(name), after)
            found = second.settle(given)
            assert found == stands[name], f"{after} after {before} gave {found!r}"
            if not given.is_open:  # else it may be written again
                assert (found is given) == (before in REPLACED[after]), f"{after} after {before}"
        self.assert_stands(next_journal(), stands)

    def assert_stands(self, journal: EntryLog, stands: dict[str, Entry]) -> None:
        """A later try finds it so."""

    def test_an_entry_is_returned_as_it_was_made(self, next_journal: Callable[[], EntryLog]) -> None:
        journal = next_journal()
        assert journal.begin(always(entry_of("batch-1"))) == entry_of("batch-1")
        assert journal.begin(always(None)) is None

    def test_a_batch_may_be_settled_together_with_the_beginning_of_the_next(
        self, next_journal: Callable[[], EntryLog]
    ) -> None:
        journal = next_journal()
        first, second = entry_of("batch-1"), entry_of("batch-2", keys(4))
        journal.begin(always(first))
        assert journal.settle_and_begin(settled(first), always(second)) == (settled(first), second)
        assert journal.settle_and_begin(settled(second), always(None)) == (settled(second), None)
        stands = {"batch-1": settled(first), "batch-2": settled(second)}
        self.assert_stands(next_journal(), stands)

    def test_what_is_known_better_stays_where_the_next_is_begun_with_it(
        self, next_journal: Callable[[], EntryLog]
    ) -> None:
        journal = next_journal()
        journal.begin(always(entry_of("batch-1")))
        sent = journal.settle(known(entry_of("batch-1"), "sent"))
        second = entry_of("batch-2", keys(4))
        assert journal.settle_and_begin(known(entry_of("batch-1"), "not sent"), always(second)) == (sent, second)
        self.assert_stands(next_journal(), {"batch-1": sent, "batch-2": second})

    def test_what_the_composer_raises_leaves_a_batch_that_can_still_be_settled(
        self, next_journal: Callable[[], EntryLog]
    ) -> None:
        journal = next_journal()
        journal.begin(always(entry_of("batch-1")))

        def compose(news: Sequence[Entry]) -> Entry:
            raise LookupError("no rows")

        with pytest.raises(LookupError, match="no rows"):
            journal.settle_and_begin(settled(entry_of("batch-1")), compose)
        assert journal.settle(settled(entry_of("batch-1"))) == settled(entry_of("batch-1"))
        self.assert_stands(next_journal(), {"batch-1": settled(entry_of("batch-1"))})


class Outliving(Entries):
    """What holds for a journal that later tries can read."""

    @pytest.fixture
    def next_memory(self) -> Callable[..., Memory]:
        """Give the memory as the next try has it; ``task_instance`` names another one's."""
        raise NotImplementedError

    @pytest.fixture
    def next_unopened(self, next_memory: Callable[..., Memory]) -> Callable[[], TaskJournal]:
        return lambda: next_memory().journal("campaign")

    @pytest.fixture
    def next_journal(self, next_unopened: Callable[[], TaskJournal]) -> Callable[[], TaskJournal]:
        def opened() -> TaskJournal:
            journal = next_unopened()
            journal.open(HEADER)
            journal.news()
            return journal

        return opened

    def assert_stands(self, journal: EntryLog, stands: dict[str, Entry]) -> None:
        assert {entry.client_batch_id: entry for entry in journal.entries() or ()} == stands  # type: ignore[attr-defined]  # a TaskJournal

    # entries

    def test_entries_are_found_whole_and_in_the_order_of_their_beginning(
        self, next_journal: Callable[[], TaskJournal], next_unopened: Callable[[], TaskJournal]
    ) -> None:
        entries = [
            entry_of(
                "batch-9",
                bytes(range(250)),
                message_keys=bytes(range(250))[::-1],
                scheduled=NOW + 3600.5,
                answer_by=NOW + 90.25,
                unique_by="Bestellnummer 😀",
            ),
            entry_of("batch-1", keys(7)),
            entry_of(
                "canary", b"", unique_by="", state=EntryState.CANARY, answer_by=NOW + 60, send_by=NOW, try_number=2
            ),
            entry_of("moved", b"", unique_by="", state=EntryState.MOVED),
        ]
        journal = next_journal()
        for entry in entries:
            journal.begin(always(entry))
        journal.settle(known(entries[1], "sent"))
        after = [entries[0], known(entries[1], "sent"), *entries[2:]]
        assert next_unopened().entries() == after
        opened = next_unopened()
        opened.open(HEADER)
        assert list(opened.news()) == after
        assert list(opened.news()) == []

    def test_every_outcome_of_row_keys_is_kept(
        self, next_journal: Callable[[], TaskJournal], next_unopened: Callable[[], TaskJournal]
    ) -> None:
        entry = entry_of("batch-1", keys(1, 2, 3, 4, 5))
        each = {
            name: keys(number)
            for number, name in enumerate(("rejected_keys", "unknown_keys", "assumed_keys", "resent_keys"))
        }
        journal = next_journal()
        journal.begin(always(entry))
        after = journal.settle(settled(entry, **each))
        assert (after.accepted_count, after.rejected_count, after.unknown_count, after.resent_count) == (1, 1, 2, 1)
        assert next_unopened().entries() == [after]

    def test_what_8x8_says_of_rows_that_were_set_free_takes_them_back(
        self, next_journal: Callable[[], TaskJournal]
    ) -> None:
        journal = next_journal()
        journal.begin(always(entry_of("batch-1")))
        journal.settle(known(entry_of("batch-1"), "sent, 2 unknown"))
        journal.settle(known(entry_of("batch-1"), "sent, 2 resent"))
        after = next_journal().settle(known(entry_of("batch-1"), "sent"))
        assert (after.resent_keys, after.accepted_count, after.is_open) == (b"", 2, False)

    def test_evidence_adds_up_over_tries_and_opens_nothing_that_is_settled(
        self, next_journal: Callable[[], TaskJournal]
    ) -> None:
        journal = next_journal()
        for name in ("open", "half open", "closed"):
            journal.begin(always(entry_of(name)))
        journal.settle(known(entry_of("half open"), "sent, 2 unknown"))
        journal.settle(known(entry_of("closed"), "not sent"))
        evidence: dict[str, Any] = {"watermark_begun": NOW + 700, "watermark_seen": NOW + 800}
        second = next_journal()
        for name in ("open", "half open", "closed"):
            (stored,) = [each for each in second.entries() or () if each.client_batch_id == name]
            second.settle(msgspec.structs.replace(stored, **evidence))
        stale = next_journal().settle(msgspec.structs.replace(entry_of("closed"), **evidence))
        assert stale == known(entry_of("closed"), "not sent")
        third = {each.client_batch_id: each for each in next_journal().entries() or ()}
        assert third["open"] == entry_of("open", **evidence)
        assert third["half open"] == msgspec.structs.replace(
            known(entry_of("half open"), "sent, 2 unknown"), **evidence
        )
        assert third["closed"] == known(entry_of("closed"), "not sent")

    def test_a_batch_that_was_never_begun_cannot_be_settled(self, next_journal: Callable[[], TaskJournal]) -> None:
        with pytest.raises((CorruptJournalError, KeyError)):
            next_journal().settle(known(entry_of("batch-1"), "sent"))

    # headers

    def test_a_journal_that_is_not_there_has_no_entries_and_one_without_entries_has_none(
        self, next_unopened: Callable[[], TaskJournal]
    ) -> None:
        assert next_unopened().entries() is None
        next_unopened().open(HEADER)
        assert next_unopened().entries() == []

    def test_a_journal_that_must_be_there_and_is_not_is_missed(self, next_unopened: Callable[[], TaskJournal]) -> None:
        with pytest.raises(JournalLostError):
            next_unopened().open(HEADER, must_exist=True)
        assert next_unopened().entries() is None
        next_unopened().open(HEADER)
        next_unopened().open(HEADER, must_exist=True)

    @pytest.mark.parametrize(
        ("field", "other", "said"),
        [
            ("survey_id", "visits", "survey_id 'survey', and this task has 'visits'"),
            ("subaccount_id", "other_hq", "subaccount_id 'sandbox_hq', and this task has 'other_hq'"),
            ("row_key_rules", 2, "row_key_rules 1, and this task has 2"),
            ("address", "https://us.example.com", "8x8 at 'https://sms.example.com', and .* 'https://us.example.com'"),
            (
                "deployment",
                "staging",
                "deployment 'https://airflow.example.com', and .* 'staging'\\n.*\\[eight_by_eight",
            ),
        ],
    )
    def test_a_journal_of_another_meaning_is_refused_and_both_are_named(
        self, next_unopened: Callable[[], TaskJournal], field: str, other: Any, said: str
    ) -> None:
        next_unopened().open(FULL_HEADER)
        with pytest.raises(JournalMismatchError, match=said):
            next_unopened().open(msgspec.structs.replace(FULL_HEADER, **{field: other}))
        next_unopened().open(FULL_HEADER, must_exist=True)

    def test_a_journal_of_the_format_before_is_read_and_completed(
        self, next_unopened: Callable[[], TaskJournal]
    ) -> None:
        old = msgspec.structs.replace(HEADER, journal_format=1)
        first = next_unopened()
        first.open(old)
        first.begin(always(entry_of("batch-1")))
        second = next_unopened()
        second.open(FULL_HEADER, must_exist=True)
        assert list(second.news()) == [entry_of("batch-1")]
        for refused in (old, msgspec.structs.replace(FULL_HEADER, deployment="staging")):
            with pytest.raises(JournalMismatchError):
                next_unopened().open(refused)
        next_unopened().open(HEADER)  # one that does not know its own deployment changes nothing
        with pytest.raises(JournalMismatchError, match="staging"):
            next_unopened().open(msgspec.structs.replace(FULL_HEADER, deployment="staging"))

    def test_a_journal_of_a_newer_format_is_refused(self, next_unopened: Callable[[], TaskJournal]) -> None:
        next_unopened().open(msgspec.structs.replace(HEADER, journal_format=JOURNAL_FORMAT + 1))
        with pytest.raises(
            JournalMismatchError, match=rf"has format {JOURNAL_FORMAT + 1}.*upgrade airflow-provider-8x8"
        ):
            next_unopened().open(HEADER)

    # marks

    def test_marks_are_found_by_the_next_try(self, next_memory: Callable[..., Memory]) -> None:
        assert list(next_memory().marks()) == []
        elsewhere = Place(JournalName("sql", "jöurnal", "0123456789abcdef"), "märz 😀")
        first = Mark(try_number=1, began=NOW, places=[], had_store=False)
        second = Mark(
            try_number=2, began=NOW, places=[Place(STATE_STORE, TASK_INSTANCE), elsewhere], had_store=True, is_open=True
        )
        next_memory().leave(first)
        assert list(next_memory().marks()) == [first]
        later = next_memory()
        later.leave(second)
        assert sorted(later.marks(), key=lambda mark: mark.try_number) == [first, second]

    def test_a_try_leaves_one_mark_however_often_it_does(self, next_memory: Callable[..., Memory]) -> None:
        memory = next_memory()
        begun = Mark(try_number=1, began=NOW, places=[], had_store=False)
        opened = msgspec.structs.replace(begun, places=[Place(memory.name, "campaign")])
        for mark in (begun, begun, opened, opened):
            memory.leave(mark)
        assert list(next_memory().marks()) == [opened]

    def test_a_memory_has_the_same_name_in_every_try(self, next_memory: Callable[..., Memory]) -> None:
        one, other = next_memory(), next_memory()
        assert one.name.is_same_as(other.name)


class Shared(Outliving):
    """What holds for a journal that several task instances have at once."""

    def test_marks_are_the_task_instances_own(self, next_memory: Callable[..., Memory]) -> None:
        mark = Mark(try_number=1, began=NOW, places=[], had_store=False)
        memory = next_memory(task_instance="dag/run/send/1")
        memory.marks()
        memory.leave(mark)
        for other in ("dag/run/send", "dag/run/send/11", "DAG/run/send/1", "dag/run/send/1 "):
            assert list(next_memory(task_instance=other).marks()) == []
        assert list(next_memory(task_instance="dag/run/send/1").marks()) == [mark]

    def test_news_are_what_others_have_entered_or_settled_since(self, next_journal: Callable[[], TaskJournal]) -> None:
        ours, theirs = next_journal(), next_journal()
        first = theirs.begin(always(entry_of("theirs-1", keys(1))))
        assert first is not None
        assert list(ours.news()) == [first]
        assert list(ours.news()) == []
        after = theirs.settle(settled(first))
        theirs.begin(always(entry_of("theirs-2", keys(2))))
        told: list[Entry] = []
        ours.begin(lambda news: told.extend(news))
        assert told == [after, entry_of("theirs-2", keys(2))]
        assert list(ours.news()) == []

    def test_an_answer_reaches_whoever_has_decided_without_it(self, next_journal: Callable[[], TaskJournal]) -> None:
        sends, decides = next_journal(), next_journal()
        entry = sends.begin(always(entry_of("batch-1")))
        assert entry is not None
        decides.news()
        decides.settle(known(entry, "resent"))
        answered = sends.settle(known(entry, "sent"))
        told: list[Entry] = []
        decides.begin(lambda news: told.extend(news))
        assert told == [answered] == [known(entry, "sent")]


class TestMemory(Entries):
    """The journal that ends with its try."""

    @pytest.fixture
    def next_journal(self) -> Callable[[], EntryLog]:
        journal = MemoryJournal()
        journal.open(HEADER)
        return lambda: journal


class TestStateStore(Outliving):
    """Airflow's task state store."""

    @pytest.fixture
    def next_memory(self) -> Callable[..., Memory]:
        values: dict[str, str] = {}
        tries: list[Store] = []

        def next_try() -> Memory:
            tries.append(Store(values))
            return StateStoreMemory(tries[-1], TASK_INSTANCE, try_number=len(tries), never_expire=NEVER)

        return next_try


class TestSql(Shared):
    """A SQL database of each kind."""

    @pytest.fixture
    def next_memory(self, journal_database: Any) -> Iterator[Callable[..., Memory]]:
        made: list[Memory] = []

        def next_try(task_instance: str = TASK_INSTANCE) -> Memory:
            made.append(SqlMemory(JournalDatabase(engine_of("journal"), "journal"), task_instance))
            return made[-1]

        yield next_try
        for memory in made:
            memory.close()


class InWorld:
    """Something of the simulation's, each call of which is a thread of a process there."""

    def __init__(self, process: Process, thing: Any) -> None:
        self._process = process
        self._thing = thing

    @property
    def name(self) -> JournalName:
        name: JournalName = self._thing.name
        return name

    def journal(self, campaign_id: str) -> InWorld:
        return InWorld(self._process, self._thing.journal(campaign_id))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return in_world(self._process, lambda: getattr(self._thing, name)(*arguments, **options))

        return call


def in_world(process: Process, work: Callable[[], Any]) -> Any:
    results: list[Any] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001  # whatever it is, the test is to see it
            errors.append(error)

    process.fork(run)
    process.world.run()
    if errors:
        raise errors[0]
    return results[0]


class TestSimulatedSql(Shared):
    """The simulation's model of the SQL journal."""

    @pytest.fixture
    def next_memory(self) -> Callable[..., Any]:
        world = World(1)
        database = Database(world, "journal")

        def next_try(task_instance: str = TASK_INSTANCE) -> Any:
            process = Process(world, "try")
            return InWorld(process, DatabaseMemory(process, database, task_instance))

        return next_try


class TestSimulatedStateStore(Outliving):
    """The task state store's journal on the simulation's model of the store."""

    @pytest.fixture(params=[False, True], ids=["airflow's backend", "a worker's backend"])
    def next_memory(self, request: pytest.FixtureRequest) -> Callable[..., Any]:
        world = World(1)
        store = StateStore(world, has_worker_backend=request.param)

        def next_try() -> Any:
            store.newest += 1
            process = Process(world, "try")
            memory = StateStoreMemory(
                Accessor(process, store), TASK_INSTANCE, try_number=store.newest, never_expire=NEVER
            )
            return InWorld(process, memory)

        return next_try


# the model and the real one


class Client:
    """One of two clients of a journal, and what it has been told so far."""

    def __init__(self, journal: TaskJournal) -> None:
        self._journal = journal
        self.view: dict[str, Entry] = {}

    def open(self) -> None:
        self._journal.open(HEADER)

    def news(self) -> None:
        self._learn(self._journal.news())

    def begin(self, name: str, wanted: Sequence[bytes]) -> Entry | None:
        """Begin a batch of the row keys that nobody holds."""
        entry = self._journal.begin(self._composing(name, wanted))
        self._learn([] if entry is None else [entry])
        return entry

    def settle(self, name: str, random_number: float) -> Entry | None:
        """Settle a batch as it may be, whatever this client knows of it."""
        if name not in self.view:
            return None
        settled_entry = self._journal.settle(_any_outcome(self.view[name], random_number))
        self._learn([settled_entry])
        return settled_entry

    def settle_and_begin(
        self, settled_name: str, random_number: float, name: str, wanted: Sequence[bytes]
    ) -> tuple[Entry, Entry | None] | None:
        """Do both at once."""
        if settled_name not in self.view:
            return None
        outcome = _any_outcome(self.view[settled_name], random_number)
        settled_entry, entry = self._journal.settle_and_begin(outcome, self._composing(name, wanted))
        self._learn([settled_entry, *([] if entry is None else [entry])])
        return settled_entry, entry

    def entries(self) -> Sequence[Entry] | None:
        return self._journal.entries()

    def _composing(self, name: str, wanted: Sequence[bytes]) -> Compose:
        def compose(news: Sequence[Entry]) -> Entry | None:
            self._learn(news)
            held = {key for entry in self.view.values() if entry.is_in_effect for key in unpack(entry.row_keys)}
            missing = [key for key in wanted if key not in held]
            return entry_of(name, b"".join(missing)) if missing else None

        return compose

    def _learn(self, entries: Sequence[Entry]) -> None:
        self.view.update({entry.client_batch_id: entry for entry in entries})


def _any_outcome(entry: Entry, random_number: float) -> Entry:
    """Give an entry a state, evidence and outcomes of its row keys by a number between 0 and 1."""
    dice = random.Random(random_number)  # noqa: S311  # chance, not secrets
    state = dice.choice([each for each in EntryState if each not in (EntryState.CANARY, EntryState.MOVED)])
    outcomes: dict[str, bytes] = dict.fromkeys(("rejected_keys", "unknown_keys", "assumed_keys", "resent_keys"), b"")
    if state is EntryState.SENT:
        for key in unpack(entry.row_keys):
            name = dice.choice([None, *outcomes])
            if name is not None:
                outcomes[name] += key
    evidence: dict[str, Any] = {"watermark_begun": NOW + 700, "watermark_seen": NOW + 800 + dice.randrange(9)}
    return msgspec.structs.replace(
        entry,
        state=state,
        batch_id=dice.choice([None, "b-1"]) if state is EntryState.SENT else None,
        **outcomes,
        **(evidence if dice.random() < 0.3 else {}),
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_simulations_model_answers_as_the_real_journal_does(journal_database: Any, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # chance, not secrets
    world = World(1)
    database = Database(world, "journal")
    pairs: list[tuple[Client, Client]] = []
    memories: list[SqlMemory] = []

    def join() -> None:
        memories.append(SqlMemory(JournalDatabase(engine_of("journal"), "journal"), TASK_INSTANCE))
        process = Process(world, "try")
        model: Any = InWorld(process, DatabaseMemory(process, database, TASK_INSTANCE).journal("campaign"))
        pairs.append((Client(memories[-1].journal("campaign")), Client(model)))
        for client in pairs[-1]:
            client.open()

    join()
    join()
    begun: list[str] = []
    for step in range(80):
        if dice.random() < 0.05:
            pairs.pop(0)
            join()
        pair = dice.choice(pairs)
        what = dice.choice(["news", "begin", "begin", "settle", "settle", "settle", "settle_and_begin", "entries"])
        arguments: tuple[Any, ...] = ()
        if what in ("settle", "settle_and_begin"):
            if not begun:
                continue
            arguments = (dice.choice(begun), dice.random())
        if what in ("begin", "settle_and_begin"):
            begun.append(f"batch-{step}")
            arguments = (*arguments, begun[-1], unpack(keys(*dice.sample(range(12), 4))))
        answers = [getattr(client, what)(*arguments) for client in pair]
        assert answers[0] == answers[1], f"step {step}: {what}"
        assert pair[0].view == pair[1].view, f"step {step}: {what}"
    for memory in memories:
        memory.close()
