// Asking the node: every request goes through `ask`, so that there is one place that knows whether the node answers.
//
// What goes wrong is a `Problem` (the node answered, with a problem document) or a `Silence` (it did not answer). After a silence one
// request probes, with growing pauses, until the node is back; pages go on with what they have meanwhile.

const PATIENCE_MS = 15_000;
const PAUSES_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `the node answered with ${status}`);
    this.status = status;
    this.code = document.code ?? 'unknown';
    this.whatToDo = document.what_to_do ?? null;
    this.instance = document.instance ?? null;
  }
}

export class Silence extends Error {
  constructor() { super('this node does not answer'); }
}

/** Whether the node answers. It tells `silent`, `waiting` (before each try), `back` and `unknown` (nobody knows who asks). */
class Line extends EventTarget {
  lastHeard = Date.now();
  silentSince = null;
  nextTry = null;
  #tries = 0;
  #timer = null;

  heard() {
    this.lastHeard = Date.now();
    if (this.silentSince === null) return;
    this.silentSince = this.nextTry = null;
    this.#tries = 0;
    clearTimeout(this.#timer);
    this.dispatchEvent(new Event('back'));
  }

  lost() {
    if (this.silentSince === null) {
      this.silentSince = Date.now();
      this.dispatchEvent(new Event('silent'));
    }
    this.#plan();
  }

  tryNow() {
    clearTimeout(this.#timer);
    this.nextTry = null;
    // Whatever comes of it is told by `heard` or `lost`.
    ask('GET', '/v1/session').catch(() => {});
  }

  #plan() {
    if (this.nextTry !== null && this.nextTry > Date.now()) return;
    const pause = PAUSES_MS[Math.min(this.#tries, PAUSES_MS.length - 1)];
    this.#tries += 1;
    // Browsers that lost the same node do not come back all at once.
    const wait = pause * (0.75 + Math.random() / 2);
    this.nextTry = Date.now() + wait;
    this.#timer = setTimeout(() => this.tryNow(), wait);
    this.dispatchEvent(new Event('waiting'));
  }
}

export const line = new Line();

/** Asks, and gives back what was answered: JSON as an object, anything else as bytes with the headers. */
export async function ask(method, path, { json, bytes, headers = {} } = {}) {
  const sent = { ...headers };
  // Other people's pages cannot send this, and a session changes nothing without it.
  if (method !== 'GET') sent['Convoke-Request'] = 'dashboard';
  if (json !== undefined) sent['Content-Type'] = 'application/json';
  if (bytes !== undefined) sent['Content-Type'] = 'application/octet-stream';
  let response, body;
  try {
    response = await fetch(path, {
      method, headers: sent, body: json !== undefined ? JSON.stringify(json) : bytes,
      cache: 'no-store', credentials: 'same-origin', signal: AbortSignal.timeout(PATIENCE_MS),
    });
    body = new Uint8Array(await response.arrayBuffer());
  } catch {
    line.lost();
    throw new Silence();
  }
  line.heard();
  const media = response.headers.get('content-type') ?? '';
  const document = /^application\/(problem\+)?json/.test(media) ? parsed(body) : null;
  if (response.ok) return document ?? { bytes: body, headers: response.headers };
  const problem = new Problem(response.status, document ?? {});
  if (response.status === 401) line.dispatchEvent(new Event('unknown'));
  throw problem;
}

function parsed(body) {
  try { return JSON.parse(new TextDecoder().decode(body)); } catch { return {}; }
}

export const get = (path) => ask('GET', path);

/** Pages of a list, one after the other, up to `most` items; says whether there are more. */
export async function all(path, most = 1_000) {
  const items = [];
  let next = null, stamp = null;
  do {
    const from = next === null ? '' : `&after=${encodeURIComponent(next)}`;
    const page = await get(`${path}${path.includes('?') ? '&' : '?'}limit=1000${from}`);
    items.push(...page.items);
    stamp = page.stamp;
    next = page.next;
  } while (next !== null && items.length < most);
  return { items, stamp, more: next !== null, at: Date.now() };
}
