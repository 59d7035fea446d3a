// The page: which set is shown, two loops that keep it fresh, and the actions.

import { Refused, forget, get, post } from "./api.js";
import { ask, button, byId, clock, el, fill, listing, say } from "./dom.js";
import { edit, tell } from "./edit.js";
import * as heatmap from "./heatmap.js";
import * as rollout from "./rollout.js";

const MOST_LINES = 500;
const DOES = {
  upgrade: "brings them to the latest model: they restart",
  reimage: "makes their OS disks anew: what is on them is lost",
  start: "starts them",
  restart: "restarts them",
  "power off": "stops them; they are still paid for",
  deallocate: "stops them and gives their hardware back",
  protect: "keeps upgrades and scale-in away from them",
  unprotect: "lets upgrades and scale-in touch them again",
  delete: "deletes them, and lowers the capacity by as many",
};
const ON_ALL = ["start", "restart", "power off", "deallocate"];
const HARMLESS = ["start", "protect", "unprotect"];
const state = { base: "", by: "power", editable: null, last: 0, upgrading: false, pace: 1, seen: 0, troubles: {} };

// --- freshness and trouble ---

function trouble(part, error) {
  if (error) state.troubles[part] = error;
  else delete state.troubles[part];
  const [found] = Object.values(state.troubles);
  const place = byId("trouble");
  place.hidden = !found;
  document.body.classList.toggle("stale", Boolean(found));
  const since = state.seen ? ` What is shown is from ${clock(state.seen)}.` : "";
  say(place, found ? `${found.message}${since}${found.status === 401 ? "" : " Trying again …"}` : "");
  say(byId("live"), found ? "not live" : "live");
}

async function loop(part, look) {
  for (;;) {
    const base = state.base;
    try {
      if (base) await look(base);
      trouble(part, null);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (base === state.base) trouble(part, error);
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(250, 1000 / state.pace)));
  }
}

async function lookAtPicture(base) {
  const by = state.by;
  const found = await get(`${base}/picture?by=${by}`);
  if (base !== state.base || by !== state.by) return;
  state.seen = Date.now() / 1000;
  if (!found) return;
  state.editable = found.editable;
  byId("edit").disabled = false;
  heatmap.show(found.picture);
  say(byId("caption"), `${found.picture.caption}; ${found.fit} healthy`);
  properties(found.properties);
}

async function lookAtNow(base) {
  const found = await get(`${base}/now?after=${state.last}`);
  if (!found || base !== state.base) return;
  state.upgrading = rollout.running(found.rollout);
  events(found.log);
  heatmap.working(found.working);
  rollout.show(found.rollout, found.plan);
}

// --- what is shown ---

function properties(rows) {
  const place = byId("properties");
  const text = JSON.stringify(rows);
  if (place.dataset.shown === text) return;
  place.dataset.shown = text;
  fill(place, ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function events(lines) {
  const log = byId("log");
  for (const line of lines) {
    state.last = Math.max(state.last, line.number);
    const made = el("li", { className: line.mood }, el("time", {}, clock(line.at)), " ", line.text);
    log.prepend(made);
  }
  while (log.children.length > MOST_LINES) log.lastChild.remove();
}

function selected() {
  const ids = heatmap.selection();
  const one = ids.length === 1 ? heatmap.record(ids[0]) : null;
  say(byId("chosen"), one ? facts(one) : ids.length ? `${ids.length} selected: ${listing(ids)}` : "Nothing selected");
  for (const each of byId("actions").children) each.disabled = ids.length === 0;
}

function facts(one) {
  const known = [one.power, one.health && `health ${one.health}`, one.provisioning, one.latest ? "latest model" : "behind the model"];
  return [`Instance ${one.instance_id}`, ...known, one.version, one.protected && "protected"].filter(Boolean).join(" · ");
}

// --- what is done ---

async function act(action, ids) {
  const whom = ids === null ? "all instances of the set" : listing(ids);
  const harsh = ids === null && action !== "start";
  const notes = [
    ...(harsh ? ["All at once: the service that they give is down meanwhile."] : []),
    ...(state.upgrading ? ["A rolling upgrade is running."] : []),
  ];
  const sure =
    (HARMLESS.includes(action) && !notes.length) ||
    (await ask(`${action[0].toUpperCase()}${action.slice(1)}?`, (close) => [
      el("p", {}, `${whom}: ${DOES[action]}.`),
      ...notes.map((text) => el("p", { className: "warning" }, text)),
      el(
        "div",
        { className: "buttons" },
        button(action[0].toUpperCase() + action.slice(1), () => close(true), { className: "first" }),
        button("Cancel", () => close(null)),
      ),
    ]));
  if (!sure) return;
  try {
    await post(`${state.base}/act`, ids === null ? { action, all: true } : { action, ids });
    await lookAtNow(state.base);
  } catch (refused) {
    tell("That could not be done", refused.message);
  }
}

function controls() {
  const title = (action) => `${action[0].toUpperCase()}${action.slice(1)}`;
  fill(byId("actions"), ...Object.keys(DOES).map((action) => button(title(action), () => act(action, heatmap.selection()))));
  fill(byId("set-actions"), ...ON_ALL.map((action) => button(title(action), () => act(action, null))));
  for (const by of ["power", "health", "model", "progress"]) {
    const input = el("input", { type: "radio", name: "by", value: by, checked: by === state.by });
    input.addEventListener("change", () => {
      state.by = by;
      lookAtPicture(state.base).catch((error) => trouble("picture", error));
    });
    byId("by").append(el("label", {}, input, title(by)));
  }
  byId("edit").addEventListener("click", () => {
    const note = state.upgrading ? "A rolling upgrade is running: it stops when the model changes." : "";
    edit(state.base, state.editable, note);
  });
  byId("pick").addEventListener("change", (event) => choose(event.target.value));
  heatmap.wire();
  heatmap.onSelection(selected);
  selected();
}

function choose(path) {
  forget();
  Object.assign(state, { base: path, editable: null, last: 0, seen: 0 });
  byId("edit").disabled = true;
  fill(byId("log"));
  heatmap.clear();
  rollout.open(path, { selection: heatmap.selection, pace: state.pace, tell, now: () => lookAtNow(state.base) });
  lookAtPicture(path).catch((error) => trouble("picture", error));
}

async function begin() {
  controls();
  const found = await get("/api/sets");
  state.pace = found.pace;
  byId("emulator").hidden = !found.emulator;
  say(byId("emulator"), `EMULATOR: nothing here is real, time runs ${found.pace} times as fast`);
  const groups = new Map();
  for (const one of found.sets) {
    const value = `/api/sets/${encodeURIComponent(one.group)}/${encodeURIComponent(one.name)}`;
    if (!groups.has(one.group)) groups.set(one.group, el("optgroup", { label: one.group }));
    groups.get(one.group).append(el("option", { value }, `${one.name} (${one.capacity ?? "?"}, ${one.location})`));
  }
  fill(byId("pick"), ...groups.values());
  if (!found.sets.length) return trouble("sets", new Refused(401, `Subscription ${found.subscription} has no scale set.`));
  const wanted = [...byId("pick").options].find((option) => option.value === decodeURIComponent(location.hash.slice(1)));
  if (wanted) wanted.selected = true;
  choose(byId("pick").value);
  loop("picture", lookAtPicture);
  loop("now", lookAtNow);
  return undefined;
}

begin().catch((error) => trouble("sets", error));
