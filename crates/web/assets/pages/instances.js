// RPC services that nodes offer, and the instances of one: where they are, how they are, how busy. A selector chooses some by their tags.

import { all } from '../api.js';
import { h } from '../dom.js';
import { age, known, nodeLink, section, stamp, table } from '../parts.js';
import { count, spaced } from '../words.js';
import { reload } from '../app.js';

/** The selector of the page that is shown, and of which RPC service it is. */
let wanted = { service: null, selector: '' };

const link = (service) => h('a', { href: `#/instances/${encodeURIComponent(service)}` }, service);

function health(value) {
  const marks = { serving: ['good', '●'], 'not-serving': ['warn', '◐'], unreachable: ['warn', '◐'], failed: ['bad', '○'] };
  const [tone, mark] = marks[value] ?? ['quiet', '·'];
  return h('span', { class: `mark ${tone}` }, h('span', { 'aria-hidden': 'true' }, mark), ' ', spaced(value));
}

function services({ items, stamp: read, at }) {
  return [
    h('p', { class: 'quiet' }, count(items.length, 'RPC service'), ' · ', stamp(read, at)),
    table('RPC services', [{ head: 'Service' }, { head: 'Instances', tone: 'number' }, { head: 'Serving', tone: 'number' }, { head: 'Versions' }],
      items.map((it) => ({
        key: it.name,
        cells: [link(it.name), it.instances, it.serving < it.instances ? h('span', { class: `mark ${it.serving === 0 ? 'bad' : 'warn'}` }, it.serving) : it.serving,
          it.versions.length === 0 ? known(null) : it.versions.join(', ')],
      })), 'No node offers an RPC service.'),
  ];
}

function instances({ items, stamp: read, at }, service) {
  return [
    h('p', null, h('a', { href: '#/instances' }, 'All RPC services')),
    h('div', { class: 'filters', 'data-keep': service },
      h('form', { 'data-act': 'choose', class: 'row' },
        h('label', null, 'Selector ', h('input', { name: 'selector', type: 'search', autocomplete: 'off', placeholder: 'zone = eu and not spot', value: wanted.selector })),
        h('button', { type: 'submit' }, 'Choose'))),
    h('p', { class: 'quiet' }, count(items.length, 'instance'), wanted.selector !== '' && ' with such tags', ' · ', stamp(read, at)),
    section('Instances', null, table(`Instances of ${service}`, [{ head: 'Node' }, { head: 'Health' }, { head: 'Load', tone: 'number' }, { head: 'Version' }, { head: 'Address', tone: 'wide' }, { head: 'Tags', tone: 'wide' }],
      items.map((it) => ({
        key: it.node,
        cells: [nodeLink(it.node), health(it.health),
          it.load_permille === null ? known(null) : [`${Math.ceil(it.load_permille / 10)} %`, it.load_age_ms !== null && h('span', { class: 'quiet' }, ' ', age(at - it.load_age_ms), ' ago')],
          known(it.version), it.addresses.length === 0 ? known(null) : it.addresses.join(', '), it.tags.join(', ')],
      })), wanted.selector === '' ? 'Nobody offers it now.' : 'No instance has such tags.')),
  ];
}

export default {
  title: 'RPC services',
  titleOf: (service) => service ? `RPC service ${service}` : 'RPC services',
  every: 5_000,
  load(service) {
    if (!service) return all('/v1/instances');
    if (wanted.service !== service) wanted = { service, selector: '' };
    const chosen = wanted.selector === '' ? '' : `?selector=${encodeURIComponent(wanted.selector)}`;
    return all(`/v1/instances/${encodeURIComponent(service)}${chosen}`);
  },
  acts: {
    choose(form, { selector }) {
      wanted = { ...wanted, selector: selector.trim() };
      return reload();
    },
  },
  render: (data, { argument }) => argument ? instances(data, argument) : services(data),
};
