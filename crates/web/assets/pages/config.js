// Configuration by vote: what each key holds, which differ from their default, and proposing another value.

import { all, ask, get } from '../api.js';
import { h } from '../dom.js';
import { button, close, field, open, say, select, stamp, table, time } from '../parts.js';
import { count, plain } from '../words.js';
import { draw, may, reload } from '../app.js';
import { valueText } from './proposals.js';

const RULES = [['majority', 'a majority of the masters'], ['two-thirds', 'two thirds'], ['all', 'all']];
const TIMES = [['60000', '1 minute'], ['600000', '10 minutes'], ['3600000', '1 hour'], ['86400000', '1 day']];
const wanted = { search: '', changed: false };

export default {
  title: 'Configuration',
  every: 15_000,
  cares: (event) => event.name.startsWith('proposal-'),
  load: () => all('/v1/config'),
  filter(name, value) {
    wanted[name] = name === 'search' ? value.trim().toLowerCase() : value;
    draw();
  },
  acts: {
    async look(control) {
      const key = control.dataset.setting;
      const [{ item }, history] = await Promise.all([
        get(`/v1/config/${encodeURIComponent(key)}`), get(`/v1/config/${encodeURIComponent(key)}/history?limit=20`)]);
      open(key,
        item.description && h('p', null, item.description),
        h('p', null, 'Holds ', valueText(item.value), item.version === 0 ? ', its default.' : `, version ${item.version}, decided in r${item.revision}.`),
        may('operate') ? form(item) : null,
        h('h3', null, 'Versions'),
        table('Versions of this key', [{ head: 'Version' }, { head: 'Value', tone: 'wide' }, { head: 'Since' }, { head: 'Proposal' }],
          history.items.map((it) => ({ key: it.version, cells: [it.version, valueText(it.value), time(it.since_unix_ms), it.proposal] })), 'It was never anything but its default.'));
    },
    new() { open('Propose a key of your own', h('p', null, 'Keys of other programs begin with ', h('code', null, 'app.'), '.'), form(null)); },
    async propose(control, data) {
      const key = control.dataset.setting ?? data.key.trim();
      const json = { key, value: typed(data), rule: data.rule, voting_ms: Number(data.voting_ms) };
      if (control.dataset.version) json.expect_version = Number(control.dataset.version);
      done(await ask('POST', '/v1/proposals', { json }));
    },
    async default(control) { done(await ask('DELETE', `/v1/config/${encodeURIComponent(control.dataset.setting)}`)); },
  },
  aside: () => may('operate') && button('Propose a key of your own', 'new'),
  render({ items, stamp: read, at }) {
    const fits = (it) => (!wanted.changed || it.version > 0) && (wanted.search === '' || `${it.key} ${it.description ?? ''}`.toLowerCase().includes(wanted.search));
    const found = items.filter(fits);
    return [
      h('div', { class: 'filters', 'data-keep': true },
        h('label', null, 'Search ', h('input', { type: 'search', 'data-filter': 'search', autocomplete: 'off', value: wanted.search })),
        h('label', { class: 'tick' }, h('input', { type: 'checkbox', name: 'changed', 'data-filter': 'changed', checked: wanted.changed }), ' Only what differs from its default')),
      h('p', { class: 'quiet' }, count(found.length, 'key'), ' · ', stamp(read, at)),
      table('Configuration', [{ head: 'Key' }, { head: 'Value', tone: 'wide' }, { head: 'Decided' }, { head: 'What it is for', tone: 'wide' }],
        found.map((it) => ({
          key: it.key,
          cells: [
            button(it.key, 'look', { class: 'link', 'data-setting': it.key }),
            [valueText(it.value), it.open_proposal !== null && [' ', h('a', { href: '#/proposals', class: 'tag' }, `proposal ${it.open_proposal}`)]],
            it.version === 0 ? h('span', { class: 'quiet' }, 'default') : h('span', { class: 'mark changed' }, `version ${it.version}, r${it.revision}`),
            it.description ?? '',
          ],
        })), 'No key fits.'),
    ];
  },
};

/** The form that proposes a value; `item` is the key as it is, or null for a new one. */
function form(item) {
  const kind = item === null ? 'text' : { boolean: 'flag', number: 'number', string: 'text' }[typeof item.value];
  const control = kind === 'flag' ? select('value', [['true', 'true'], ['false', 'false']], String(!item.value))
    : h('input', { name: 'value', type: kind === 'number' ? 'number' : 'text', step: kind === 'number' ? 1 : null, required: kind === 'number', value: item !== null && plain(String(item.value)) === String(item.value) ? item.value : '', maxlength: 2048 });
  return h('form', { 'data-act': 'propose', 'data-setting': item?.key, 'data-version': item === null ? null : String(item.version) },
    item === null && field('Key', h('input', { name: 'key', required: true, maxlength: 128, placeholder: 'app.colour' })),
    item === null ? field('Kind', select('kind', [['text', 'text'], ['number', 'whole number'], ['flag', 'true or false']], 'text')) : h('input', { type: 'hidden', name: 'kind', value: kind }),
    field('New value', control),
    field('It takes', select('rule', RULES, 'majority')),
    field('Votes count for', select('voting_ms', TIMES, '600000')),
    h('div', { class: 'row' }, h('button', { type: 'submit', class: 'main' }, 'Propose'),
      item !== null && item.version > 0 && button('Propose its default', 'default', { 'data-setting': item.key })));
}

function typed({ kind, value }) {
  if (kind === 'flag') return value.trim() === 'true';
  if (kind === 'number') return Number(value);
  return value;
}

async function done(proposal) {
  close();
  say(`Proposal ${proposal.id} is made.`);
  location.hash = '#/proposals';
  await reload();
}
