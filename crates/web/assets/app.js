// The frame around the pages: who is logged in, which page is shown, when it is read again, and what clicks do.
//
// A page is an object: `title`, `load()` gives its data, `render(data)` its elements, `acts` what its buttons and forms do, `every` after how
// many milliseconds it is read again, `cares(event)` whether an event of the cluster is a reason to read it now. Data stays until newer data
// is there; a node that does not answer takes nothing away.

import { all, ask, get, line, Problem, Silence } from './api.js';
import { fields, h, morph } from './dom.js';
import { Stream } from './live.js';
import { age, button, close, complain, say, sentence, tick, trouble } from './parts.js';
import { clock, span } from './words.js';
import access from './pages/access.js';
import audit from './pages/audit.js';
import config from './pages/config.js';
import events from './pages/events.js';
import instances from './pages/instances.js';
import keys from './pages/keys.js';
import locks from './pages/locks.js';
import login from './pages/login.js';
import node from './pages/node.js';
import nodes from './pages/nodes.js';
import overview from './pages/overview.js';
import proposals from './pages/proposals.js';
import watching from './pages/watching.js';

const PAGES = [
  ['', overview], ['nodes', nodes], ['watching', watching], ['instances', instances], ['events', events], ['proposals', proposals], ['config', config],
  ['keys', keys], ['locks', locks], ['access', access], ['audit', audit],
];
/** Events that are kept here; the node keeps some thousands. */
const EVENTS_MOST = 500;
/** The shortest time between two readings of a page because of events, and of the list of all nodes. */
const AGAIN_MS = 1_000, NODES_AGAIN_MS = 5_000;
/** Nodes that are asked for. */
const NODES_MOST = 5_000;
const SCOPES = ['read', 'operate', 'admin'];

/** What every page may look at. */
export const state = { session: null, status: null, statusAt: 0, nodes: null, events: [], missed: false };

let shown = null;
let stream = null;
let names = new Map();
let nodesTimer = null, pageTimer = null, drawTimer = null, sessionTimer = null;
let healthSaid = null;

/** Whether the session's scope is enough. Buttons that would only be refused are not shown. */
export const may = (scope) => SCOPES.indexOf(state.session?.scope) >= SCOPES.indexOf(scope);
export const nameOf = (id) => names.get(id) ?? null;
export const element = (id) => document.getElementById(id);

// --- Getting in and out ---

async function begin() {
  const token = /^#login=(.+)$/.exec(location.hash)?.[1];
  if (token) {
    // Out of the address bar and the history, before anything else sees it.
    history.replaceState(null, '', location.pathname);
    return enter(decodeURIComponent(token));
  }
  try {
    await welcome(await get('/v1/session'));
  } catch (error) {
    refused(error, null);
  }
}

/** Logs in with a one-time token. */
export async function enter(token) {
  try {
    await welcome(await ask('POST', '/v1/session', { json: { token: token.trim() } }));
  } catch (error) {
    refused(error, error);
  }
}

function refused(error, why) {
  if (error instanceof Silence) return showLogin(error);
  if (error instanceof Problem && [401, 403, 422, 429].includes(error.status)) return showLogin(why);
  showLogin(error);
}

async function welcome(session) {
  state.session = session;
  clearTimeout(sessionTimer);
  if (session.expires_in_ms !== null) {
    // Timers hold about 24 days.
    sessionTimer = setTimeout(() => leave('The session is over: it lasted 12 hours.'), Math.min(session.expires_in_ms, 2 ** 31 - 1));
  }
  await readStatus().catch(() => {});
  route(false);
  readNodes().then(draw);
  follow();
}

/** Back to the way in, with a sentence that says why. */
function leave(why) {
  if (!state.session) return;
  state.session = null;
  stream?.stop();
  stream = null;
  clearTimeout(pageTimer);
  if (element('dialog').open) close();
  showLogin(why ? { message: why } : null);
}

function showLogin(why) {
  shown?.page.hide?.();
  shown = { page: login, data: why, at: Date.now(), error: null };
  frame();
  draw();
}

// --- Pages ---

/** The page of the address, and its argument. */
function place() {
  const [first = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/');
  const argument = rest.length > 0 ? safely(rest.join('/')) : null;
  if (first === 'nodes' && argument) return { page: node, argument, key: 'nodes' };
  const found = PAGES.find(([key]) => key === first) ?? PAGES[0];
  return { page: found[1], argument, key: found[0] };
}

function safely(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** Shows the page of the address. Who came by keyboard goes on at its heading. */
function route(moves = true) {
  const token = /^#login=(.+)$/.exec(location.hash)?.[1];
  if (token) return void begin();
  if (!state.session) return;
  const { page, argument, key } = place();
  shown?.page.hide?.();
  if (element('dialog').open) close();
  shown = { page, argument, key, data: null, at: 0, error: null, forced: 0 };
  page.show?.(argument);
  element('menu').classList.remove('open');
  frame();
  draw();
  window.scrollTo(0, 0);
  if (moves) element('main').focus({ preventScroll: true });
  reload();
}

/** Reads the page's data again and draws it. */
export async function reload() {
  const at = shown;
  clearTimeout(pageTimer);
  if (!state.session || !at) return;
  try {
    const data = at.page.load ? await at.page.load(at.argument) : {};
    if (at !== shown) return;
    Object.assign(at, { data, at: Date.now(), error: null });
  } catch (error) {
    if (at !== shown) return;
    // A silence is told at the top, and what was there is still there.
    if (!(error instanceof Silence)) at.error = error;
    else at.error ??= at.data ? null : error;
  }
  draw();
  clearTimeout(pageTimer);
  pageTimer = setTimeout(() => (document.hidden ? null : reload()), at.page.every ?? 10_000);
}

/** Draws what is known now; several wishes within a frame are one. */
export function draw() {
  if (drawTimer !== null) return;
  drawTimer = requestAnimationFrame(() => {
    drawTimer = null;
    if (!shown) return;
    const { page, data, error, argument, at } = shown;
    const title = page.titleOf?.(argument, data) ?? page.title;
    document.title = `${title} · ${state.status?.cluster_name ?? 'Convoke'}`;
    const body = data || page === login
      ? page.render(data, { at, argument })
      : error ? null : h('p', { class: 'empty' }, 'Reading…');
    morph(element('main'), page === login ? null : h('div', { class: 'title' }, h('h1', null, title), page.aside?.(data, argument)),
      error && trouble(error), body);
  });
}

/** Header and menu. */
function frame() {
  const name = state.status?.cluster_name ?? 'Convoke';
  const here = state.session !== null;
  morph(element('top'),
    h('a', { class: 'brand', href: '#/' }, h('img', { src: '/assets/icon.svg', alt: '', width: 20, height: 20 }), name),
    here && h('span', { class: 'health' }, health()),
    h('span', { class: 'space' }),
    here && h('span', { class: 'quiet who' }, `${state.session.name} · ${state.session.scope}`),
    button('Theme', 'theme', { class: 'quiet', 'aria-label': 'Theme: light or dark' }),
    here && button('Log out', 'logout', { class: 'quiet broad' }),
    here && button('Menu', 'menu', { class: 'quiet narrow', 'aria-expanded': String(element('menu').classList.contains('open')), 'aria-controls': 'menu' }));
  const menu = element('menu');
  menu.hidden = !here;
  const entries = PAGES.filter(([, page]) => !page.needs || may(page.needs));
  morph(menu, h('ul', null, entries.map(([key, page]) => h('li', null,
    h('a', { href: `#/${key}`, 'aria-current': key === shown?.key ? 'page' : null }, page.title))),
    h('li', { class: 'narrow' }, button('Log out', 'logout', { class: 'quiet' }))));
}

function health() {
  if (!state.status) return '';
  // What was is not what is.
  if (line.silentSince !== null) return h('a', { href: '#/', class: 'mark quiet' }, 'no answer');
  if (state.status.healthy) return h('a', { href: '#/', class: 'mark good' }, h('span', { 'aria-hidden': 'true' }, '●'), ' healthy');
  const many = state.status.problems.length;
  return h('a', { href: '#/', class: 'mark bad' }, h('span', { 'aria-hidden': 'true' }, '▲'), many === 1 ? ' 1 problem' : ` ${many} problems`);
}

// --- What is known of the cluster, whichever page is shown ---

export async function readStatus() {
  state.status = await get('/v1/status');
  state.statusAt = Date.now();
  const words = state.status.healthy ? 'The cluster is healthy.' : sentence(state.status.problems[0]?.what ?? 'something is wrong');
  // Only what is new is worth an interruption.
  if (healthSaid !== null && healthSaid !== words) say(words);
  healthSaid = words;
  frame();
  return state.status;
}

/** All nodes, since every page names some. Read no more often than the pause says, however many events come. */
export async function readNodes() {
  try {
    state.nodes = await all('/v1/nodes', NODES_MOST);
    names = new Map(state.nodes.items.filter((it) => it.name !== null).map((it) => [it.id, it.name]));
  } catch (error) {
    if (state.nodes === null && !(error instanceof Silence)) throw error;
  }
  return state.nodes;
}

function nodesChanged() {
  nodesTimer ??= setTimeout(async () => {
    await readNodes().catch(() => {});
    nodesTimer = null;
    draw();
  }, Math.max(AGAIN_MS, NODES_AGAIN_MS - (Date.now() - (state.nodes?.at ?? 0))));
}

/** Reads what the node has kept of events, then follows. */
async function follow() {
  stream?.stop();
  let cursor = null;
  try {
    for (let pages = 0; pages < 8; pages += 1) {
      const from = cursor === null ? '' : `&after=${encodeURIComponent(cursor)}`;
      const page = await get(`/v1/events?limit=1000${from}`);
      cursor = page.next;
      keep(page.items);
      if (page.items.length < 1000) break;
    }
  } catch { /* The stream below begins with now, and says what else it misses. */ }
  draw();
  stream?.stop();
  if (!state.session) return;
  stream = new Stream('/v1/events', 'event', cursor, {
    item: (event) => {
      keep([event]);
      if (event.node !== null) nodesChanged();
      if (shown?.page.cares?.(event, shown.argument)) soon();
      if (shown?.page === events || shown?.page === overview) drawSoon();
    },
    gap: () => {
      state.missed = true;
      readNodes().then(draw).catch(() => {});
      soon();
    },
  }).start();
}

function keep(items) {
  state.events.push(...items);
  if (state.events.length > EVENTS_MOST) state.events.splice(0, state.events.length - EVENTS_MOST);
}

let soonTimer = null;
function soon() {
  soonTimer ??= setTimeout(() => {
    soonTimer = null;
    reload();
  }, AGAIN_MS);
}

let drawSoonTimer = null;
/** Events may come by the dozen each second; nobody reads more than a few pictures of them. */
function drawSoon() {
  drawSoonTimer ??= setTimeout(() => {
    drawSoonTimer = null;
    draw();
  }, 250);
}

// --- The node that does not answer ---

function notice() {
  const box = element('notice');
  if (line.silentSince === null || !state.session) return morph(box);
  const others = (state.nodes?.items ?? [])
    .filter((it) => it.id !== state.status?.node_id && it.verdict.value === 'reachable').slice(0, 4);
  morph(box, h('div', { class: 'silent' },
    h('p', null, h('strong', null, `This node does not answer since ${clock(line.silentSince)}.`),
      ' What you see is ', age(line.lastHeard), ' old. ',
      h('span', { 'aria-live': 'off' }, line.nextTry === null ? 'Trying now…' : `Trying again in ${span(line.nextTry - Date.now())}. `),
      button('Try now', 'try')),
    others.length > 0 && h('p', null, 'Other nodes have this page, too. On the machine of one of them, ', h('code', null, 'convoke dashboard'),
      ' says how to get in: ', others.map((it, at) => [at > 0 && ', ', h('b', null, it.name ?? it.id.slice(0, 10)), ' (', it.addresses.value?.[0] ?? 'address unknown', ')']), '.')));
}

line.addEventListener('silent', () => {
  // Once, and not each time the ages at the top grow.
  say('This node does not answer.');
  notice();
  frame();
  draw();
});
line.addEventListener('waiting', notice);
line.addEventListener('back', () => {
  notice();
  if (!state.session) return;
  say('The node answers again.');
  stream?.retry();
  readStatus().catch(() => {});
  readNodes().then(draw).catch(() => {});
  soon();
});
line.addEventListener('unknown', () => leave('The session is over. It ends after 12 hours, when you log out, and when the node starts again.'));

// --- What clicks, forms and filters do ---

const ACTS = {
  skip() { element('main').focus(); },
  theme() { say(`${toggleTheme() === 'dark' ? 'Dark' : 'Light'} colours.`); shown?.page.themed?.(); },
  menu(control) {
    const isOpen = element('menu').classList.toggle('open');
    control.setAttribute('aria-expanded', String(isOpen));
  },
  close,
  try() { line.tryNow(); },
  async logout() {
    await ask('DELETE', '/v1/session').catch(() => {});
    leave('You are logged out.');
  },
  async copy(control) {
    const text = element(control.dataset.from).textContent;
    try {
      await navigator.clipboard.writeText(text);
      control.textContent = 'Copied';
      say('Copied.');
    } catch {
      getSelection().selectAllChildren(element(control.dataset.from));
      control.textContent = 'Selected: copy it with the keyboard';
    }
  },
};

/** Carries out what an element names, and tells what goes wrong where somebody looks. */
async function act(control, data) {
  const does = shown?.page.acts?.[control.dataset.act] ?? ACTS[control.dataset.act];
  if (!does) return;
  const isBusy = control.getAttribute('aria-busy') === 'true';
  if (isBusy) return;
  control.setAttribute('aria-busy', 'true');
  try {
    await does(control, data);
  } catch (error) {
    if (!(error instanceof Problem || error instanceof Silence)) console.error(error);
    if (!state.session) return;
    if (element('dialog').open) return complain(error);
    shown.error = error;
    draw();
  } finally {
    control.removeAttribute('aria-busy');
  }
}

document.addEventListener('click', (event) => {
  const control = event.target.closest?.('[data-act]');
  if (!control || control.nodeName === 'FORM') return;
  event.preventDefault();
  act(control, control.dataset);
});
// Secrets and what was filled in do not stay behind.
element('dialog').addEventListener('close', () => element('dialog').replaceChildren());
document.addEventListener('submit', (event) => {
  event.preventDefault();
  if (event.target.dataset.act) act(event.target, fields(event.target));
});
document.addEventListener('input', (event) => {
  const name = event.target.dataset?.filter;
  if (!name || !shown) return;
  const { type, checked, value } = event.target;
  shown.page.filter?.(name, type === 'checkbox' ? checked : value);
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || !element('menu').classList.contains('open')) return;
  element('menu').classList.remove('open');
  frame();
});
window.addEventListener('hashchange', () => route());
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && state.session) reload();
});
setInterval(() => {
  tick();
  if (line.silentSince !== null) notice();
}, 1_000);
setInterval(() => {
  if (!document.hidden && state.session && line.silentSince === null && shown?.page !== overview) readStatus().catch(() => {});
}, 15_000);
// One node says nothing about the others; what does not change without an event is read now and then all the same.
setInterval(() => {
  if (!document.hidden && state.session && line.silentSince === null) nodesChanged();
}, 20_000);

begin();
