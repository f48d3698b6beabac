"use strict";
const PARALLEL = 4; // uploads; the server puts them together
const ATTEMPTS = 6; // times that a busy server is asked
const SHOWN = 5; // classes
const TYPES = { JPEG: "image/jpeg", PNG: "image/png", GIF: "image/gif", WEBP: "image/webp", AVIF: "image/avif" };

const at = (id) => document.getElementById(id);
const cards = at("cards");
let limits = { megabytes: Infinity };
let promised = null; // by a server with unsure=auto
const percent = (p, digits = 1) => `${(100 * p).toFixed(digits)}\u00a0%`;
const readable = (name) => name.replaceAll("_", " ");
// Read out by screen readers, one after another.
function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  at("announcements").append(line);
  if (at("announcements").childElementCount > 20) at("announcements").firstElementChild.remove();
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  throw Object.assign(new Error(body.error), { busy: answer.status === 503 });
}

// What the server is, and what it takes.
async function showModel() {
  const info = await (await ask("api/info")).json();
  limits = info.limits;
  promised = info.unsure;
  at("model").textContent = `${info.run} · ${info.architecture} · ${info.size.join(" x ")} pixels`;
  const split = ["test", "valid"].find((name) => info.metrics[name]);
  const right = split ? `, ${percent(info.metrics[split].accuracy)} of the run's ${info.metrics[split].photos.toLocaleString("en")} ${split === "test" ? "test" : "validation"} photos right` : "";
  at("about").textContent = `One of ${info.classes.length} classes${right}. Photos go to this server alone, and nothing is stored.`;
  at("takes").textContent = `${info.formats.join(", ")}; up to ${limits.megabytes} MB and ${limits.megapixels} megapixels each.`;
  // Named one by one, so that phones convert their own formats.
  for (const id of ["pick", "camera"]) at(id).accept = info.formats.map((name) => TYPES[name]).join(",");
  document.title = `What is on the photo? ${info.run}`;
}

async function showExamples() {
  const { examples } = await (await ask("api/examples")).json();
  at("examples").hidden = !examples.length;
  at("examples").querySelector("ul").append(...examples.map(({ label, photo, thumbnail }) => {
    const button = document.createElement("button");
    button.type = "button";
    const img = document.createElement("img");
    img.src = thumbnail;
    img.alt = `Try a photo of ${readable(label)}`;
    button.title = readable(label);
    button.append(img);
    button.addEventListener("click", async () => {
      const [card] = newCards([`a photo of ${readable(label)}`]);
      try {
        const blob = await (await ask(photo)).blob();
        await name(card, new File([blob], label, { type: blob.type }), label);
      } catch (error) {
        showProblem(card, error.message);
      }
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

// A card a photo: those chosen together in their order, above those before.
function newCards(titles) {
  const added = titles.map(newCard);
  cards.prepend(...added);
  count();
  return added;
}

function newCard(title) {
  const card = at("card").content.firstElementChild.cloneNode(true);
  card.classList.add("waiting");
  card.querySelector("h3").textContent = "Looking ...";
  card.querySelector(".path").textContent = title;
  const remove = card.querySelector(".remove");
  remove.setAttribute("aria-label", `Remove ${title}`);
  remove.addEventListener("click", () => {
    const next = card.nextElementSibling || card.previousElementSibling;
    forget(card);
    (next ? next.querySelector(".remove") : at("pick")).focus();
    announce("Removed.");
  });
  return card;
}

function forget(card) {
  URL.revokeObjectURL(card.querySelector("img").src);
  card.remove();
  count();
}

function count() {
  at("none").hidden = cards.childElementCount > 0;
  at("clear").hidden = !cards.childElementCount;
  showCams();
}

function showPicture(card, file) {
  const img = card.querySelector("img");
  img.addEventListener("load", () => {
    card.querySelector(".picture").style.setProperty("--ratio", img.naturalWidth / img.naturalHeight);
  });
  img.addEventListener("error", () => {
    img.hidden = true;
    card.querySelector(".placeholder").hidden = false;
  });
  img.src = URL.createObjectURL(file);
}

function showProblem(card, line) {
  card.classList.remove("waiting");
  card.classList.add("bad");
  const title = card.querySelector("h3");
  title.className = "wrong";
  title.textContent = "Cannot be named";
  const note = card.querySelector(".note");
  note.hidden = false;
  const named = `${card.querySelector(".path").textContent}: `; // it stands above the note
  note.textContent = line.startsWith(named) ? line.slice(named.length) : line;
  announce(`Cannot be named: ${line}`);
}

// What to call a photo: the only class that it may show, several, their group, or none.
function verdict({ sure, predictions: [first], judged }) {
  const name = readable(first.name);
  if (judged && judged.none_of_these >= 1) return `None of these? If one, ${name}`;
  if (judged && judged.unsure && judged.superclass) return `Not sure which ${readable(judged.superclass)}: perhaps ${name}`;
  return sure ? name : `Not sure: perhaps ${name}`;
}

// What is promised of that.
function promise({ judged }) {
  if (!judged || !promised) return "";
  const exact = (p) => `${Number((100 * p).toFixed(2))}\u00a0%`;
  if (judged.none_of_these >= 1) return `It looks unlike the photos of all classes, as at most ${exact(promised.false_alarms.promised)} of these do.`;
  if (judged.set.length === 1) return "";
  const names = judged.set.slice(0, SHOWN).map(readable).join(" or ");
  const more = judged.set.length > SHOWN ? ` or ${judged.set.length - SHOWN} more` : "";
  return `May be ${names}${more}: such sets have the right class for ${exact(promised.coverage)} of photos like the model's own.`;
}

function showAnswer(card, answer, label) {
  card.classList.remove("waiting");
  const [first] = answer.predictions;
  const title = card.querySelector("h3");
  card.classList.toggle("unsure", !answer.sure);
  title.textContent = verdict(answer);
  const note = card.querySelector(".note");
  note.textContent = promise(answer);
  note.hidden = !note.textContent;
  card.querySelector("img").alt = `${answer.file}: ${readable(first.name)}`;
  if (label !== undefined) {
    const right = first.name === label;
    const path = card.querySelector(".path");
    path.className = `path ${right ? "right" : "wrong"}`;
    path.textContent = `an example of ${readable(label)}: ${right ? "right" : "wrong"}`;
  } else {
    card.querySelector(".path").textContent = `${answer.file} · ${answer.width} x ${answer.height} pixels`;
  }
  card.querySelector("ol").replaceChildren(...answer.predictions.map(({ name, probability }) => {
    const item = document.createElement("li");
    const span = document.createElement("span");
    span.textContent = readable(name);
    const share = document.createElement("b");
    share.textContent = percent(probability);
    const bar = document.createElement("i");
    bar.style.setProperty("--share", `${100 * probability}%`);
    item.append(span, share, bar);
    return item;
  }));
  drawCam(card.querySelector("canvas"), answer.gradcam, answer.seen);
  showCams();
  announce([`${answer.file}: ${verdict(answer)}, ${percent(first.probability, 0)}`, promise(answer)].filter(Boolean).join(". "));
}

// Grad-CAM: a pixel a place of the feature map; the browser smooths it over what the model saw. Some networks have none.
function drawCam(canvas, cam, seen) {
  if (!cam) return;
  canvas.width = cam.width;
  canvas.height = cam.height;
  const drawing = canvas.getContext("2d");
  const pixels = drawing.createImageData(cam.width, cam.height);
  cam.values.forEach((x, i) => pixels.data.set([255, Math.round(210 * x), 40 * (1 - x), Math.round(190 * x)], 4 * i));
  drawing.putImageData(pixels, 0, 0);
  for (const side of ["left", "top", "width", "height"]) canvas.style[side] = `${100 * seen[side]}%`;
  canvas.classList.add("drawn");
}

function showCams() {
  const on = at("gradcam").checked;
  for (const canvas of cards.querySelectorAll("canvas.drawn")) {
    canvas.hidden = !on || canvas.parentElement.querySelector("img").hidden;
  }
  at("legend").hidden = !on || !cards.childElementCount;
}

// One request a photo, so that each gets its own answer; a few of them at once.
let sending = 0;
const waiting = [];
async function acquire() {
  if (sending >= PARALLEL) await new Promise((go) => waiting.push(go));
  sending += 1;
}
function release() {
  sending -= 1;
  waiting.shift()?.();
}

async function name(card, file, label) {
  showPicture(card, file);
  if (file.size > limits.megabytes * 1e6) {
    showProblem(card, `${file.name}: ${(file.size / 1e6).toFixed(1)} MB; the server takes up to ${limits.megabytes} MB`);
    return;
  }
  await acquire();
  try {
    for (let attempt = 1; ; attempt += 1) {
      const form = new FormData();
      form.append("file", file, file.name || "photo");
      try {
        const answer = await ask(`api/predict?top_k=${SHOWN}&gradcam=true`, { method: "POST", body: form });
        showAnswer(card, (await answer.json()).results[0], label);
        return;
      } catch (error) {
        if (!error.busy || attempt === ATTEMPTS) throw error;
        await new Promise((go) => setTimeout(go, 500 * attempt * (1 + Math.random())));
      }
    }
  } catch (error) {
    showProblem(card, error.message);
  } finally {
    release();
  }
}

function take(files) {
  newCards(files.map((file) => file.name || "photo")).forEach((card, i) => name(card, files[i]));
}

for (const id of ["pick", "camera"]) {
  at(id).addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = ""; // the same photo may be chosen again
  });
}
at("gradcam").addEventListener("change", showCams);
at("clear").addEventListener("click", () => {
  [...cards.children].forEach(forget);
  at("pick").focus();
  announce("All results removed.");
});

// Photos may be dropped anywhere; a page that lets them go would be left for the photo.
let inside = 0;
const over = (on) => document.body.classList.toggle("over", on);
addEventListener("dragenter", (event) => { event.preventDefault(); inside += 1; over(true); });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("dragleave", () => { inside -= 1; over(inside > 0); });
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  over(false);
  take([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => take([...event.clipboardData.files]));

document.body.classList.toggle("touch", navigator.maxTouchPoints > 0);
at("origin").textContent = new URL("./", location.href).href;
showModel().catch((error) => { at("about").textContent = error.message; });
showExamples().catch(() => {}); // showModel shows what is wrong
