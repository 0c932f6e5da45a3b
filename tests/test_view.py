"""The page of clips: its numbers are those of the files and of the network, and a browser shows them."""

import base64
import json
import re
from contextlib import closing

import numpy as np
import pytest
import torch

import predict_run
import view
from browser import PROGRAM, Browser
from clips.h5 import AXES_2D, AXES_3D
from clips.poses import Poses
from clips.skeletons import Skeleton
from conftest import write_toy
from util import UserError

EVIL = "</script><b id=evil>b</b>"  # the name of a class
NAMES = ["a", EVIL, "c", "d"]


def make(out, *words):
    """The exit code of a run, and what its page holds."""
    code = view.main([*map(str, words), "--out", str(out)])
    return code, json.loads(re.search(r'id="data">(.*?)</script>', out.read_text(encoding="utf-8"))[1])


def unpack(entry, joints):
    values = np.frombuffer(base64.b64decode(entry["xyz"]), "<i2").reshape(-1, entry["persons"], joints, 3)
    return np.where(values == view.ABSENT, np.nan, values * entry["unit"])


def walk(joints=25):
    """24 frames of two persons beside each other, float32; the second is away in frames 3 and 4."""
    rng = np.random.default_rng(0)
    clip = rng.normal(size=(1, 2, joints, 3)) * 0.4 + rng.normal(size=(24, 2, joints, 3)) * 0.02
    clip[:, 1] += [1, 0, 0.5]
    clip[3:5, 1] = 0
    return clip.astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an h5, a checkpoint for it, one of NTU's kind, and a recording."""
    folder = tmp_path_factory.mktemp("view")
    write_toy(folder / "toy.h5", joints=20, skeleton="kinect_v1", class_names=NAMES)
    predict_run.save(folder / "toy.pth", 4, 20, class_names=NAMES, skeleton={"skeleton": "kinect_v1"})
    predict_run.save(folder / "ntu.pth")
    np.save(folder / "walk.npy", walk())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "POINTS", 6)  # quicker
        yield folder


@pytest.fixture
def browser(tmp_path):
    with closing(Browser(tmp_path / "profile")) as browser:
        yield browser
    assert browser.problems == []


@pytest.fixture(scope="module")
def shown_set(place):
    """What the page of the test set holds."""
    return make(place / "set.html", "--dataset", place / "toy.h5", "--checkpoint", place / "toy.pth", "--clips", 4)[1]


def test_coordinates_and_sides_by_hand():
    clip, skeletons = walk(), []
    entry = view.make_entry("a", Poses(clip, "kinect_v2", AXES_3D), skeletons)
    found = unpack(entry, 25)
    assert np.isnan(found[3:5, 1]).all() and not np.isnan(found[:, 0]).any() and entry["unit"] < 1e-4
    np.testing.assert_allclose(found[5:], clip[5:], atol=entry["unit"])
    flat = np.zeros((1, 1, 18, 3), np.float32)
    flat[0, 0, 2] = [0.25, -0.5, 0.9]
    found = unpack(view.make_entry("b", Poses(flat, "openpose18", AXES_2D), skeletons), 18)[0, 0]
    assert found[2].tolist() == pytest.approx([0.25, -0.5, 0.9], abs=1e-4) and np.isnan(np.delete(found, 2, 0)).all()
    own = Skeleton("custom", ("tail", "wing", "wing 2"), (0, 0, 0), (0, 2, 1))
    view.make_entry("c", Poses(walk(joints=3), own, AXES_3D), skeletons)
    assert [one["side"][:6] for one in skeletons] == [[0, 0, 0, 0, 1, 1], [0, 0, 2, 2, 2, 1], [0, 1, 2]]


def test_clips_of_each_cell_errors_first():
    for n, chosen in ((2, [2, 5]), (4, [0, 2, 4, 5]), (9, [0, 1, 2, 3, 4, 5])):
        assert view.choose(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1, 0]), n) == chosen


def test_a_test_set(place, shown_set):
    """Its matrix, probabilities and sampled frames are those of a test."""
    _, _, clips, checkpoint = view.open_data(str(place / "toy.h5"), checkpoint=place / "toy.pth")
    ids = clips.ids("test")
    logits, frames = view.predict(checkpoint, clips, ids)
    counts = torch.zeros(4, 4).index_put_((clips.label[ids], logits.argmax(dim=1)), torch.ones(18), accumulate=True)
    assert shown_set["matrix"] == counts.tolist() and len(shown_set["clips"]) == 4
    for entry in shown_set["clips"]:
        i = int(entry["name"].split()[-1])
        assert entry["top"][0][1] == pytest.approx(logits[i].softmax(0).max().item(), abs=1e-4)
        x = clips.gather(ids[[i]], torch.tensor(frames[[i]])).view(20, 20, 3)
        assert entry["sampled"] == [frames[i].tolist()]
        np.testing.assert_allclose(unpack(entry, 20)[frames[i], 0], x, atol=2 * entry["unit"])


def test_recordings_have_the_answers_of_predict(place, capsys):
    (place / "in").mkdir()
    np.save(place / "in/a.npy", walk())
    (place / "in/b.json").write_text("{")
    code, data = make(place / "in.html", place / "in", "--checkpoint", place / "ntu.pth")
    (entry,) = data["clips"]
    assert code == 3 and entry["name"].endswith("in/a.npy") and "b.json" in capsys.readouterr().err
    top = json.loads(predict_run.run(capsys, place / "in/a.npy", "--checkpoint", place / "ntu.pth", "--json")[1][0])
    assert entry["top"] == [[one["label"], one["probability"]] for one in top["top"]]
    assert [bool({3, 4} & {*frames}) for frames in entry["sampled"]] == [True, False]
    assert all(0 <= p <= 1 for _, line in entry["lines"] for p in line) and max(entry["at"]) == 23


def test_wrong_input_is_one_line_and_leaves_no_page(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for words, why in (
        (["nothing.npy"], "nothing.npy"),
        (["--dataset", "toy.h5", "--checkpoint", "ntu.pth"], "ntu.pth"),
        (["--dataset", "toy.h5", "--up", "z"], "--up"),
    ):
        with pytest.raises((UserError, SystemExit)) as error:
            view.main([*words, "--out", "wrong.html"])
        assert why in f"{error.value} {capsys.readouterr().err}" and not (place / "wrong.html").exists()


INK = """((pixels) => pixels.filter((value, k) => k % 4 === 3 && value).length / pixels.length * 4)
(view.getContext("2d").getImageData(0, 0, view.width, view.height).data)"""
DRAWN = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(view.toDataURL()), 50)))"
JOINT = "(({x, y}) => [x + points[3].at[0], y + points[3].at[1]])(view.getBoundingClientRect())"
CELLS = "[...$('body').rows].map(row => [...row.cells].slice(1, -1).map(td => Number(td.textContent)))"
CLICK = "$('body').querySelector('button').click(), [clip.truth, clip.top[0][0], $('which').textContent]"


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome")
def test_in_a_browser(place, shown_set, browser):
    def mouse(kind, x, y, **more):
        browser.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, button="left", **more)

    def press(key, text=""):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)

    make(place / "one.html", place / "walk.npy", "--checkpoint", place / "ntu.pth")
    browser.open(place / "one.html")
    pictures = [browser.js(DRAWN), browser.js(DRAWN)]
    assert pictures[0] == pictures.pop() and 0.005 < browser.js(INK) < 0.5
    for kind, x, buttons in ("Pressed", 300, 1), ("Moved", 360, 1), ("Released", 360, 0):
        mouse(kind, x, 300, buttons=buttons, clickCount=1)
    pictures.append(browser.js(DRAWN))
    mouse("Wheel", 300, 300, deltaX=0, deltaY=-200)
    pictures.append(browser.js(DRAWN))
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    pictures.append(browser.js(DRAWN))
    press("ArrowRight")
    pictures.append(browser.js(DRAWN))
    assert len({*pictures}) == 5 and browser.js("$('at').textContent") == "2 / 24"
    press(" ", " ")
    browser.wait("Number($('scrub').value) > 5")
    press(" ", " ")
    assert browser.js("$('play').ariaLabel") == "play"
    mouse("Moved", *browser.js(JOINT))
    assert browser.js("$('tip').checkVisibility() && $('tip').textContent").split(" · ")[0] in browser.js("clip.joints")
    browser.open(place / "set.html")
    cells = browser.js(CELLS)
    assert cells == shown_set["matrix"] and browser.js("$('list').children.length") == 4
    i, j, said = browser.js(CLICK)
    count = sum([one["truth"], one["top"][0][0]] == [i, j] for one in shown_set["clips"])
    assert said.endswith(f"{count} of {cells[i][j]}") and browser.js("$('list').children.length") == count
    assert EVIL in browser.js("$('table').innerText") and browser.js("document.getElementById('evil')") is None
