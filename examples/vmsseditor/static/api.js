// Asking the editor. Every request carries the key; what has not changed since it was last read comes back as null.

const KEY = "vmsseditor-key";
const tags = new Map();

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function send(path, options) {
  const headers = { "X-Vmsseditor-Key": localStorage.getItem(KEY) ?? "", ...options.headers };
  let response;
  try {
    response = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(120_000) });
  } catch {
    throw new Refused(0, "The editor does not answer. Does it still run in its terminal?");
  }
  if (response.ok || response.status === 304) return response;
  if (response.status === 401) localStorage.removeItem(KEY); // it ends with its session
  const found = await response.json().catch(() => null);
  throw new Refused(response.status, found?.error?.text ?? response.statusText);
}

export async function get(path) {
  const tag = tags.get(path);
  const response = await send(path, { headers: tag ? { "If-None-Match": tag } : {} });
  if (response.status === 304) return null;
  const found = await response.json();
  tags.set(path, response.headers.get("ETag"));
  return found;
}

export async function post(path, body) {
  const response = await send(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}

export const forget = () => tags.clear();
