// The page is built here and nowhere else: elements and text nodes. No string ever becomes markup.

// Control, bidirectional and invisible characters are shown as escapes: names come from outside, and nothing hides.
export const visible = (text) =>
  `${text}`.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (letter) => `\\u${letter.codePointAt(0).toString(16).padStart(4, "0")}`);

const shown = (child) => (typeof child === "string" ? visible(child) : child);

export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "on") for (const [event, heard] of Object.entries(value)) made.addEventListener(event, heard);
    else if (key in made) made[key] = value;
    else if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.map(shown));
  return made;
}

export const byId = (id) => document.getElementById(id);

export function fill(place, ...children) {
  place.replaceChildren(...children);
  return place;
}

// Write only what differs: an unchanged text node keeps selection, focus and screen readers in peace.
export function say(place, text) {
  const wanted = visible(text);
  if (place.textContent !== wanted) place.textContent = wanted;
}

export const button = (text, heard, properties = {}) =>
  el("button", { type: "button", ...properties, on: { click: heard } }, text);

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function listing(ids) {
  return ids.length <= 12 ? ids.join(", ") : `${ids.slice(0, 10).join(", ")} and ${ids.length - 10} more`;
}

// A modal question. `make(close)` gives what stands in it; what `close` is given is the answer, null for Escape.
export function ask(title, make) {
  const dialog = byId("dialog");
  return new Promise((resolve) => {
    let answer = null;
    const close = (given) => {
      answer = given;
      dialog.close();
    };
    fill(dialog, el("h2", { id: "dialog-title" }, title), ...make(close));
    dialog.addEventListener("close", () => resolve(answer), { once: true });
    dialog.showModal();
  });
}
