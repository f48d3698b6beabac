"use strict";
const AHEAD = 3; // photos that are fetched before they are needed
const FEW = 9; // classes that keep their key; of more, the keys follow the head's guesses
const POLL = 1500; // milliseconds
const AGAIN = 1500; // milliseconds until a server that does not answer is asked again

const at = (id) => document.getElementById(id);
const percent = (p, digits = 1) => `${(100 * p).toFixed(digits)}\u00a0%`;
const readable = (name) => name.replaceAll("_", " ");
const newKey = () => [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, "0")).join("");
// A tab that is loaded again is the same one: it can undo what it did before.
const tab = (sessionStorage.tab ||= newKey());

let about = { classes: [], queues: {} };
let queue = sessionStorage.queue || "helpful";
let current = null;
let ahead = []; // photos that come next, with their pictures
let drawn = -1; // the head that drew their order
const saidHere = []; // photos that this tab has decided, in order
let since = 0; // the last entry that was seen
let heads = -1; // of the server, when photos were asked for
const decided = new Map(); // photo: what this tab said of it

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Read out by screen readers, one after another.
function announce(text) {
  at("announcements").append(element("p", {}, text));
  if (at("announcements").childElementCount > 20) at("announcements").firstElementChild.remove();
}

function notice(text) {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}

// The photos ahead, with their pictures loading.
function withPicture(photo) {
  const picture = element("img", { alt: `Photo ${photo.path}` });
  picture.addEventListener("error", () => {
    if (current === photo) notice(`${photo.path}: its picture cannot be shown; it may have changed or gone. Skip it, or start pets label again.`);
  });
  picture.src = `api/photos/${photo.id}/large`;
  return Object.assign(photo, { picture });
}

let filling = null;
function fill() {
  filling ||= (async () => {
    const [asked, head, saidBefore] = [queue, heads, saidHere.length];
    try {
      const had = [current, ...(head === drawn ? ahead : [])].filter(Boolean).map((photo) => photo.id);
      const waiting = unsent.map(({ body }) => body.photo).filter((id) => id !== undefined);
      const { photos } = await ask(`api/next?queue=${asked}&tab=${tab}&without=${[...had, ...waiting].join(",")}`);
      if (asked === queue) {
        if (head !== drawn) [ahead, drawn] = [[], head];
        const here = new Set([current, ...ahead].filter(Boolean).map(({ id }) => id).concat(saidHere.slice(saidBefore)));
        ahead.push(...photos.filter(({ id }) => !here.has(id)).map(withPicture));
      }
    } catch (error) {
      if (error.refused) notice(error.message);
      return;
    } finally {
      filling = null;
    }
    if (asked !== queue || heads !== drawn) return fill();
    if (!current && ahead.length) advance();
    else if (!current) show();
  })();
  return filling;
}

function advance() {
  current = ahead.shift() || null;
  show();
  if (ahead.length < AHEAD) fill();
}

// A queue that was chosen starts with nothing. If a new head drew the queue anew, the photos ahead
// stay until the new ones are here: they are what a tab goes on with if the server is gone.
function drop(everything) {
  if (everything) [ahead, current] = [[], null];
  fill();
}

function choices(photo) {
  const share = new Map(photo.guesses);
  const names = about.classes.length <= FEW ? about.classes : photo.guesses.map(([name]) => name);
  const listed = names.length ? names : about.classes.slice(0, FEW);
  return listed.map((name) => ({ name, share: share.get(name) }));
}

function show() {
  at("work").hidden = !current;
  at("empty").hidden = Boolean(current);
  if (!current) return;
  const photo = current;
  at("photo").querySelector(".frame").replaceChildren(photo.picture);
  at("path").textContent = photo.copies.length > 1 ? `${photo.path} and ${photo.copies.length - 1} more copies` : photo.path;
  at("split").hidden = photo.split === "new";
  at("split").textContent = photo.split === "valid" ? "validation photo" : "training photo";
  at("given").hidden = photo.label === null;
  at("keep").hidden = photo.label === null;
  if (photo.label !== null) {
    const doubt = photo.suspect && photo.share !== null ? `; heads that have not learned this photo give that ${percent(photo.share, 0)}` : "";
    at("given").replaceChildren("Labelled ", element("b", {}, readable(photo.label)), doubt);
  }
  const best = photo.guesses.length ? photo.guesses[0][0] : null;
  at("classes").replaceChildren(...choices(photo).map(({ name, share }, index) => {
    const bar = element("i");
    bar.style.setProperty("--share", percent(share || 0).replace("\u00a0", ""));
    const button = element("button", { type: "button" }, element("kbd", {}, String(index + 1)),
      element("span", {}, readable(name)), element("span", {}, share === undefined ? "" : percent(share, 0)), bar);
    button.classList.toggle("best", name === best);
    button.classList.toggle("has", name === photo.label);
    button.addEventListener("click", () => decide("label", name));
    return button;
  }));
  at("alike").hidden = !photo.alike.length;
  at("alike").querySelector("ul").replaceChildren(...photo.alike.map(({ id, label }) => {
    const words = label ? readable(label) : "no label yet";
    return element("li", {}, element("img", { src: `api/photos/${id}/small`, alt: `A photo that looks like it: ${words}` }), words);
  }));
  announce([photo.path, photo.label && `labelled ${readable(photo.label)}`, best && `perhaps ${readable(best)}, ${percent(photo.guesses[0][1], 0)}`].filter(Boolean).join(", "));
}

async function decide(action, label = "") {
  const photo = current;
  if (!photo) return;
  if (!at("notice").dataset.gone) notice("");
  decided.set(photo.id, label || action);
  saidHere.push(photo.id);
  if (document.activeElement !== document.body) at("photo").focus({ preventScroll: true });
  const written = send("api/decide", { photo: photo.id, version: photo.version, action, label, tab, key: newKey() });
  advance();
  try {
    const { unseen } = await written;
    if (unseen) notice(`${photo.path}: another tab had said ${said(unseen)}; what you said counts now.`);
  } catch (error) {
    decided.delete(photo.id);
    if (current) ahead.unshift(current);
    current = photo;
    show();
    notice(error.message);
  }
}

async function undo() {
  try {
    const { photo } = await send("api/undo", { tab, key: newKey() });
    decided.delete(photo.id);
    ahead = ahead.filter(({ id }) => id !== photo.id);
    if (current && current.id !== photo.id) ahead.unshift(current);
    current = withPicture(photo);
    show();
    notice("");
    announce(`Undone: ${photo.path}`);
  } catch (error) {
    notice(error.message);
  }
}

const said = ({ action, label }) => ({ label: readable(label), exclude: "that it is left out", skip: "nothing yet" })[action] || "that it is undone";

async function hear(entry) {
  if (entry.tab === tab) return;
  ahead = ahead.filter(({ id }) => id !== entry.photo);
  if (current && current.id === entry.photo && entry.action !== "skip") {
    const fresh = await ask(`api/photos/${entry.photo}`);
    if (!current || current.id !== entry.photo) return;
    current = Object.assign(fresh, { picture: current.picture });
    show();
    notice(`Another tab has just said ${said(entry)} for this photo. Skip it, or say what it is.`);
  } else if (decided.has(entry.photo) && ["label", "exclude"].includes(entry.action) && decided.get(entry.photo) !== (entry.label || entry.action)) {
    const { path } = await ask(`api/photos/${entry.photo}`);
    notice(`${path}: another tab has changed what you said to ${said(entry)}.`);
  }
}

async function poll() {
  try {
    const first = heads < 0;
    const state = await ask(`api/state?since=${since}`);
    since = state.number;
    at("decided").textContent = state.decided.toLocaleString("en");
    for (const button of at("queues").children) button.querySelector("b").textContent = state.left[button.value].toLocaleString("en");
    showError(state);
    at("empty").textContent = state.heads
      ? "Nothing is left in this queue. Choose another one above, or end the command with Ctrl-C: all is written."
      : state.problem ? "Photos come as soon as there is a head; it is tried again." : "The head is fitted for the first time ...";
    if (state.problem) notice(state.problem);
    if (!first) for (const entry of state.news) await hear(entry);
    if (state.heads !== heads) {
      heads = state.heads;
      drop(false);
    } else if (!current && state.left[queue]) fill();
  } catch (error) {
    if (error.refused) notice(error.message);
    else trouble(error);
    setTimeout(poll, POLL);
    return;
  }
  calm();
  setTimeout(poll, POLL);
}

function showError({ head, history, fitting }) {
  if (!head) return;
  const [low, high] = head.interval;
  at("valid").textContent = head.photos.toLocaleString("en");
  at("error").replaceChildren(percent(head.error), " ", element("small", {}, `${percent(low)} to ${percent(high)}${history.length > 1 ? `, at first ${percent(history[0].wrong / history[0].photos)}` : ""}${fitting ? ", fitting ..." : ""}`));
  draw(history);
}

// The error against the number of decisions, with its interval.
function draw(history) {
  at("curve").hidden = history.length < 2;
  if (history.length < 2) return;
  const bounds = history.map(({ wrong, photos, interval: [low, high] }) => ({ p: wrong / photos, low, high }));
  const last = Math.max(...history.map((point) => point.labels), 1);
  const top = Math.max(...bounds.map((b) => b.high));
  const x = (i) => (240 * history[i].labels / last).toFixed(1);
  const y = (value) => (54 - 52 * value / top).toFixed(1);
  const along = (key) => bounds.map((b, i) => `${x(i)},${y(b[key])}`);
  const shape = (name, kind, points) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    made.setAttribute("class", kind);
    made.setAttribute("points", points.join(" "));
    return made;
  };
  const picture = at("curve").querySelector("svg");
  picture.setAttribute("aria-label", `The error went from ${percent(bounds[0].p)} to ${percent(bounds.at(-1).p)} over ${last} decisions`);
  picture.replaceChildren(shape("polygon", "band", [...along("high"), ...along("low").reverse()]), shape("polyline", "line", along("p")));
}

function choose(name) {
  queue = sessionStorage.queue = name;
  for (const button of at("queues").children) button.setAttribute("aria-pressed", button.value === name);
  drop(true);
}

function showAbout() {
  at("about").textContent = `${about.run} · ${about.root}${about.locked ? ` · ${about.locked.toLocaleString("en")} held-out photos are locked` : ""}`;
  at("table").textContent = about.table;
  document.title = `Label photos · ${about.run}`;
  at("queues").replaceChildren(...Object.entries(about.queues).map(([name, title]) => {
    const button = element("button", { type: "button", value: name, "aria-pressed": name === queue }, title, element("b"));
    button.addEventListener("click", () => choose(name));
    return button;
  }));
  at("find").hidden = about.classes.length <= FEW;
  at("all").replaceChildren(...about.classes.map((name) => element("option", { value: readable(name) })));
  for (const [what, command] of Object.entries(about.commands)) {
    at("commands").append(element("dt", {}, `${what}:`), element("dd", {}, element("code", {}, command)));
  }
}

// The first class that is the text, begins with it, or has it.
function found(text) {
  const plain = (name) => readable(name).toLowerCase();
  const sought = plain(text.trim());
  const tests = [(name) => name === sought, (name) => name.startsWith(sought), (name) => name.includes(sought)];
  return sought && tests.map((test) => about.classes.find((name) => test(plain(name)))).find(Boolean);
}

at("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = found(at("search").value);
  if (!name) return notice(`${at("search").value}: no class of the run`);
  at("search").value = "";
  at("search").blur();
  decide("label", name);
});

const actions = {
  s: () => decide("skip"), ArrowRight: () => decide("skip"), x: () => decide("exclude"),
  u: undo, Backspace: undo,
  k: () => current && current.label !== null && decide("label", current.label),
  Enter: () => current && current.guesses.length && decide("label", current.guesses[0][0]),
  "/": () => { if (!at("find").hidden) at("search").focus(); },
  q: () => {
    const names = Object.keys(about.queues);
    choose(names[(names.indexOf(queue) + 1) % names.length]);
  },
};
addEventListener("keydown", (event) => {
  const inside = event.target.closest("input, select, textarea");
  if (inside && event.key === "Escape") inside.blur();
  if (inside && inside.type !== "checkbox") return;
  if (!at("keys").checked || event.repeat || event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "z") { event.preventDefault(); undo(); }
    return;
  }
  // A button that has the focus takes Enter and Space itself.
  if (event.key === "Enter" && event.target.closest("button, summary, a, label")) return;
  const choice = /^[1-9]$/.test(event.key) && current ? choices(current)[event.key - 1] : null;
  const act = choice ? () => decide("label", choice.name) : actions[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
for (const [id, key] of [["keep", "k"], ["skip", "s"], ["undo", "u"], ["exclude", "x"]]) at(id).addEventListener("click", actions[key]);

(async () => {
  for (;;) {
    try {
      about = await ask("api/about");
      break;
    } catch (error) {
      notice(error.message);
      await new Promise((go) => setTimeout(go, AGAIN));
    }
  }
  notice("");
  showAbout();
  sendStored();
  poll();
})();
