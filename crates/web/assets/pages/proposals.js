// Proposals: what waits for votes, and what became of those that ended last. A vote is the vote of the node that serves this page.

import { all, ask } from '../api.js';
import { h } from '../dom.js';
import { button, nodeLink, say, section, table, time } from '../parts.js';
import { may, reload, state } from '../app.js';

const RULES = { majority: 'a majority', 'two-thirds': 'two thirds', all: 'all', weighted: 'more than half of the weight' };

/** A value of configuration, or its absence. */
export function valueText(value) {
  if (value === null || value === undefined) return h('i', null, 'its default');
  return h('code', { class: 'value' }, typeof value === 'string' ? `“${value}”` : String(value));
}

/** How the votes stand. */
export function standing(it) {
  const yes = it.electorate.filter((one) => one.yes === true).length;
  const no = it.electorate.filter((one) => one.yes === false).length;
  return `${yes} for, ${no} against, ${it.electorate.length} may vote; takes ${RULES[it.rule] ?? it.rule}`;
}

export default {
  title: 'Proposals',
  every: 10_000,
  cares: (event) => event.name.startsWith('proposal-'),
  load: () => all('/v1/proposals'),
  acts: {
    async vote(control) {
      const { id, yes } = control.dataset;
      await ask('POST', `/v1/proposals/${id}/votes`, { json: { yes: yes === 'true' } });
      say(`This node voted ${yes === 'true' ? 'for' : 'against'} proposal ${id}.`);
      await reload();
    },
    async withdraw(control) {
      await ask('DELETE', `/v1/proposals/${control.dataset.id}`);
      say('The proposal was taken back.');
      await reload();
    },
  },
  render({ items, stamp: read, at }) {
    const open = items.filter((it) => it.state === 'open');
    const ended = items.filter((it) => it.state !== 'open').toReversed();
    return [
      h('p', { class: 'quiet' }, 'To propose something, choose its key in the ', h('a', { href: '#/config' }, 'configuration'), '.'),
      section('Open', h('span', { class: 'stamp decided' }, `decided${read?.revision ? ` · r${read.revision}` : ''}`),
        open.length === 0 ? h('p', { class: 'empty' }, 'Nothing waits for votes.') : open.map(card)),
      section('Ended', null, table('Proposals that ended', [
        { head: 'Proposal' }, { head: 'Value', tone: 'wide' }, { head: 'Outcome' }, { head: 'Votes' }, { head: 'Made' }, { head: 'By' },
      ], ended.slice(0, 100).map((it) => ({
        key: it.id,
        cells: [[h('span', { class: 'quiet' }, `${it.id} `), it.key], valueText(it.value), outcome(it), standing(it), time(it.since_unix_ms), nodeLink(it.proposer)],
      })), 'None ended yet.')),
    ];
  },
};

function outcome(it) {
  const tones = { passed: 'good', failed: 'bad', expired: 'warn', withdrawn: 'quiet' };
  return h('span', { class: `mark ${tones[it.state]}` }, it.state, it.passed_as_version !== null && ` as version ${it.passed_as_version}`);
}

function card(it) {
  const mine = it.electorate.find((one) => one.node === state.status?.node_id);
  return h('article', { class: 'card', 'data-key': it.id, 'aria-label': `Proposal ${it.id}` },
    h('h3', null, h('span', { class: 'quiet' }, `${it.id} `), it.key, ' to ', valueText(it.value)),
    h('p', { class: 'quiet' }, 'Proposed by ', nodeLink(it.proposer), ' at ', time(it.since_unix_ms), '; votes count until ', time(it.until_unix_ms), '.'),
    h('p', null, standing(it), '.'),
    h('ul', { class: 'votes' }, it.electorate.map((one) => h('li', { 'data-key': one.node }, nodeLink(one.node), ' ',
      one.yes === null ? h('span', { class: 'quiet' }, 'did not vote yet') : h('span', { class: `mark ${one.yes ? 'good' : 'bad'}` }, one.yes ? 'for' : 'against')))),
    actions(it, mine));
}

function actions(it, mine) {
  if (!may('operate')) return h('p', { class: 'quiet' }, `This session may look (${state.session.scope}) and not vote.`);
  const withdraw = button('Withdraw', 'withdraw', { 'data-id': it.id, class: 'quiet' });
  if (!mine) return h('div', { class: 'row' }, h('p', { class: 'quiet' }, 'This node has no vote on it: it was no master when it was made.'), withdraw);
  if (mine.yes !== null) return h('div', { class: 'row' }, h('p', { class: 'quiet' }, `This node voted ${mine.yes ? 'for' : 'against'} it.`), withdraw);
  return h('div', { class: 'row' },
    button('Approve', 'vote', { 'data-id': it.id, 'data-yes': 'true', class: 'main', 'aria-label': `Approve proposal ${it.id}` }),
    button('Reject', 'vote', { 'data-id': it.id, 'data-yes': 'false', 'aria-label': `Reject proposal ${it.id}` }), withdraw);
}
