"""Which clips a data set has, which train and which test: rules on names."""

import hashlib
import itertools
import json

from clips import protocols
from clips.h5 import split_validation
from ntu_text import ARRAYS, FIXTURES

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


def test_setups_of_ntu120_go_by_even_and_odd():
    setups = [name(s) for s in range(1, 33)]
    assert [[setups[i] for i in side] for side in NTU120.protocols[1].split(setups)] == [setups[1::2], setups[::2]]


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


def test_the_lists_fit_each_other_and_the_published_counts():
    assert (len(NTU.missing), len(NTU120.missing), NTU.missing < NTU120.missing) == (302, 535, True)
    assert (len(NTU.classes), len({*NTU120.classes}), NTU120.classes[:60] == NTU.classes) == (60, 120, True)
    assert [NTU.has(name(action=a)) for a in (0, 60, 61)] == [False, True, False] and NTU120.has(name(action=120))
    for dataset, people in ((NTU, 40), (NTU120, 106)):
        cs = dataset.protocols[0]
        assert sorted(cs.train + cs.test) == list(range(1, people + 1)) and [*cs.train] == sorted(cs.train)
        for protocol in dataset.protocols:  # a side has full takes: 3 cameras, 2 replications, 60 actions
            missing = map(len, protocol.split(sorted(dataset.missing)))
            sides = [count + n for count, n in zip(protocol.full, missing, strict=True)]
            assert sum(sides) == dataset.full + len(dataset.missing)
            assert [count % (3 * 2 * 60 if protocol.field != "camera" else 2 * 60) for count in sides] == [0, 0]
