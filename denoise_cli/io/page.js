
"use strict";
// Names of files and messages come from outside: they become text (textContent) and attributes, never markup.
const { entries } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const copy = (id) => at(id).content.firstElementChild.cloneNode(true);
const viewer = at("viewer");
const alone = entries.length === 1;
let shown = []; // numbers of the entries in the list, in its order
let current = 0; // number of the entry in the viewer
let split = 50; // per cent of a picture's width, where the left version ends

// What would end a line or reverse the direction of text is written as an escape.
const plain = (text) =>
  text.replace(/[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]/gu, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

const cards = entries.map((entry, number) => {
  const card = copy("card");
  const button = card.firstElementChild;
  card.className = entry.state;
  if (entry.thumbnail) {
    button.querySelector("img").src = entry.thumbnail;
  } else {
    button.querySelector("img").remove();
  }
  button.querySelector(".title").textContent = plain(entry.name);
  button.querySelector(".summary").textContent = plain(entry.summary);
  button.addEventListener("click", () => open(number));
  return card;
});
const searched = entries.map((entry) =>
  [entry.name, entry.summary, entry.error, ...entry.notes, ...entry.facts.flat()].join("\n").toLowerCase(),
);

function list() {
  const words = at("find").value.toLowerCase().split(" ").filter(Boolean);
  const state = at("state").value;
  const key = at("sort").value;
  const has = (number) =>
    (!state || entries[number].state === state || (state === "notes" && entries[number].notes.length > 0)) &&
    words.every((word) => searched[number].includes(word));
  const order = {
    order: (a, b) => a - b,
    name: (a, b) => entries[a].name.localeCompare(entries[b].name, undefined, { numeric: true }) || a - b,
  };
  // What has no number comes last; the largest comes first.
  const value = (number) => entries[number].sort[key] ?? -1;
  shown = entries.map((_, number) => number).filter(has).sort(order[key] ?? ((a, b) => value(b) - value(a) || a - b));
  if (at("reverse").checked) shown.reverse();
  at("cards").replaceChildren(...shown.map((number) => cards[number]));
  at("count").textContent = `${shown.length} of ${entries.length}`;
}

function open(number) {
  current = number;
  const entry = entries[number];
  at("name").textContent = plain(entry.name);
  const line = (text, kind) => Object.assign(document.createElement("li"), { textContent: plain(text), className: kind });
  at("lines").replaceChildren(
    ...(entry.error ? [line(entry.error, "error")] : []),
    ...entry.notes.map((note) => line(note, "note")),
  );
  for (const [id, chosen] of [["left", 0], ["right", entry.versions.length - 1]]) {
    at(id).replaceChildren(...entry.versions.map((version, index) => new Option(plain(version), index)));
    at(id).value = chosen;
    at(id).parentElement.hidden = entry.versions.length < 3;
  }
  at("scale").parentElement.hidden = entry.views.length === 0;
  at("views").replaceChildren(...entry.views.map(frame));
  at("facts").replaceChildren(...entry.facts.flatMap(fact), ...entry.links.flatMap(link));
  draw();
  move(50);
  if (!viewer.open) alone ? viewer.show() : viewer.showModal();
  viewer.scrollTop = 0;
}

function fact([term, text]) {
  const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
  dt.textContent = plain(term);
  dd.textContent = plain(text);
  return [dt, dd];
}

function link([term, text, address]) {
  const [dt, dd] = fact([term, ""]);
  dd.append(Object.assign(document.createElement("a"), { textContent: plain(text), href: address }));
  return [dt, dd];
}

function frame(view) {
  const figure = copy("view");
  figure.querySelector("figcaption").textContent = plain(view.caption);
  figure.querySelector("input").addEventListener("input", (event) => move(event.target.valueAsNumber));
  return figure;
}

// Fill the frames with the versions that are chosen, in the size that is chosen.
function draw() {
  const { views, versions } = entries[current];
  const scale = Number(at("scale").value);
  const sides = [Number(at("left").value), Number(at("right").value)];
  views.forEach((view, index) => {
    const box = at("views").children[index].querySelector(".frame");
    box.style.width = `${view.width * scale}px`;
    box.style.height = `${view.height * scale}px`;
    [["over", "left"], ["under", "right"]].forEach(([picture, label], side) => {
      const version = plain(versions[sides[side]]);
      const img = box.querySelector(`.${picture}`);
      img.src = view.pictures[sides[side]];
      img.alt = `${version}: ${plain(view.caption)}`;
      box.querySelector(`.${label}`).textContent = version;
    });
    const names = sides.map((side) => plain(versions[side]));
    box.querySelector("input").setAttribute("aria-label", `Border between ${names.join(" and ")}: ${plain(view.caption)}`);
  });
}

function move(percent) {
  split = percent;
  at("views").style.setProperty("--split", `${percent}%`);
  for (const input of at("views").querySelectorAll("input")) {
    input.value = percent;
    input.setAttribute("aria-valuetext", `${percent} % from the left`);
  }
}

function step(by) {
  const place = shown.indexOf(current);
  const next = shown[(place + by + shown.length) % shown.length];
  if (next !== undefined) open(next);
}

function key(event) {
  const typing = event.target.matches("input[type=search], select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = viewer.open
    ? { b: () => move(split === 100 ? 0 : 100), ...(alone ? {} : { n: () => step(1), p: () => step(-1) }) }
    : { "/": () => at("find").focus() };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

for (const [state, name] of [["done", "done"], ["failed", "failed"], ["skipped", "skipped"], ["notes", "with notes"]]) {
  const count = entries.filter((entry) => entry.state === state || (state === "notes" && entry.notes.length > 0)).length;
  if (count) at("state").append(new Option(`${name} (${count})`, state));
}
for (const id of ["find", "state", "sort", "reverse"]) at(id).addEventListener("input", list);
for (const id of ["left", "right", "scale"]) at(id).addEventListener("input", draw);
at("controls").addEventListener("submit", (event) => event.preventDefault());
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
at("close").addEventListener("click", () => viewer.close());
viewer.addEventListener("close", () => cards[current].firstElementChild.focus());
document.addEventListener("keydown", key);
if (alone) {
  viewer.classList.add("alone");
  for (const id of ["previous", "next", "close", "more"]) at(id).hidden = true;
  open(0);
} else {
  at("controls").hidden = false;
  list();
}
