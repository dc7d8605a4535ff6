// One node: what is decided about it, what it says of itself, whom it watches, how its services do, and what it wrote down lately.

import { ask, get } from '../api.js';
import { h } from '../dom.js';
import { Stream } from '../live.js';
import { age, button, close, confirm, facts, known, nodeLink, open, say, section, select, stamp, table, time, verdict } from '../parts.js';
import { clock, short, span } from '../words.js';
import { draw, may, nameOf, reload, state } from '../app.js';

const LINES_MOST = 400;
const ROLES = ['master', 'worker', 'gateway', 'leecher', 'observer'];
const LEVELS = ['error', 'warn', 'info', 'debug', 'trace'];
/** From this doubt on a neighbour is worth a look. */
const DOUBTFUL = 3;

const log = { node: null, level: 'info', lines: [], follows: false, stream: null, trouble: null, missed: false };
const path = (node) => `/v1/nodes/${encodeURIComponent(node)}`;

async function readLog(node) {
  stopLog();
  Object.assign(log, { node, lines: [], trouble: null, missed: false });
  try {
    // The ring is read to its end, which is where people look.
    let cursor = null;
    for (let pages = 0; pages < 12; pages += 1) {
      const from = cursor === null ? '' : `&after=${encodeURIComponent(cursor)}`;
      const page = await get(`${path(node)}/logs?limit=500&level=${log.level}${from}`);
      if (log.node !== node) return;
      cursor = page.next;
      keep(page.items);
      if (page.items.length < 500) break;
    }
    if (log.follows) {
      log.stream = new Stream(`${path(node)}/logs?level=${log.level}`, 'line', cursor, {
        item: (line) => { keep([line]); drawSoon(); },
        gap: () => { log.missed = true; },
        problem: (problem) => { log.trouble = problem.detail; draw(); },
      }).start();
    }
  } catch (error) {
    log.trouble = error.message;
  }
  draw();
}

function keep(lines) {
  log.lines.push(...lines);
  if (log.lines.length > LINES_MOST) log.lines.splice(0, log.lines.length - LINES_MOST);
}

let timer = null;
function drawSoon() {
  timer ??= setTimeout(() => { timer = null; draw(); }, 250);
}

function stopLog() {
  log.stream?.stop();
  log.stream = null;
}

export default {
  title: 'Node',
  titleOf: (id, data) => data?.summary.name ?? nameOf(id) ?? short(id),
  every: 10_000,
  cares: (event, id) => event.node === id,
  load: async (id) => {
    // A node that plans no roles cannot say why one is as it is; all else it can.
    // Nor does a node that is away say what it turns.
    const [node, why, knobs] = await Promise.all([get(path(id)), get(`${path(id)}/role`).catch(() => null), get(`${path(id)}/adapt`).catch(() => null)]);
    return { ...node, why, knobs };
  },
  show(id) { readLog(id); },
  hide() { stopLog(); log.node = null; },
  filter(name, value) {
    if (name === 'level') log.level = value;
    else log.follows = value;
    readLog(log.node);
  },
  acts: {
    role() {
      const node = log.node;
      open('Give another role', h('form', { 'data-act': 'set-role', 'data-node': node },
        h('p', null, 'The node takes it as soon as that is decided: services it no longer needs are drained, others are started.'),
        h('div', { class: 'field' }, h('label', { for: 'f-role' }, 'Role'), select('role', ROLES.map((it) => [it, it]), null, { id: 'f-role' })),
        h('button', { type: 'submit', class: 'main' }, 'Decide')));
    },
    async 'set-role'(form, { role }) {
      await ask('PUT', `${path(form.dataset.node)}/role`, { json: { role } });
      done(`It is decided: the node is a ${role}.`);
    },
    async auto() {
      await ask('PUT', `${path(log.node)}/role/steer`, { json: { auto: true, pin: null } });
      done('Its role follows from what its machine can do and what the cluster needs.');
    },
    async drain(control) {
      const drain = control.dataset.drain === 'true';
      await ask('PUT', `${path(log.node)}/drain`, { json: { drain } });
      done(drain ? 'The node is taken out of use.' : 'The node is in use again.');
    },
    forget() {
      confirm('Forget this node?', 'Its certificate counts nowhere any more, at once and for good. To come back it has to join as a new node.', 'Forget it', 'do-forget', { 'data-node': log.node });
    },
    async 'do-forget'(form) {
      await ask('DELETE', path(form.dataset.node));
      done('The node is forgotten.');
      location.hash = '#/nodes';
    },
  },
  render(node, { at, argument }) {
    const { summary, record } = node;
    return [
      h('p', { class: 'quiet' }, h('a', { href: '#/nodes' }, 'Nodes'), ' / ', h('code', null, summary.id)),
      h('div', { class: 'columns even' },
        section('How it looks from here', stamp(summary.verdict, at), facts([
          ['Verdict', verdict(summary.verdict.value)],
          ['Incarnation', known(node.incarnation.value)],
          ['Address', known(summary.addresses.value?.join(', '))],
          ['Version', known(summary.version.value)],
          ['Says it is', known(summary.role_seen.value)],
          ['Whom it watches', h('a', { href: `#/watching/${encodeURIComponent(summary.id)}` }, 'in the picture')],
        ])),
        section('What is decided about it', stamp({ ...record, revision: record.value?.revision }, at), record.value ? facts([
          ['Role', known(record.value.role), summary.id === state.status?.leader.value && h('span', { class: 'tag lead' }, 'leader'),
            state.status?.voters.value?.includes(summary.id) && h('span', { class: 'tag' }, 'voter')],
          ['How it comes to it', how(record.value)],
          ['May become', record.value.allowed.join(', ')],
          ['In use', record.value.drained ? 'no, it is drained' : 'yes'],
          ['Keeps a log', record.value.has_log ? 'yes' : 'no'],
          ['Score', known(record.value.score)],
        ]) : h('p', { class: 'empty' }, 'Nothing: it is not enrolled, or this node does not know.'),
        record.value && (may('operate')
          ? h('div', { class: 'row' }, button('Give another role', 'role'),
            (record.value.by_hand || record.value.pinned) && button('Let it change by itself', 'auto'),
            button(record.value.drained ? 'Take into use' : 'Drain', 'drain', { 'data-drain': String(!record.value.drained) }),
            may('admin') && button('Forget', 'forget', { class: 'bad' }))
          : h('p', { class: 'quiet' }, `This session may look (${state.session.scope}) and decide nothing.`)))),
      node.why && section('Why it has this role', null, why(node.why)),
      section('Services', stamp(node.services, at), services(node.services, at)),
      node.knobs && section('What it turns by itself', h('span', { class: 'stamp observed' }, 'observed'), knobs(node.knobs)),
      h('div', { class: 'columns even' },
        section('Certificate', stamp({ kind: 'immutable' }), certificate(node.certificate, at)),
        section('Facts', stamp(summary.verdict, at), node.facts.length === 0
          ? h('p', { class: 'empty' }, 'It says nothing of itself.')
          : facts(node.facts.map((it) => [it.key, it.value])))),
      section('Doubt', h('span', { class: 'stamp observed' }, 'observed'), doubts(node.phi, at)),
      section('Log', null, logLines()),
    ];
  },
};

function knobs({ frozen, dry_run: dry, knobs: all, moves }) {
  const held = (knob) => (knob.fixed ? ', fixed' : knob.frozen ? ', frozen' : '');
  const obeyed = all.filter((knob) => knob.obeyed);
  return [
    frozen && h('p', null, 'All knobs are frozen: nothing is turned.'),
    dry && h('p', null, 'It says what it would turn, and turns nothing.'),
    table('Knobs of this node', [{ head: 'Knob' }, { head: 'Stands at' }, { head: 'Default' }, { head: 'Why', tone: 'wide' }], obeyed.map((knob) => ({
      key: knob.name,
      cells: [knob.name, `${amount(knob, knob.value)}${held(knob)}`, amount(knob, knob.default),
        knob.becomes === null ? knob.why : `goes to ${amount(knob, knob.becomes)}: ${knob.why}`],
    })), 'Nothing here obeys one.'),
    moves.length > 0 && h('p', { class: 'quiet' }, `Last: ${moves.at(-1).text}`),
  ];
}

/** As people count it. */
function amount(knob, value) {
  if (knob.unit === 'milliseconds') return `${value} ms`;
  return knob.unit === 'bytes' ? `${Math.floor(value / 1_000_000)} MB` : String(value);
}

function done(words) {
  close();
  say(words);
  return reload();
}

function how(record) {
  if (record.pinned) return `held to ${record.pinned}`;
  return record.by_hand ? 'set by hand' : 'by itself';
}

function why(it) {
  const rows = it.roles.flatMap((role) => role.checks.map((check) => ({
    key: `${role.role} ${check.measure}`,
    cells: [role.role, check.measure, level(check), check.found, `${check.source}, ${check.confidence}`],
  })));
  return [
    facts([
      ['Now', it.next],
      it.to_change && ['What would change it', it.to_change],
    ].filter(Boolean)),
    table('What roles ask of its machine', [{ head: 'Role' }, { head: 'Asks for' }, { head: 'Enough' }, { head: 'Found' }, { head: 'Where', tone: 'wide' }], rows, 'Nothing is known of its machine.'),
  ];
}

function level(check) {
  const [tone, word] = { meets: ['good', 'yes'], between: ['warn', 'to keep it'], below: ['bad', 'no'] }[check.level];
  return h('span', { class: `mark ${tone}` }, check.by_policy ? `${word}, by policy` : word);
}

function services(stated, at) {
  if (stated.value === null) return h('p', { class: 'empty' }, 'It did not say. A node that does not answer says nothing; leechers do not either.');
  const rows = stated.value.toSorted((a, b) => rank(a) - rank(b)).map((it) => ({
    key: it.name,
    cells: [it.name, mark(it), it.for_ms === null ? '' : age(at - it.for_ms), it.last_error ?? ''],
  }));
  return table('Services of this node', [{ head: 'Service' }, { head: 'State' }, { head: 'Since', tone: 'number' }, { head: 'Last error', tone: 'wide' }], rows, 'It has none.');
}

// What fails stands first, and what is not wanted last.
const rank = (it) => it.state === 'failed' ? 0 : !it.wanted || it.state === 'not-built' ? 2 : 1;

function mark(it) {
  const tone = it.state === 'failed' ? 'bad' : it.ready ? 'good' : it.wanted && it.state !== 'not-built' ? 'warn' : 'quiet';
  const word = it.state === 'running' ? (it.ready ? 'ready' : 'not ready') : it.state.replace('-', ' ');
  const sign = { bad: '○', good: '●', warn: '◐', quiet: '–' }[tone];
  return h('span', { class: `mark ${tone}` }, h('span', { 'aria-hidden': 'true' }, sign), ` ${word}`, !it.wanted && it.state !== 'not-built' && ', not wanted');
}

function certificate(stated) {
  const it = stated.value;
  if (it === null) return h('p', { class: 'empty' }, 'It did not say.');
  const left = it.not_after_unix_ms - Date.now();
  return facts([
    ['Signed by', h('code', { class: 'long' }, it.issuer)],
    ['Counts from', time(it.not_before_unix_ms)],
    ['Until', time(it.not_after_unix_ms), left > 0 ? ` (${span(left)} left)` : h('span', { class: 'mark bad' }, ' expired')],
    ['Allows', it.roles.join(', ')],
  ]);
}

function doubts(phi, at) {
  const rows = phi.map((it) => ({
    key: `${it.observer} ${it.peer}`,
    cells: [
      nodeLink(it.observer), nodeLink(it.peer),
      it.phi === null ? known(null) : h('span', { class: it.phi >= DOUBTFUL ? 'mark warn' : '' }, it.phi.toFixed(2)),
      known(it.rtt_us, (us) => `${(us / 1000).toFixed(us < 10_000 ? 2 : 0)} ms`),
      known(it.heard_ms_ago, (ms) => [age(at - ms), ' ago']),
    ],
  }));
  return table('Who watches whom, and how doubtful they are', [
    { head: 'Observer' }, { head: 'Watches' }, { head: 'Doubt (phi)', tone: 'number' }, { head: 'Round trip', tone: 'number' }, { head: 'Heard', tone: 'number' },
  ], rows, 'It told of nobody whom it watches.');
}

function logLines() {
  return [
    h('div', { class: 'filters', 'data-keep': true },
      h('label', null, 'Level ', select('level', LEVELS.map((it) => [it, it === 'error' ? 'errors only' : `${it} and graver`]), log.level, { 'data-filter': 'level' })),
      h('label', { class: 'tick' }, h('input', { type: 'checkbox', name: 'follow', 'data-filter': 'follow', checked: log.follows }), ' Follow')),
    log.trouble && h('p', { class: 'note' }, log.trouble),
    log.missed && h('p', { class: 'note' }, 'Some lines were gone before they were read.'),
    log.lines.length === 0 && !log.trouble
      ? h('p', { class: 'empty' }, 'No such lines.')
      : h('ol', { class: 'log', tabindex: 0, 'aria-label': 'Lines of the log, the newest first' }, log.lines.toReversed().map((line) => h('li', { 'data-key': line.cursor, class: line.level },
        h('time', null, clock(line.unix_ms)), h('b', null, line.level), h('span', { class: 'quiet' }, line.target), h('span', null, line.text)))),
  ];
}
