"""The page of clips: its numbers are those of the files and of the network, and a browser shows them."""

import base64
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import predict_run
import view
from browser import PROGRAM, Browser
from clips.h5 import AXES_2D
from clips.poses import Poses
from clips.skeletons import SKELETONS, Skeleton
from conftest import write_toy
from data import Clips
from util import UserError

EVIL = "</script><b id=evil>b</b>"


def make(out, *words):
    """The exit code of a run, and what its page holds."""
    code = view.main([*map(str, words), "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert "<b id" not in text
    return code, json.loads(re.search(r'id="data">(.*)</script>', text)[1])


def unpack(entry, joints):
    values = np.frombuffer(base64.b64decode(entry["xyz"]), "<i2").reshape(-1, entry["persons"], joints, 3)
    return np.where(values == view.ABSENT, np.nan, values * entry["unit"] + entry["offset"])


def walk(frames=40, persons=2, joints=25):
    """Persons of a Kinect's joints, a metre apart; the second is away in frames 3 and 4."""
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(1, persons, joints, 3)) * 0.4 + rng.normal(size=(frames, persons, joints, 3)) * 0.02
    clip += np.arange(persons)[:, None, None] * [1, 0, 0.5]
    clip[3:5, 1:] = 0
    return clip.astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an h5 whose class has a name that is HTML, a checkpoint for it, and a recording."""
    folder = tmp_path_factory.mktemp("view")
    write_toy(folder / "toy.h5", joints=20, skeleton="kinect_v1", class_names=["a", EVIL, "c", "d"])
    content = {"class_names": ["a", EVIL, "c", "d"], "skeleton": {"skeleton": "kinect_v1"}}
    predict_run.save(folder / "toy.pth", classes=4, joints=20, **content)
    predict_run.save(folder / "ntu.pth")
    np.save(folder / "walk.npy", walk())
    return folder


@pytest.fixture(scope="module")
def test_set(place):
    words = ("--dataset", place / "toy.h5", "--checkpoint", place / "toy.pth", "--clips", 7)
    return make(place / "set.html", *words)[1]


def test_coordinates_by_hand():
    clip = walk()
    entry = view.make_entry("a", Poses(clip, "kinect_v2", "x, y, z"), [])
    found = unpack(entry, 25)
    assert np.isnan(found[3:5, 1]).all() and not np.isnan(found[:, 0]).any()
    np.testing.assert_allclose(found[5:], clip[5:], atol=entry["unit"])
    assert entry["unit"] < 1e-4 and len(json.dumps(entry)) < 2.1 * clip.size + 500
    flat = np.zeros((1, 1, 18, 3), np.float32)
    flat[0, 0, 2] = [0.25, -0.5, 0.9]
    found = unpack(view.make_entry("a", Poses(flat, "openpose18", AXES_2D), []), 18)
    assert found[0, 0, 2].tolist() == [0.25, -0.5, 0] and np.isnan(np.delete(found, 2, 2)).all()


def test_left_and_right():
    assert view.describe(SKELETONS["kinect_v1"])["side"][:6] == [0, 0, 0, 0, 1, 1]
    own = view.describe(Skeleton("custom", ("a", "b", "c"), (0, 0, 0), (0, 2, 1)))
    assert own["side"] == [0, 1, 2] and "left" not in own["sides"]


def test_clips_of_each_cell_errors_first():
    label, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1, 0])
    assert view.choose(label, predicted, 2) == [2, 5]
    assert view.choose(label, predicted, 4) == [0, 2, 4, 5]
    assert view.choose(label, predicted, 9) == [0, 1, 2, 3, 4, 5]


def test_a_test_set(place, test_set):
    """Its matrix, probabilities and sampled frames are those of a test."""
    args = SimpleNamespace(dataset=str(place / "toy.h5"), case=0, data=None, checkpoint=place / "toy.pth", device="cpu")
    _, _, clips, checkpoint = view.open_data(args)
    ids = clips.ids("test")
    logits, frames = view.predict(checkpoint, clips, ids, None)
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (clips.label[ids].numpy(), logits.argmax(dim=1).numpy()), 1)
    assert test_set["matrix"] == counts.tolist() and len(test_set["clips"]) == 7
    for entry in test_set["clips"]:
        i = int(entry["name"].split()[-1])
        assert entry["top"][0][1] == pytest.approx(logits[i].softmax(0).max().item(), abs=1e-4)
        assert entry["sampled"] == [sorted(frames[i].tolist())]
        x = clips.gather(ids[[i]], torch.tensor(entry["sampled"])).view(20, 20, 3)
        np.testing.assert_allclose(unpack(entry, 20)[entry["sampled"][0], 0], x, atol=2 * entry["unit"])


def test_a_recording_has_the_answer_of_predict(place, capsys):
    words = (place / "walk.npy", "--checkpoint", place / "ntu.pth")
    code, data = make(place / "one.html", *words)
    (entry,) = data["clips"]
    capsys.readouterr()
    top = json.loads(predict_run.run(capsys, *words, "--json")[1][0])["top"]
    assert code == 0 and entry["top"] == [[one["label"], one["probability"]] for one in top]
    both = Clips.from_clip(walk()).length.item()
    assert both == 78 and len(entry["sampled"]) == 2 and not {3, 4} & {*entry["sampled"][1]}
    assert all(0 <= p <= 1 for _, line in entry["lines"] for p in line) and max(entry["at"]) == 39


def test_files_that_cannot_be_read_are_named(place, capsys):
    (place / "in").mkdir()
    for name in ("a", "b"):
        np.save(place / "in" / f"{name}.npy", walk(9, 1))
    (place / "in/c.json").write_text("{")
    code, data = make(place / "in.html", place / "in", "--skeleton", "kinect_v2")
    assert code == 3 and [one["name"] for one in data["clips"]] == ["in/a.npy", "in/b.npy"]
    assert "c.json" in capsys.readouterr().err
    code, data = make(place / "in.html", place / "in", "--clips", 1)
    assert code == 0 and len(data["clips"]) == 1 and "1 of 3" in data["about"]


@pytest.mark.parametrize(
    "words, why",
    [
        (["nothing.npy"], "nothing.npy"),
        (["nothing.h5"], "nothing.h5"),
        (["walk.npy", "--checkpoint", "toy.pth"], "joints"),
        (["--dataset", "toy.h5", "--checkpoint", "ntu.pth"], "ntu.pth"),
        (["walk.npy", "--dataset", "toy.h5"], "dataset"),
        ([], "dataset"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_no_page(place, monkeypatch, capsys, words, why):
    monkeypatch.chdir(place)
    with pytest.raises((UserError, OSError, SystemExit)) as error:
        view.main([*words, "--out", "wrong.html"])
    assert why in f"{error.value} {getattr(error.value, 'filename', '')} {capsys.readouterr().err}"
    assert not (place / "wrong.html").exists()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def turns(browser, act):
    """Whether the picture changes."""
    picture, frames = "$('view').toDataURL()", "new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))"
    before = browser.js(frames) or browser.js(picture)
    act()
    browser.js(frames)
    return browser.js(picture) != before


def drag(browser):
    x, y = browser.js("(({x, y, width, height}) => [x + width / 2, y + height / 2])($('view').getBoundingClientRect())")
    browser.mouse("Pressed", x, y, button="left", buttons=1, clickCount=1)
    browser.mouse("Moved", x + 60, y + 9, button="left", buttons=1)
    browser.mouse("Released", x + 60, y + 9, button="left")


INK = """((pixels) => pixels.filter((value, k) => k % 4 === 3 && value).length / pixels.length * 4)
(view.getContext("2d").getImageData(0, 0, view.width, view.height).data)"""


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_in_a_browser(place, test_set, browser, theme):
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    make(place / "one.html", place / "walk.npy", "--checkpoint", place / "ntu.pth")
    browser.open(place / "one.html")
    assert 0.005 < browser.js(INK) < 0.5
    assert turns(browser, lambda: drag(browser))
    assert turns(browser, lambda: browser.js("void view.dispatchEvent(new WheelEvent('wheel', {deltaY: -200}))"))
    assert turns(browser, lambda: browser.key("ArrowRight")) and browser.js("$('at').textContent") == "2 / 40"
    browser.key(" ")
    browser.wait("Number($('scrub').value) > 5")
    browser.key(" ")
    assert not turns(browser, lambda: None) and browser.js("$('play').ariaLabel") == "play"
    x, y = browser.js("(({x, y}) => [x + points[3].at[0], y + points[3].at[1]])(view.getBoundingClientRect())")
    browser.mouse("Moved", x, y)
    assert browser.js("$('tip').checkVisibility() && $('tip').textContent").split(" · ")[0] in browser.js("clip.joints")
    browser.open(place / "set.html")
    cells = browser.js("[...$('body').rows].map(row => [...row.cells].slice(1, -1).map(td => Number(td.textContent)))")
    assert cells == test_set["matrix"] and browser.js("$('list').children.length") == 7
    browser.js("$('body').querySelector('button').click()")
    opened = browser.js("[clip.truth, clip.top[0][0], $('which').textContent, $('list').children.length]")
    count = sum([one["truth"], one["top"][0][0]] == opened[:2] for one in test_set["clips"])
    assert opened[2].endswith(f"{count} of {cells[opened[0]][opened[1]]}") and opened[3] == count
    assert browser.js("document.getElementById('evil')") is None and EVIL in browser.js("$('table').innerText")
    assert browser.problems == []
