// All nodes, a hundred at a time: what is decided about each beside what is observed of it.
//
// However many there are, the table has at most PAGE rows, and only what differs of them is drawn again.

import { h } from '../dom.js';
import { age, button, known, nodeLink, select, stamp, table, verdict } from '../parts.js';
import { count, short } from '../words.js';
import { draw, readNodes, state } from '../app.js';

const PAGE = 100;
const ROLES = ['master', 'worker', 'gateway', 'leecher', 'observer'];
const VERDICTS = ['reachable', 'unreachable', 'failed', 'left'];
let wanted = { search: '', role: '', verdict: '' };
let from = 0;

const COLUMNS = [
  { head: 'Node' }, { head: 'Role', note: 'decided' }, { head: 'Verdict', note: 'observed' }, { head: 'Seen', tone: 'number' },
  { head: 'Version' }, { head: 'Address', tone: 'wide' },
];

function fits(it) {
  const role = it.role.value ?? it.role_seen.value;
  return (wanted.role === '' || role === wanted.role)
    && (wanted.verdict === '' || (it.verdict.value ?? 'unknown') === wanted.verdict)
    && (wanted.search === '' || `${it.name ?? ''} ${it.id} ${it.addresses.value ?? ''}`.toLowerCase().includes(wanted.search));
}

function row(it, at) {
  const isLeader = it.id === state.status?.leader.value;
  const votes = state.status?.voters.value?.includes(it.id);
  const isHere = it.id === state.status?.node_id;
  const differs = it.role.value !== null && it.role_seen.value !== null && it.role.value !== it.role_seen.value;
  return {
    key: it.id,
    cells: [
      [nodeLink(it.id), ' ', it.name !== null && h('code', { class: 'quiet' }, short(it.id)),
        isLeader && h('span', { class: 'tag lead' }, 'leader'), votes && !isLeader && h('span', { class: 'tag' }, 'voter'), isHere && h('span', { class: 'tag' }, 'this node')],
      [known(it.role.value ?? it.role_seen.value), differs && h('span', { class: 'mark warn' }, ` says ${it.role_seen.value}`),
        it.drained.value && h('span', { class: 'tag' }, 'drained')],
      verdict(it.verdict.value),
      it.verdict.age_ms === null ? h('span', { class: 'quiet' }, 'by others') : [age(at - it.verdict.age_ms), ' ago'],
      known(it.version.value),
      known(it.addresses.value?.join(', ')),
    ],
  };
}

export default {
  title: 'Nodes',
  every: 20_000,
  load: () => state.nodes ?? readNodes(),
  filter(name, value) {
    wanted = { ...wanted, [name]: name === 'search' ? value.trim().toLowerCase() : value };
    from = 0;
    draw();
  },
  acts: {
    page(control) {
      from = Number(control.dataset.from);
      draw();
      document.getElementById('main').scrollIntoView();
    },
  },
  render() {
    const { items, stamp: read, more, at } = state.nodes ?? { items: [], stamp: null };
    const found = items.filter(fits);
    if (from >= found.length) from = 0;
    const rows = found.slice(from, from + PAGE).map((it) => row(it, at));
    return [
      h('div', { class: 'filters', 'data-keep': true },
        h('label', null, 'Search ', h('input', { type: 'search', 'data-filter': 'search', autocomplete: 'off', placeholder: 'name, id or address', value: wanted.search })),
        h('label', null, 'Role ', select('role', [['', 'all'], ...ROLES.map((it) => [it, it])], wanted.role, { 'data-filter': 'role' })),
        h('label', null, 'Verdict ', select('verdict', [['', 'all'], ...VERDICTS.map((it) => [it, it])], wanted.verdict, { 'data-filter': 'verdict' }))),
      h('p', { class: 'quiet' }, count(found.length, 'node'), found.length < items.length && ` of ${items.length}`,
        more && ', and more than this page reads', ' · ', read && stamp(read, at)),
      table('Nodes, with what is decided about them and what is observed of them', COLUMNS, rows, 'No node fits.'),
      found.length > PAGE && h('div', { class: 'row pager' },
        button('Previous', 'page', { 'data-from': from - PAGE, disabled: from === 0 }),
        h('span', { class: 'quiet' }, `${from + 1} to ${Math.min(from + PAGE, found.length)} of ${found.length}`),
        button('Next', 'page', { 'data-from': from + PAGE, disabled: from + PAGE >= found.length })),
    ];
  },
};
