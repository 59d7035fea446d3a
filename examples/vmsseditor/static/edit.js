// Editing the model: the form, the difference to confirm, and what to do when somebody else was quicker.

import { get, post } from "./api.js";
import { ask, button, el, fill } from "./dom.js";

const FIELDS = [
  ["sku", "Image SKU"],
  ["version", "Image version"],
  ["image_id", "Image id"],
  ["image_uri", "Image URI"],
  ["size", "VM size"],
  ["capacity", "Capacity"],
];

export async function edit(base, now, note) {
  const wishes = await form(base, now);
  if (wishes) await confirm(base, wishes, note);
}

// What somebody wishes to change: the fields that differ from what is there, null for nothing.
function form(base, now) {
  return ask("Edit the model", (close) => {
    const offers = { version: el("datalist", { id: "versions" }), size: el("datalist", { id: "sizes" }) };
    const inputs = FIELDS.filter(([name]) => name in now).map(([name, label]) => [name, label, input(name, now[name])]);
    const sku = inputs.find(([name]) => name === "sku")?.[2];
    sku?.addEventListener("change", () => choices(base, sku.value, offers));
    choices(base, sku?.value ?? "", offers);
    const send = (event) => {
      event.preventDefault();
      const changed = inputs.filter(([name, , field]) => field.value.trim() !== String(now[name]));
      close(Object.fromEntries(changed.map(([name, , field]) => [name, value(name, field.value.trim())])));
    };
    return [
      el(
        "form",
        { className: "fields", on: { submit: send } },
        ...inputs.map(([, label, field]) => el("label", {}, label, field)),
        offers.version,
        offers.size,
        el("p", { className: "help" }, "Nothing is written yet: the difference is shown first."),
        el("div", { className: "buttons" }, el("button", { className: "first" }, "Show the difference"), cancel(close)),
      ),
    ];
  });
}

const cancel = (close) => button("Cancel", () => close(null));
const value = (name, text) => (name === "capacity" ? Number(text) : text);

function input(name, now) {
  const list = { version: "versions", size: "sizes" }[name];
  const kind = name === "capacity" ? { type: "number", min: 0, max: 1000, step: 1 } : { type: "text" };
  const made = el("input", { ...kind, name, value: now, required: true, autocomplete: "off", spellcheck: false });
  if (list) made.setAttribute("list", list);
  return made;
}

async function choices(base, sku, offers) {
  try {
    const found = await get(`${base}/choices?sku=${encodeURIComponent(sku)}&t=${Date.now()}`);
    fill(offers.version, ...found.versions.map((one) => el("option", { value: one })));
    fill(offers.size, ...found.sizes.map((one) => el("option", { value: one })));
  } catch {
    fill(offers.version); // what is not offered can still be typed
  }
}

async function confirm(base, wishes, note) {
  let draft;
  try {
    draft = await post(`${base}/draft`, wishes);
  } catch (refused) {
    return tell("Azure could not accept that", refused.message);
  }
  if (draft.number === 0) return tell("Nothing to write", "The model is like that already.");
  const yes = await ask("Write this to the model?", (close) => [
    difference(draft.changes),
    ...(note ? [el("p", { className: "warning" }, note)] : []),
    el("div", { className: "buttons" }, button("Write it", () => close(true), { className: "first" }), cancel(close)),
  ]);
  return yes ? write(base, wishes, draft, note) : undefined;
}

async function write(base, wishes, draft, note) {
  try {
    await post(`${base}/write`, { number: draft.number });
  } catch (refused) {
    if (refused.status !== 412) return tell("It was not written", refused.message);
    const again = await ask("Somebody else was quicker", (close) => [
      el("p", {}, "The model has changed since the difference was made. Nothing was written, nothing of theirs is lost."),
      el(
        "div",
        { className: "buttons" },
        button("Look again", () => close(true), { className: "first" }),
        button("Leave it", () => close(null)),
      ),
    ]);
    if (again) await confirm(base, wishes, note);
  }
  return undefined;
}

export function difference(changes) {
  const rows = changes.map((one) =>
    el("tr", {}, el("th", { scope: "row" }, one.path), el("td", {}, el("del", {}, one.old)), el("td", {}, el("ins", {}, one.new))),
  );
  const heads = ["What", "From", "To"].map((text) => el("th", { scope: "col" }, text));
  return el("table", { className: "difference" }, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
}

export function tell(title, text) {
  return ask(title, (close) => [
    el("p", {}, text),
    el("div", { className: "buttons" }, button("OK", () => close(true), { className: "first" })),
  ]);
}
