// What the page asks of the server, and decisions that wait for it. A part of page.js.

async function ask(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options).catch(() => { throw new Error("the server does not answer"); });
  if (answer.ok) return answer.json();
  const { error } = await answer.json().catch(() => ({}));
  const refused = [404, 409, 422].includes(answer.status);
  if (refused && !(await isSame())) throw new Error("another server answers at this address");
  throw Object.assign(new Error(error || `the server answers with status ${answer.status}`), { refused });
}

// Whether the server that answers is the one of this page, perhaps started again.
async function isSame() {
  const answer = await fetch("api/about").catch(() => null);
  const now = answer && answer.ok ? await answer.json() : {};
  return now.table === about.table && now.root === about.root;
}

// What is asked by one tab is sent in order. A decision waits until the server has it or refuses it,
// also for one that is started again; its key lets it count once. It waits in the browser's storage,
// each under its key, since several tabs write there: whoever opens the page again sends it.
let unsent = []; // what the server does not have yet, of this tab and of tabs that are closed
let sending = Promise.resolve();
function send(path, body) {
  const item = { path, body, at: performance.timeOrigin + performance.now() };
  unsent.push(item);
  try {
    localStorage[nameOf(item)] = JSON.stringify(item);
  } catch {
    // Full, or forbidden: then it waits in this tab alone.
  }
  const turn = sending.then(deliver);
  sending = turn.catch(() => {});
  return turn;
}
const stored = () => `pets label ${about.table} ${about.root} `;
const nameOf = ({ body }) => stored() + body.key;
function take(item) {
  unsent = unsent.filter((other) => other !== item);
  localStorage.removeItem(nameOf(item));
}
async function deliver() {
  for (;;) {
    const item = unsent[0];
    try {
      const result = await ask(item.path, item.body);
      take(item);
      calm();
      return result;
    } catch (error) {
      if (error.refused) {
        take(item);
        throw error;
      }
      trouble(error);
      await new Promise((go) => setTimeout(go, AGAIN));
    }
  }
}
function sendStored() {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(stored()));
  unsent = names.map((name) => JSON.parse(localStorage[name])).sort((one, other) => one.at - other.at);
  const [count, refusals] = [unsent.length, []];
  for (let left = count; left; left -= 1) sending = sending.then(deliver).catch((error) => refusals.push(error.message));
  if (count) sending = sending.then(() => notice([`Sent: ${count} of your decisions that waited in this browser.`, ...refusals].join(" ")));
}

// The server is gone, or does not let this tab in: it goes on with the photos that it has.
function trouble({ message }) {
  at("notice").dataset.gone = "1";
  const waiting = unsent.length
    ? `${unsent.length} of your decisions wait in this browser and are sent when that has changed, also if you load the page again.`
    : "What you decided is written.";
  notice(`${message[0].toUpperCase()}${message.slice(1)}. ${waiting}`);
  at("empty").textContent = "More photos come when the server is back.";
}
function calm() {
  if (unsent.length || !at("notice").dataset.gone) return;
  delete at("notice").dataset.gone;
  notice("");
}
