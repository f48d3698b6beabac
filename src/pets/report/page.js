"use strict";
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const { photos, captions } = read("photos");
const matrix = read("cells");
const byClass = read("by-class");

// Every photo is in the page once; wherever it is shown.
const show = (img) => { img.src = `data:image/jpeg;base64,${photos[img.dataset.photo]}`; };
document.querySelectorAll("img[data-photo]").forEach(show);

function figure(index) {
  const { path, text } = captions[index];
  const box = document.createElement("figure");
  box.className = "photo";
  const img = document.createElement("img");
  img.dataset.photo = index;
  img.alt = `${path}: ${text}`;
  show(img);
  const caption = document.createElement("figcaption");
  for (const part of text.split(/(?<=_)/)) caption.append(part, document.createElement("wbr"));
  caption.append(document.createElement("br"));
  const name = document.createElement("span");
  name.className = "muted path";
  name.textContent = path;
  caption.append(name);
  box.append(img, caption);
  return box;
}

// The confusion matrix: a cell opens its photos, the arrows go to the next cell that has some.
const cells = [...document.querySelectorAll(".matrix button")];
const at = new Map(cells.map((b) => [`${b.dataset.row}-${b.dataset.column}`, b]));
const dialog = document.getElementById("cell");
if (cells.length) (cells.find((b) => b.className === "miss") || cells[0]).tabIndex = 0;

function step(button, down, right) {
  let row = Number(button.dataset.row), column = Number(button.dataset.column);
  const size = matrix.names.length;
  for (;;) {
    row += down; column += right;
    if (row < 0 || column < 0 || row >= size || column >= size) return null;
    const next = at.get(`${row}-${column}`);
    if (next) return next;
  }
}
const ARROWS = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };

cells.forEach((button) => {
  button.addEventListener("click", () => {
    const cell = matrix.cells[`${button.dataset.row}-${button.dataset.column}`];
    document.getElementById("cell-title").textContent = button.getAttribute("aria-label");
    dialog.querySelector(".grid").replaceChildren(...cell.photos.map(figure));
    const rest = cell.count - cell.photos.length;
    dialog.querySelector(".more").textContent = rest ? `and ${rest} more, not in this page` : "";
    dialog.showModal();
  });
  button.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const next = step(button, ...ARROWS[event.key]);
    if (!next) return;
    button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

// The galleries of one class.
const select = document.getElementById("class");
function showClass() {
  const found = byClass[select.value];
  const parts = [["correct", "Right, the surest first"], ["incorrect", "Wrong, the furthest from its class first"]];
  document.getElementById("of-class").replaceChildren(...parts.flatMap(([key, title]) => {
    const heading = document.createElement("h4");
    heading.textContent = found[key].length ? title : `${title}: none to show`;
    const grid = document.createElement("div");
    grid.className = "grid";
    grid.append(...found[key].map(figure));
    return [heading, grid];
  }));
}
select.addEventListener("change", showClass);
const worst = Object.entries(byClass).sort((a, b) => b[1].incorrect.length - a[1].incorrect.length)[0];
if (worst) { select.value = worst[0]; showClass(); }
