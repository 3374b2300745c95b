"""The page to draw on: its server's answers and refusals, and, where there is a browser, a drawn seven."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

import gpucnn
from gpucnn import Model, Network, data
from gpucnn import command as cli
from gpucnn.data import Preprocessing
from gpucnn.data.pictures import decoded
from gpucnn.errors import GpucnnError
from gpucnn.layers import Conv2D, Dense, Flatten, ReLU
from gpucnn.web import server
from gpucnn.web.answers import Answers

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory):
    """A model of the digits that knows a seven."""
    digits = data.load("digits")
    model = Model("two-conv", device="cpu", threads=1, preprocessing=digits.preprocessing)
    model.fit(digits.train_images, digits.train_labels, epochs=10, lr=0.003, batch_size=64, progress=False)
    return model.save(tmp_path_factory.mktemp("model") / "digits.safetensors")


@pytest.fixture
def client(digits_model):
    pytest.importorskip("starlette", reason="starlette is not installed")
    pytest.importorskip("httpx", reason="httpx, which drives the application, is not installed")
    from starlette.testclient import TestClient

    from gpucnn import load

    answers = Answers(load(digits_model, device="cpu", threads=1), "digits.safetensors")
    return TestClient(server.application(answers), base_url="http://127.0.0.1:8000")


def seven(kind="PNG"):
    picture = Image.new("RGB", (280, 280), "white")
    ImageDraw.Draw(picture).line([(70, 60), (200, 60), (120, 230)], fill="black", width=18, joint="curve")
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def test_the_page_and_what_belongs_to_it(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in re.findall(r'(?:href|src)="([^"]+)"', page.text):
        assert client.get(f"/{name}").status_code == 200
        assert "://" not in name, "nothing comes from elsewhere"
    for name in ("page.js", "page.css"):
        assert "http" not in client.get(f"/{name}").text
    assert client.get("/../server.py").status_code == 404


def test_what_files_are_is_said_whatever_endings_mean_on_the_system(client, monkeypatch):
    monkeypatch.setattr("mimetypes.guess_type", lambda *_, **__: ("text/plain", None))
    kinds = [client.get(f"/{name}").headers["content-type"] for name in ("", "page.js", "page.css", "icon.svg")]
    assert [each.partition(";")[0] for each in kinds] == ["text/html", "text/javascript", "text/css", "image/svg+xml"]


def test_about(client):
    about = client.get("/about").json()
    assert (about["network"], about["classes"], about["drawn"]) == ("two-conv", list("0123456789"), True)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_answered(client, kind):
    found = client.post("/look", content=seven(kind)).json()
    assert found["class"] == 7
    assert found["probabilities"][7] == max(found["probabilities"])
    assert abs(sum(found["probabilities"]) - 1) < 1e-5
    assert found["said"][0] == "it is dark on light, and was inverted"
    assert [len(layer["maps"]) for layer in found["layers"]] == [8, 8, 8, 16, 16, 16]
    for picture in (found["picture"], found["pixels"], found["regions"], found["layers"][0]["maps"][0]):
        assert picture.startswith("data:image/png;base64,")


def test_one_picture_at_a_time_is_decoded(monkeypatch):
    network = Network((8, 8, 1), (Flatten(), Dense(2)))
    answers = Answers(Model(network, device="cpu", preprocessing=Preprocessing((8, 8), 1)), "small")
    held = []

    def seen(*given):
        held.append(answers._one_at_a_time.locked())
        return decoded(*given)

    monkeypatch.setattr("gpucnn.web.answers.decoded", seen)
    answers.look(seven())
    assert held == [True]
    assert not answers._one_at_a_time.locked()


def test_a_model_is_named_with_its_folder(digits_model, monkeypatch):
    made = []
    monkeypatch.setattr("gpucnn.web.answers.Answers.__init__", lambda self, model, name: made.append(name))
    monkeypatch.setattr(server, "application", lambda answers: None)
    monkeypatch.setattr(server, "serve", lambda answers, listener: None)
    monkeypatch.chdir(digits_model.parent)
    monkeypatch.setattr(sys, "argv", ["gpucnn", "serve", digits_model.name, "--port", "0"])
    assert cli.main() == 0
    assert made == [f"{digits_model.parent.name}/{digits_model.name}"]


def test_what_is_no_picture(client):
    for content in (b"", b"junk", seven()[:200]):
        reply = client.post("/look", content=content)
        assert reply.status_code == 422
        assert "the picture: cannot be read as a picture" in reply.json()["error"]


def test_a_model_whose_numbers_overflow_is_said_to_be_so(digits_model, tmp_path, monkeypatch, capsys):
    pytest.importorskip("starlette", reason="starlette is not installed")
    pytest.importorskip("httpx", reason="httpx, which drives the application, is not installed")
    from starlette.testclient import TestClient

    model = gpucnn.load(digits_model, device="cpu", threads=1)
    model.theta[...] = 1e30
    client = TestClient(server.application(Answers(model, "large")), base_url="http://127.0.0.1:8000")
    reply = client.post("/look", content=seven())
    assert reply.status_code == 422
    assert reply.json()["error"].startswith("large: a probability or number is nan: the model's weights are too large")
    (tmp_path / "seven.png").write_bytes(seven())
    model.save(tmp_path / "m.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpucnn", "show", "m.safetensors", "seven.png"])
    assert cli.main() == 1
    assert "m.safetensors: a probability or number is nan: the model's weights" in capsys.readouterr().err


def test_what_is_too_large(client, monkeypatch):
    monkeypatch.setattr(server, "LARGEST", 1000)
    assert client.post("/look", content=bytes(1001)).status_code == 413
    parts = (bytes(600) for _ in range(2))
    assert client.post("/look", content=parts).status_code == 413
    assert client.post("/look", content=b"x", headers={"content-length": "-1"}).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "example.com"},
        {"host": "127.0.0.1.example.com:8000"},
        {"host": "example.com:8000"},
        {"host": ""},
        {"origin": "http://example.com"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"origin": "https://127.0.0.1:8000"},
    ],
)
def test_other_hosts_and_other_sites_are_refused(client, headers):
    for reply in (client.get("/", headers=headers), client.post("/look", content=seven(), headers=headers)):
        assert reply.status_code == 403
        assert "for this computer only" in reply.text


@pytest.mark.parametrize(
    "headers", [{"host": "localhost:8000", "origin": "http://localhost:8000"}, {"host": "localhost"}]
)
def test_its_own_page_may_ask(client, headers):
    assert client.post("/look", content=seven(), headers=headers).status_code == 200


def test_a_model_of_colour_pictures_and_one_that_takes_none():
    network = Network((8, 8, 3), (Conv2D(2, 3), ReLU(), Flatten(), Dense(3)))
    colour = Answers(Model(network, device="cpu", threads=1, preprocessing=Preprocessing((8, 8), 3)), "colour")
    assert not colour.about()["drawn"]
    assert len(colour.look(seven())["layers"]) == 2
    flat = Network((8, 8, 1), (Flatten(), Dense(3)))
    assert (
        Answers(Model(flat, device="cpu", preprocessing=Preprocessing((8, 8), 1)), "flat").look(seven())["regions"]
        is None
    )
    with pytest.warns(
        UserWarning, match="own does not say how pictures become its images: they are scaled and cropped"
    ):
        assert Answers(Model(flat, device="cpu"), "own").how == Preprocessing((8, 8), 1)
    with pytest.raises(
        GpucnnError, match=r"rows takes \(5,\), and no picture file becomes such; in Python, give arrays"
    ):
        Answers(Model(Network((5,), (Dense(3),)), device="cpu"), "rows")


def test_a_port_that_is_taken():
    with server.listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        port = listener.getsockname()[1]
        with pytest.raises(GpucnnError, match=rf"--port {port}: cannot be listened on"):
            server.listening(port)


@pytest.mark.parametrize("breaks_off", [True, False])
def test_an_upload_that_does_not_arrive_whole_is_given_up(digits_model, breaks_off, monkeypatch):
    """Also one that waits for ever, so that Ctrl-C, which lets what was begun end, ends the page."""
    pytest.importorskip("starlette", reason="Starlette is not installed")
    monkeypatch.setattr(server, "WAIT", 60.0 if breaks_off else 0.1)
    told = [{"type": "http.request", "body": b"abc", "more_body": True}]
    sent = []

    async def receive():
        if not told and not breaks_off:
            await asyncio.sleep(60)
        return told.pop() if told else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-length", b"1000")]
    scope = {"type": "http", "method": "POST", "path": "/look", "query_string": b"", "headers": headers}
    app = server.application(Answers(gpucnn.load(digits_model, device="cpu"), "digits"))
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408


def test_without_starlette(digits_model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    monkeypatch.setattr(sys, "argv", ["gpucnn", "serve", str(digits_model), "--port", "0"])
    assert cli.main() == 1
    assert "pip install starlette uvicorn" in capsys.readouterr().err


@pytest.fixture
def address(digits_model):
    """Of the command as a process of its own."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    command = [sys.executable, "-m", "gpucnn", "serve", str(digits_model), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = threading.Timer(60, process.kill)
    watch.start()
    try:
        yield process.stdout.readline().split()[0]
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        process.wait(20)
        assert "Traceback" not in process.stderr.read()
    finally:
        watch.cancel()
        process.kill()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a terminal that is closed is no signal here")
def test_a_terminal_that_is_closed_ends_the_page(digits_model):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    command = [sys.executable, "-m", "gpucnn", "serve", str(digits_model), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (128 + signal.SIGHUP, "gpucnn: interrupted\n")


@pytest.fixture
def page(address, tmp_path):
    """The page in a headless browser of the system."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    flags = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=browser, args=flags)
        shown = window.new_page(viewport={"width": 1000, "height": 900})
        wrong = []
        shown.on(
            "console",
            lambda message: (
                wrong.append(message.text) if message.type == "error" and "422" not in message.text else None
            ),
        )
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.goto(address)
        shown.wait_for_selector("#bars li")
        yield shown
        assert wrong == []
        window.close()


def verdict(page, wanted):
    """The page's policy lets no text become code, so that it is asked again and again."""
    for _ in range(200):
        if page.locator("#answer").inner_text().startswith(wanted):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{page.locator('#answer').inner_text()!r}, {wanted!r} was expected")


# A page without a browser: elements take everything, and what the browser does later waits to be told.
STAND_IN = """
(async () => {
const heard = {}, later = [], asked = [], drawn = [];
const element = (id) => new Proxy(function () {}, {
  get: (_, name) => name === "addEventListener" ? (kind, does) => { heard[`${id} ${kind}`] = does; }
    : name === "toBlob" ? (does) => later.push(() => does("drawing"))
    : name === "clientWidth" || name === "clientHeight" ? 140
    : name === "drawImage" ? (picture) => drawn.push(picture.file)
    : name === "moveTo" || name === "lineTo" ? (x, y) => drawn.push([x, y])
    : name === "children" ? [] : name === Symbol.toPrimitive ? () => id : element(`${id}.${String(name)}`),
  set: () => true,
  apply: () => element(`${id}()`),
});
globalThis.document = {
  getElementById: element, createElement: element, addEventListener: (kind, does) => { heard[`all ${kind}`] = does; },
};
globalThis.createImageBitmap = (file) => new Promise((done) => later.push(() => done({ file, width: 1, height: 1 })));
globalThis.fetch = async (path, how) => {
  if (how) asked.push(how.body);
  const about = { parameters: 1, classes: [], kind: "classification", drawn: true };
  return { json: async () => (how ? { error: "none" } : about), headers: { get: () => "application/json" } };
};
const settle = () => new Promise((done) => setTimeout(done, 5));
const key = (name) => heard["pad keydown"]({ key: name, preventDefault() {} });
const touch = (kind, pointerId, offsetX, offsetY, button = 0) =>
  heard[`pad pointer${kind}`]({ pointerId, offsetX, offsetY, button });
const clear = () => heard["clear click"]();
const opened = (file) => heard["file change"]({ target: { files: [file] } });
require("vm").runInThisContext(require("fs").readFileSync(process.argv[1], "utf8"));
await settle();
%s
await settle();
console.log(JSON.stringify({ asked, drawn }));
})();
"""


def done_on_a_page(steps):
    """What is asked and drawn by these steps, without a browser."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [node, "-e", STAND_IN.replace("%s", steps), str(server.PAGE / "page.js")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("steps", "asked", "drawn"),
    [
        ('key(" "); later.shift()();', ["drawing"], [[140, 140], [140, 140]]),
        ('key(" "); clear(); later.shift()();', [], [[140, 140], [140, 140]]),
        ('key(" "); clear(); key("ArrowLeft"); later.shift()();', [], [[140, 140], [140, 140]]),
        ('opened("one"); later.shift()();', ["one"], ["one"]),
        ('opened("one"); clear(); later.shift()();', [], []),
        ('opened("one"); opened("two"); later[1](); await settle(); later[0]();', ["two"], ["two"]),
    ],
)
def test_what_was_cleared_is_not_asked_about(steps, asked, drawn):
    """However long the browser takes to make a picture of the drawing, or to decode a file."""
    assert done_on_a_page(steps) == {"asked": asked, "drawn": drawn}


@pytest.mark.parametrize(
    ("steps", "drawn"),
    [
        ('touch("down", 1, 0, 5); touch("move", 1, 140, 5);', [[0, 10], [0, 10], [0, 10], [280, 10]]),
        ('touch("down", 1, 5, 5); touch("down", 2, 90, 90); touch("move", 2, 95, 95);', [[10, 10]] * 2),
        (
            'touch("down", 1, 5, 5); touch("down", 2, 9, 9); touch("up", 2, 9, 9); touch("move", 1, 6, 5);',
            [[10, 10]] * 3 + [[12, 10]],
        ),
        ('touch("down", 1, 5, 5); touch("up", 1, 5, 5); touch("move", 1, 9, 9);', [[10, 10]] * 2),
        ('touch("down", 1, 5, 5, 2); touch("move", 1, 6, 5);', []),
    ],
)
def test_one_finger_or_button_draws_and_where_it_is(steps, drawn):
    """The pad, within its border, is shown with half as many pixels as it has."""
    assert done_on_a_page(steps)["drawn"] == drawn


def test_a_seven_drawn_with_the_mouse_is_a_seven(page):
    box = page.locator("#pad").bounding_box()
    points = [(70, 60), (200, 60), (160, 145), (120, 230)]
    page.mouse.move(box["x"] + points[0][0], box["y"] + points[0][1])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=8)
    page.mouse.up()
    verdict(page, "7")
    page.wait_for_timeout(300)
    assert page.locator("#bars li.best .name").inner_text() == "7"
    assert page.locator("#layers .layer").count() == 6
    assert page.locator("#regions").evaluate("image => image.naturalWidth") == 28
    if folder := os.environ.get("GPUCNN_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/serve.png", full_page=True)
    assert page.locator("#why").is_visible()
    page.get_by_role("button", name="Clear").click()
    verdict(page, "Nothing is drawn yet.")
    assert page.locator("#layers .layer").count() == 0
    assert not page.locator("#why").is_visible()


def test_a_seven_drawn_with_the_keyboard_is_a_seven(page):
    pad = page.locator("#pad")
    pad.focus()
    for key, times in (("ArrowLeft", 7), ("ArrowUp", 8), (" ", 1), ("ArrowRight", 13)):
        for _ in range(times):
            pad.press(key)
    for _ in range(8):
        for key in ("ArrowDown", "ArrowLeft", "ArrowDown"):
            pad.press(key)
    verdict(page, "7")
    pad.press("Delete")
    verdict(page, "Nothing is drawn yet.")


def test_a_picture_is_opened(page, tmp_path):
    path = tmp_path / "seven.png"
    path.write_bytes(seven())
    page.set_input_files("#file", str(path))
    verdict(page, "7")
    assert "dark on light" in page.locator("#notes").inner_text()
    path.write_bytes(b"junk")
    page.set_input_files("#file", str(path))
    verdict(page, "the picture: cannot be read as a picture")
    assert "error" in page.locator("#answer").get_attribute("class")
    assert not page.locator("#why").is_visible(), "there is nothing to show"
    page.get_by_role("button", name="Clear").click()
    verdict(page, "Nothing is drawn yet.")
    assert "error" not in page.locator("#answer").get_attribute("class")


def test_every_control_has_a_name(page):
    for role in ("button", "application"):
        for control in page.get_by_role(role).all():
            assert control.evaluate("e => e.ariaLabel || e.innerText || e.labels[0].innerText")
    assert np.all([image.get_attribute("alt") for image in page.locator("figure img").all()])
