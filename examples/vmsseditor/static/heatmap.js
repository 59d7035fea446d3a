// The heatmap: drawn once for each layout; from then on a cell is touched only when it changed.

import { byId, el, fill, say, visible } from "./dom.js";

const DENSE = 200;
const cells = new Map(); // instance id to its button
const records = new Map(); // instance id to what is known of it
const chosen = new Set();
let layout = "";
let anchor = null;
let heard = () => {};

export const selection = () => [...cells.keys()].filter((id) => chosen.has(id));
export const record = (id) => records.get(id);
export const onSelection = (listener) => (heard = listener);

export function show(picture) {
  const map = byId("map");
  const fresh = JSON.stringify(picture.panels);
  for (const one of picture.cells) records.set(one.instance_id, one);
  if (fresh !== layout) build(map, picture);
  layout = fresh;
  if (map.dataset.by !== picture.by) map.dataset.by = byId("legend").dataset.by = picture.by;
  for (const one of picture.cells) paint(cells.get(one.instance_id), one);
  legend(picture);
}

export function clear() {
  layout = "";
  cells.clear();
  records.clear();
  choose([]);
  fill(byId("map"));
  fill(byId("legend"));
}

// Instances on which something is being done are marked; null means all of them.
export function working(works) {
  const everything = works.some((work) => work.ids === null);
  const busy = new Set(works.flatMap((work) => work.ids ?? []));
  for (const [id, cell] of cells) cell.classList.toggle("busy", everything || busy.has(id));
}

function build(map, picture) {
  const focused = map.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  cells.clear();
  map.classList.toggle("dense", picture.cells.length > DENSE);
  fill(map, ...picture.panels.map(panel));
  const known = new Set(picture.cells.map((one) => one.instance_id));
  for (const id of [...records.keys()]) if (!known.has(id)) records.delete(id);
  choose([...chosen].filter((id) => known.has(id)));
  const first = cells.get(focused) ?? cells.values().next().value;
  if (first) first.tabIndex = 0;
  if (focused) first?.focus();
}

function panel(found) {
  const inRow = (row) => found.places[row].flat();
  const inColumn = (column) => found.places.flatMap((row) => row[column]);
  const heads = found.columns.map((name, at) =>
    el("th", { scope: "col" }, domain(`FD ${name}`, `Fault domain ${name}`, found.name, () => inColumn(at))),
  );
  const rows = found.rows.map((name, at) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, domain(`UD ${name}`, `Update domain ${name}`, found.name, () => inRow(at))),
      ...found.places[at].map((ids) => el("td", {}, ...ids.map(cell))),
    ),
  );
  const all = domain(found.name || "all", found.name ? `All of ${found.name}` : "All instances", "", () =>
    found.places.flat(2),
  );
  const head = el("thead", {}, el("tr", {}, el("td"), ...heads));
  return el("table", {}, el("caption", {}, all), head, el("tbody", {}, ...rows));
}

function domain(text, name, where, ids) {
  return el(
    "button",
    {
      type: "button",
      className: "domain",
      "aria-label": where ? `${name}, ${where}` : name,
      title: `Select ${name.toLowerCase()}`,
      on: { click: (event) => choose(event.ctrlKey || event.metaKey ? [...chosen, ...ids()] : ids()) },
    },
    text,
  );
}

function cell(id) {
  const made = el("button", { type: "button", className: "cell", tabIndex: -1, "aria-pressed": "false" });
  made.dataset.id = id;
  made.dataset.label = label(id);
  made.title = visible(id);
  cells.set(id, made);
  return made;
}

// What fits into a cell: a number as it is; of a name its end, by which the instances of a set differ.
function label(id) {
  const text = visible(id);
  return text.length <= 5 ? text : `…${text.slice(-4)}`;
}

function paint(made, one) {
  if (!made) return;
  if (made.dataset.state !== one.state || made.textContent !== one.sign) {
    made.dataset.state = one.state;
    say(made, one.sign);
    made.setAttribute("aria-label", visible(`${one.instance_id} ${one.state}`));
  }
  made.classList.toggle("protected", one.protected);
}

function legend(picture) {
  const place = byId("legend");
  const known = new Map([...place.children].map((child) => [child.dataset.state, child]));
  const wanted = picture.legend.map(({ state, sign, count }) => {
    const item = known.get(state) ?? legendItem(state, sign);
    say(item.lastChild, `${count}`);
    return item;
  });
  if (wanted.length !== known.size || wanted.some((item, at) => place.children[at] !== item)) fill(place, ...wanted);
}

function legendItem(state, sign) {
  const pick = () => choose([...records.values()].filter((one) => one.state === state).map((one) => one.instance_id));
  const mark = el("span", { className: "mark", "aria-hidden": "true" }, sign);
  mark.dataset.state = state;
  const item = el("button", { type: "button", on: { click: pick } }, mark, ` ${state} `, el("b"));
  item.dataset.state = state;
  return item;
}

// --- choosing ---

export function choose(ids) {
  const wanted = new Set(ids);
  for (const id of new Set([...chosen, ...wanted])) cells.get(id)?.setAttribute("aria-pressed", `${wanted.has(id)}`);
  chosen.clear();
  for (const id of wanted) if (cells.has(id)) chosen.add(id);
  heard();
}

function pick(id, event) {
  const ids = [...cells.keys()];
  if (event.shiftKey && anchor !== null && cells.has(anchor)) {
    const [from, to] = [ids.indexOf(anchor), ids.indexOf(id)].sort((a, b) => a - b);
    choose([...chosen, ...ids.slice(from, to + 1)]);
    return;
  }
  anchor = id;
  if (event.ctrlKey || event.metaKey || event.type === "keydown") {
    choose(chosen.has(id) ? [...chosen].filter((one) => one !== id) : [...chosen, id]);
  } else {
    choose(chosen.size === 1 && chosen.has(id) ? [] : [id]);
  }
}

function goTo(id) {
  for (const one of byId("map").querySelectorAll(".cell[tabindex='0']")) one.tabIndex = -1;
  const made = cells.get(id);
  made.tabIndex = 0;
  made.focus();
}

// The nearest cell above or below, as the eye would take it.
function vertical(from, down) {
  const start = from.getBoundingClientRect();
  let best = null;
  let least = Infinity;
  for (const [id, made] of cells) {
    const box = made.getBoundingClientRect();
    const step = down ? box.top - start.top : start.top - box.top;
    if (step < 4) continue;
    const distance = step * 3 + Math.abs(box.left - start.left);
    if (distance < least) [best, least] = [id, distance];
  }
  return best;
}

function key(event) {
  if (event.key === "Escape") return choose([]);
  if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    return choose(cells.keys());
  }
  const id = event.target.dataset?.id;
  if (id === undefined) return undefined;
  const ids = [...cells.keys()];
  const at = ids.indexOf(id);
  const next = {
    ArrowRight: () => ids[at + 1],
    ArrowLeft: () => ids[at - 1],
    ArrowDown: () => vertical(event.target, true),
    ArrowUp: () => vertical(event.target, false),
    Home: () => ids[0],
    End: () => ids.at(-1),
  }[event.key]?.();
  if (event.key === " ") {
    event.preventDefault();
    return pick(id, event);
  }
  if (next !== undefined && next !== null) {
    event.preventDefault();
    if (event.shiftKey) choose([...chosen, id, next]);
    goTo(next);
  }
  return undefined;
}

// "0, 6-9" as ids that are there.
export function parseIds(text) {
  return text.split(/[\s,;]+/).flatMap((part) => {
    const range = /^(\d+)-(\d+)$/.exec(part);
    if (!range) return cells.has(part) ? [part] : [];
    return [...cells.keys()].filter((id) => /^\d+$/.test(id) && +id >= +range[1] && +id <= +range[2]);
  });
}

export function wire() {
  const map = byId("map");
  map.addEventListener("click", (event) => {
    const id = event.target.dataset?.id;
    if (id === undefined) return;
    pick(id, event);
    goTo(id);
  });
  map.addEventListener("keydown", key);
  byId("ids").addEventListener("input", (event) => choose(parseIds(event.target.value)));
}
