// The cluster at a glance: is it well, and if not, what is wrong and what to do.

import { get, line } from '../api.js';
import { h } from '../dom.js';
import { age, facts, known, nodeLink, section, stamp, time, worded } from '../parts.js';
import { count, short, span, whole } from '../words.js';
import { readStatus, state } from '../app.js';
import { eventRows } from './events.js';
import { standing, valueText } from './proposals.js';

export default {
  title: 'Overview',
  every: 5_000,
  cares: () => true,
  async load() {
    const [status, proposals] = await Promise.all([readStatus(), get('/v1/proposals?limit=100').catch(() => null)]);
    return { status, proposals };
  },
  render({ status, proposals }, { at }) {
    const open = proposals?.items.filter((it) => it.state === 'open') ?? [];
    return [
      verdictOf(status),
      h('div', { class: 'figures' }, figures(status, at)),
      h('div', { class: 'columns' },
        section('Latest events', h('a', { href: '#/events' }, 'All events'), eventRows(state.events.slice(-10), 'Nothing has happened since this node started.')),
        h('div', null,
          section('Open proposals', h('a', { href: '#/proposals' }, 'All proposals'), openProposals(open)),
          section('This node', null, thisNode(status, at)))),
    ];
  },
};

function verdictOf(status) {
  if (status.healthy && line.silentSince !== null) {
    return h('div', { class: 'verdict old' }, h('p', null, h('strong', null, 'The cluster was healthy when this node last answered.')));
  }
  if (status.healthy) {
    return h('div', { class: 'verdict good' }, h('p', null, h('span', { 'aria-hidden': 'true' }, '● '), h('strong', null, 'The cluster is healthy.')));
  }
  const many = status.problems.length;
  return h('div', { class: 'verdict bad' },
    h('p', null, h('span', { 'aria-hidden': 'true' }, '▲ '), h('strong', null, many === 1 ? 'One thing is wrong.' : `${many} things are wrong, the worst first.`)),
    h('ol', null, status.problems.map((problem) => h('li', { 'data-key': `${problem.code} ${problem.what}` },
      h('p', null, h('strong', null, worded(problem.what)), ' ', h('code', { class: 'quiet' }, problem.code)),
      h('p', null, worded(problem.what_to_do))))));
}

function figures(status, at) {
  const members = status.members.value;
  const total = members && members.reachable + members.unreachable + members.failed;
  return [
    figure('Nodes that answer', status.members, at, known(members, (it) => [whole(it.reachable), h('small', null, ` of ${whole(total)}`)]),
      members && [members.unreachable > 0 && `${members.unreachable} unreachable`, members.failed > 0 && `${members.failed} failed`,
        members.left > 0 && `${members.left} left`].filter(Boolean).join(', ')),
    figure('Leader', status.leader, at, known(status.leader.value, nodeLink), status.term.value !== null && `term ${whole(status.term.value)}`),
    figure('Voters', status.voters, at, known(status.voters.value, (it) => whole(it.length)),
      status.voters.value?.slice(0, 5).map((id, n) => [n > 0 && ', ', nodeLink(id)])),
    figure('Decided up to', status.applied, at, known(status.applied.value, (it) => `r${it}`),
      status.frozen.value ? 'changes of ownership are frozen' : null),
  ];
}

function figure(name, stated, at, value, note) {
  return h('div', { class: 'figure' }, h('h2', null, name), h('p', { class: 'value' }, value), h('p', { class: 'quiet' }, note || '\u00a0'), stamp(stated, at));
}

function openProposals(open) {
  if (open.length === 0) return h('p', { class: 'empty' }, 'Nothing waits for votes.');
  return h('ul', { class: 'lines' }, open.slice(0, 5).map((it) => h('li', { 'data-key': it.id },
    h('p', null, h('a', { href: '#/proposals' }, `${it.id}: `, h('b', null, it.key), ' to ', valueText(it.value))),
    h('p', { class: 'quiet' }, standing(it), ' · until ', time(it.until_unix_ms)))));
}

function thisNode(status, at) {
  const failing = status.services.filter((it) => it.wanted && it.state !== 'not-built' && !it.ready);
  return facts([
    ['Node', nodeLink(status.node_id)],
    ['Role', known(status.role.value), ' ', stamp(status.role, at)],
    ['Runs for', span(status.uptime_ms)],
    ['Version', status.version],
    ['Cluster', status.cluster_id ? h('code', { title: status.cluster_id }, short(status.cluster_id)) : known(null)],
    ['Services', failing.length === 0 ? 'all that it wants are ready' : count(failing.length, 'is', 'are') + ' not ready: ' + failing.map((it) => it.name).join(', ')],
    ['Read', age(at), ' ago'],
  ]);
}
