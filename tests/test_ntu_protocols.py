"""Which clips a data set has, which train and which test: rules on names."""

import hashlib
import itertools
import json

from clips import protocols
from clips.h5 import split_validation
from ntu_text import ARRAYS, FIXTURES
from seq_transformation import count_sides

PEOPLE = (1, 2), (3, 6)  # who train, who test
NTU, NTU120 = protocols.dataset("NTU"), protocols.dataset("NTU120")


def name(setup=1, camera=1, performer=1, replication=1, action=1):
    return f"S{setup:03}C{camera:03}P{performer:03}R{replication:03}A{action:03}"


def test_order_of_the_release():
    """All clips of a run of the release, in its order in the six arrays of both protocols."""
    names = ARRAYS["all_names"].tolist()
    for protocol in NTU.protocols:
        train, test = protocol.split(names)
        for split, indices in zip(("", "valid_", "test_"), (*split_validation(train), test), strict=True):
            assert ARRAYS[f"order/{protocol.name}/{split}x"].tolist() == [names[i] for i in indices]


def test_clips_go_value_by_value_and_in_name_order():
    """Performer by performer, camera by camera, setup by setup."""
    people = [name(s, c, p) for s in (1, 2) for c in (1, 2) for p in (1, 2, 3, 6)]
    cameras = [name(s, c) for s in (1, 2) for c in (1, 2, 3)]
    setups = [name(s) for s in range(1, 33)]
    for protocol, names, train, test in (
        (NTU.protocols[0], people, *([name(s, c, p) for p in side for s in (1, 2) for c in (1, 2)] for side in PEOPLE)),
        (NTU.protocols[1], cameras, [name(s, c) for c in (2, 3) for s in (1, 2)], [name(1, 1), name(2, 1)]),
        (NTU120.protocols[1], setups, setups[1::2], setups[::2]),
    ):
        assert [[names[i] for i in side] for side in protocol.split(names)] == [train, test]


def test_clips_on_neither_side_are_in_neither_list():
    train, test = NTU.protocols[0].split([name(performer=41), name(performer=1)])
    assert (train.tolist(), test.tolist()) == ([1], [])


def test_the_test_labels_of_two_runs_of_the_release_on_the_whole_of_ntu60():
    """Names from the performers of each setup, then the labels in the order of the h5: every one is the release's."""
    facts = json.loads((FIXTURES / "ntu60.json").read_text(encoding="utf-8"))
    pairs = [(int(setup[1:]), person) for setup, people in facts["performers"].items() for person in people]
    recorded = itertools.product(pairs, (1, 2, 3), (1, 2), range(1, 61))
    names = sorted({name(setup, c, person, r, a) for (setup, person), c, r, a in recorded} - NTU.missing)
    assert len(names) == NTU.full
    for protocol in NTU.protocols:
        train, test = protocol.split(names)
        assert (len(train), len(test)) == protocol.full
        known = facts["test_labels"][protocol.name]
        labels = "".join(f"{protocols.action(names[i]) - 1}\n" for i in test[: known["clips"]])
        assert hashlib.sha256(labels.encode()).hexdigest() == known["sha256"]


def test_the_lists():
    assert (len(NTU.missing), len(NTU120.missing)) == (302, 535)
    assert NTU.missing < NTU120.missing
    assert (len(NTU.classes), len(NTU120.classes)) == (60, 120)
    assert NTU120.classes[:60] == NTU.classes
    assert len(set(NTU120.classes)) == 120
    for protocol, people in ((NTU.protocols[0], 40), (NTU120.protocols[0], 106)):
        assert sorted(protocol.train + protocol.test) == list(range(1, people + 1))
        assert [*protocol.train] == sorted(protocol.train) and [*protocol.test] == sorted(protocol.test)


def test_actions_beyond_the_classes_do_not_belong():
    assert NTU.has(name(action=60))
    assert not NTU.has(name(action=61))
    assert NTU120.has(name(action=120))
    assert not NTU120.has(name(action=0))


def test_the_demo_has_the_rules_of_ntu():
    demo = protocols.dataset("DEMO")
    assert (len(demo.classes), demo.full, demo.missing) == (13, None, frozenset())
    assert [protocol.train for protocol in demo.protocols] == [protocol.train for protocol in NTU.protocols]


def test_whether_the_counts_are_the_full_ones():
    cv = NTU.protocols[1]
    assert ": the full " in NTU120.count(113945) and ": not the full " in NTU.count(5)
    assert ": the full counts" in count_sides(cv, 37646, 18932, 56578)
    assert ": not the full " in count_sides(cv, 2, 1, 4)
