// The card of the rolling upgrade: a form, the plan that came of it, the progress, and what it offers.

import { get, post } from "./api.js";
import { ask, byId, button, duration, el, fill, listing, say } from "./dom.js";

let base = "";
let view = "form"; // form, plan, run
let drawn = "";
let first = true; // nothing has been heard of this set yet
let plan = 0; // the number of the plan that is shown
let last = null; // the upgrade as it was last heard of
let context = { selection: () => [], pace: 1 };

export function open(path, given) {
  [base, context, view, drawn, first, plan, last] = [path, given, "form", "", true, 0, null];
  form();
}

export const running = (found) => Boolean(found?.running);

// `newest`: the number of the plan that can be started. Plans and upgrades share one count, so what is newer is larger.
export function show(found, newest) {
  last = found;
  if (view === "plan" && Math.max(newest, found?.number ?? 0) > plan) outdate();
  if (!found) {
    if (view === "run") form();
    return;
  }
  if (found.running && view !== "run") view = "run";
  if (first && found.offers.length) view = "run"; // what an editor before this one has left
  first = false;
  if (view === "run") progress(found);
}

// --- the form ---

const number = (name, label, value, rest = {}) =>
  el("label", {}, label, el("input", { type: "number", name, value, min: 0, step: 1, ...rest }));

function form() {
  view = "form";
  drawn = "form";
  const version = el("select", { name: "version" }, el("option", { value: "latest" }, "newest"));
  const orders = { update_domain: "update domain", fault_domain: "fault domain", zone: "zone", batch: "none: by number" };
  const order = el("select", { name: "batch_by" }, ...Object.entries(orders).map(([value, text]) => el("option", { value }, text)));
  const made = el(
    "form",
    { className: "fields two", on: { submit: makePlan } },
    el("label", { className: "wide" }, "Image version", version),
    el("label", { className: "wide" }, "A batch keeps to one", order),
    number("batch_size", "Batch size", "", { min: 1, placeholder: "a fifth" }),
    number("canary_instances", "Canary instances", 0),
    number("pause_seconds", "Pause, s", 0),
    number("bake_seconds", "Healthy for, s", 0),
    number("min_healthy_instance_percent", "Floor, % healthy", 80, { max: 100 }),
    number("failure_budget", "Failures allowed", 0),
    el("label", { className: "wide check" }, el("input", { type: "checkbox", name: "selected" }), "Only the selected instances"),
    el("label", { className: "wide check" }, el("input", { type: "checkbox", name: "rollback_on_failure" }), "Roll it back when it fails"),
    el("p", { className: "refusal wide", role: "alert", hidden: true }),
    el("div", { className: "buttons wide" }, el("button", { className: "first" }, "Make a plan")),
  );
  fill(byId("rollout"), made);
  versions(version);
}

async function versions(select) {
  const keep = el("option", { value: "" }, "as in the model: only bring instances to it");
  try {
    const found = await get(`${base}/choices?t=${Date.now()}`);
    select.append(...found.versions.map((one) => el("option", { value: one }, one)), keep);
  } catch {
    select.append(keep);
  }
}

function policy(data) {
  const found = { batch_by: data.get("batch_by"), rollback_on_failure: data.has("rollback_on_failure") };
  const numbers = ["batch_size", "canary_instances", "pause_seconds", "bake_seconds", "min_healthy_instance_percent", "failure_budget"];
  for (const name of numbers) if (data.get(name) !== "") found[name] = Number(data.get(name));
  if (data.has("selected")) found.instances = context.selection();
  return found;
}

async function makePlan(event) {
  event.preventDefault();
  const made = event.target;
  const data = new FormData(made);
  const refusal = made.querySelector(".refusal");
  refusal.hidden = true;
  made.inert = true;
  try {
    planned(await post(`${base}/plan`, { version: data.get("version"), policy: policy(data) }), () => {
      view = "form";
      fill(byId("rollout"), made);
    });
  } catch (refused) {
    refusal.hidden = false;
    say(refusal, refused.message);
  } finally {
    made.inert = false;
  }
}

// --- the plan ---

// What a plan would do, to be read before it is confirmed.
function content(found) {
  const many = found.batches.reduce((sum, ids) => sum + ids.length, 0);
  return [
    el("p", { className: "headline" }, `${many} instances in ${found.batches.length} batches`),
    ...found.changes.map((text) => el("p", { className: "change" }, text)),
    el("p", {}, `At least ${found.lowest[""] ?? 0} stay healthy. About ${duration(found.seconds / context.pace)}.`),
    ...found.warnings.map((text) => el("p", { className: "warning" }, text)),
    el("ol", { className: "batches", tabIndex: 0, ariaLabel: "Batches" }, ...found.batches.map((ids) => el("li", {}, listing(ids)))),
  ];
}

// The plan of an upgrade, to be started: the click sends the number of what is shown here.
function planned(found, back) {
  [view, plan] = ["plan", found.number];
  const start = button("Start the upgrade", () => steer("start", found.number), { className: "first", id: "start" });
  const hasWork = found.batches.length || found.changes.length;
  fill(
    byId("rollout"),
    ...content(found),
    el("p", { id: "outdated", className: "refusal", role: "alert", hidden: true }),
    el("div", { className: "buttons" }, ...(hasWork ? [start] : []), button("Back", back)),
  );
  byId("rollout").querySelector("button").focus();
}

// Somebody else has made another plan, or has started one: what is shown here can no longer be started.
function outdate() {
  const place = byId("outdated");
  if (!place.hidden) return;
  say(place, "Another plan was made or started since. This one can no longer be started.");
  place.hidden = false;
  byId("start")?.remove();
}

async function steer(wish, number) {
  try {
    await post(`${base}/upgrade`, { do: wish, number });
    view = "run";
    drawn = "";
    context.now();
  } catch (refused) {
    if (refused.status === 409) await look();
    context.tell("That could not be done", refused.message);
  }
}

// A rollback is planned and shown, and begins with a yes to that plan.
async function rollBack(number) {
  let found;
  try {
    found = await post(`${base}/plan`, { rollback: number });
  } catch (refused) {
    if (refused.status === 409) await look();
    context.tell("It cannot be rolled back", refused.message);
    return;
  }
  const isSure = await ask("Roll back?", (close) => [
    ...content(found),
    el(
      "div",
      { className: "buttons" },
      button("Roll back", () => close(true), { className: "first" }),
      button("Cancel", () => close(null)),
    ),
  ]);
  if (isSure) await steer("roll back", found.number);
}

// What is so now, after the page showed something else: the newest plan, or the upgrade that was begun.
async function look() {
  const shown = base;
  await context.now().catch(() => {}); // the loops of the page say what is the matter
  const newest = await get(`${base}/plan?t=${Date.now()}`).catch(() => null);
  if (shown !== base || !newest) return;
  if (newest.number && newest.kind === "upgrade") planned(newest, last ? run : form);
  else if (last) run();
  else form();
}

function run() {
  [view, drawn] = ["run", ""];
  progress(last);
}

// --- the progress ---

const WORDS = { upgrade: "Upgrade", rollback: "Rollback" };

function progress(found) {
  const place = byId("rollout");
  const frame = JSON.stringify([found.number, found.state, found.offers, found.failed, found.reason, found.kind]);
  if (frame !== drawn) fill(place, ...parts(found));
  drawn = frame;
  say(place.querySelector(".headline"), headline(found));
  say(place.querySelector(".count"), count(found));
  const bar = place.querySelector("progress");
  bar.max = found.instances || 1;
  bar.value = found.done;
  say(place.querySelector(".batch"), found.ids.length ? `now: ${listing(found.ids)}` : "");
}

function headline(found) {
  const version = found.version && found.kind === "upgrade" ? ` to ${found.version}` : "";
  return `${WORDS[found.kind]}${version}: ${found.state}`;
}

function count(found) {
  const batch = found.batches ? `batch ${found.batch} of ${found.batches}` : `batch ${found.batch}`;
  const left = found.seconds_left === null ? "" : `, about ${duration(found.seconds_left)} left`;
  const floor = found.floor ? `, floor ${found.floor}` : "";
  return `${batch}, ${found.done} of ${found.instances} updated${floor}${left}`;
}

function parts(found) {
  const labels = { pause: "Pause", cancel: "Cancel", resume: "Resume", "roll back": "Roll back" };
  const mood = found.running ? "running" : ["succeeded", "rolled-back"].includes(found.outcome) ? "good" : "bad";
  const does = (wish) => (wish === "roll back" ? rollBack(found.number) : steer(wish, found.number));
  const again = found.running ? [] : [button("Plan another", form)];
  return [
    el("p", { className: `headline ${mood}`, role: "status" }),
    el("progress", { ariaLabel: "Instances updated" }),
    el("p", { className: "count" }),
    el("p", { className: "batch", hidden: !found.running }),
    ...(found.reason ? [el("p", { className: "reason" }, found.reason)] : []),
    ...(found.failed.length ? [el("p", { className: "refusal" }, `Failed: ${listing(found.failed)}`)] : []),
    el("p", { className: "help" }, `Journal: ${found.journal}`),
    el("div", { className: "buttons" }, ...found.offers.map((wish) => button(labels[wish], () => does(wish))), ...again),
  ];
}
