"use strict";
// Draw on the pad, or drop a picture; the server on this computer answers with probabilities and pictures.

const byId = (name) => document.getElementById(name);
const pad = byId("pad"), pen = pad.getContext("2d");
const WIDTH = 20, STEP = 10, SIDE = 280;
let ground = "#000", ink = "#fff";
let last = null, finger = null, keyboard = { x: SIDE / 2, y: SIDE / 2, down: false };
let waiting = false, again = null, asked = 0;

function clear() {
  pen.fillStyle = ground;
  pen.fillRect(0, 0, SIDE, SIDE);
  pen.lineWidth = WIDTH;
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = ink;
  asked += 1;
  again = null;
  keyboard = { x: SIDE / 2, y: SIDE / 2, down: false };
  byId("answer").classList.remove("error");
  byId("answer").textContent = "Nothing is drawn yet.";
  byId("notes").textContent = "";
  for (const item of byId("bars").children) setBar(item, 0, false);
  for (const name of ["picture", "pixels", "regions"]) byId(name).removeAttribute("src");
  for (const name of ["why", "layers-of-it"]) byId(name).hidden = true;
  byId("layers").replaceChildren();
}

function line(from, to) {
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y);
  pen.stroke();
  const number = asked;
  pad.toBlob((picture) => { if (number === asked) ask(picture); }, "image/png");
}

function place(event) {
  return { x: event.offsetX * SIDE / pad.clientWidth, y: event.offsetY * SIDE / pad.clientHeight }; // within the border
}

pad.addEventListener("pointerdown", (event) => {
  if (event.button || (last !== null && event.pointerId !== finger)) return; // another button, or a second finger
  finger = event.pointerId;
  pad.setPointerCapture(event.pointerId);
  last = place(event);
  line(last, last);
});
pad.addEventListener("pointermove", (event) => {
  if (last === null || event.pointerId !== finger) return;
  const here = place(event);
  line(last, here);
  last = here;
});
for (const name of ["pointerup", "pointercancel"]) {
  pad.addEventListener(name, (event) => { if (event.pointerId === finger) last = null; });
}

pad.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
  if (event.key === " ") {
    keyboard.down = !keyboard.down;
    byId("notes").textContent = keyboard.down ? "The pen is down." : "The pen is up.";
    if (keyboard.down) line(keyboard, keyboard);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clear();
  } else if (move) {
    const to = {
      x: Math.min(SIDE, Math.max(0, keyboard.x + move[0])),
      y: Math.min(SIDE, Math.max(0, keyboard.y + move[1])),
    };
    if (keyboard.down) line(keyboard, to);
    keyboard = { ...to, down: keyboard.down };
  } else {
    return;
  }
  event.preventDefault();
});

byId("clear").addEventListener("click", clear);
byId("file").addEventListener("change", (event) => {
  if (event.target.files[0]) open(event.target.files[0]);
  event.target.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    pad.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}

async function open(file) {
  clear();
  const number = asked;
  let picture = null;
  try {
    picture = await createImageBitmap(file);
  } catch {
    // the server says what is wrong with the file
  }
  if (number !== asked) return; // cleared, or another one was opened meanwhile
  if (picture !== null) {
    const scale = Math.min(SIDE / picture.width, SIDE / picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    pen.drawImage(picture, (SIDE - w) / 2, (SIDE - h) / 2, w, h);
  }
  ask(file);
}

// One question at a time; of those that come meanwhile the latest is kept.
async function ask(picture) {
  if (waiting) {
    again = picture;
    return;
  }
  waiting = true;
  const number = asked;
  try {
    const reply = await fetch("look", { method: "POST", body: picture });
    const found = reply.headers.get("content-type").startsWith("application/json")
      ? await reply.json() : { error: await reply.text() };
    if (number === asked) found.error ? complain(found.error) : show(found);
  } catch {
    complain("The server does not answer; is gpucnn serve still running?");
  }
  waiting = false;
  if (again !== null) {
    const next = again;
    again = null;
    ask(next);
  }
}

function complain(text) {
  byId("answer").textContent = text;
  byId("answer").classList.add("error");
}

function setBar(item, part, best) {
  item.classList.toggle("best", best);
  item.querySelector(".fill").style.transform = `scaleX(${part})`;
  item.querySelector(".part").textContent = `${(100 * part).toFixed(1)} %`;
}

function show(found) {
  const items = byId("bars").children;
  byId("answer").classList.remove("error");
  byId("answer").textContent = found.answer;
  if (items.length) found.probabilities.forEach((part, k) => setBar(items[k], part, k === found.class));
  byId("notes").textContent = found.said.length ? `Note: ${found.said.join("; ")}.` : "";
  for (const name of ["picture", "pixels", "regions"]) {
    byId(name).closest("figure").hidden = !found[name];
    if (found[name]) byId(name).src = found[name];
  }
  for (const name of ["why", "layers-of-it"]) byId(name).hidden = false;
  byId("layers").replaceChildren(...found.layers.map((layer) => {
    const row = document.createElement("div"), text = document.createElement("p");
    row.className = "layer";
    const shown = layer.maps.length < layer.channels ? `, the first ${layer.maps.length} of ${layer.channels} maps` : "";
    text.textContent = `${layer.name}  ${layer.about}${shown}`;
    row.append(text, ...layer.maps.map((map, k) => {
      const image = new Image();
      image.src = map;
      image.alt = `map ${k + 1} of ${layer.about}`;
      return image;
    }));
    return row;
  }));
}

async function begin() {
  const about = await (await fetch("about")).json();
  const count = about.parameters.toLocaleString("en");
  byId("about").textContent = `${about.network}, ${count} parameters, ${about.classes.length} ${about.outputs} (${about.name})`;
  const barred = about.kind === "regression" ? [] : about.classes;
  byId("bars").replaceChildren(...barred.map((name) => {
    const item = document.createElement("li");
    item.dataset.name = name;
    for (const part of ["name", "track", "part"]) {
      const cell = document.createElement("span");
      cell.className = part;
      item.append(cell);
    }
    const fill = document.createElement("div");
    fill.className = "fill";
    item.querySelector(".track").append(fill);
    item.querySelector(".name").textContent = item.querySelector(".name").title = name;
    return item;
  }));
  if (!about.drawn) {
    [ground, ink] = ["#fff", "#000"];
    pad.classList.add("light");
  }
  clear();
}

begin();
