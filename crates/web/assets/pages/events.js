// What happened, as it comes. The newest stands first.

import { h } from '../dom.js';
import { nodeLink, select, sentence, time } from '../parts.js';
import { count, spaced } from '../words.js';
import { draw, state } from '../app.js';

const SHOWN = 200;
let kind = '', search = '';

/** Events as lines, the newest first. */
export function eventRows(events, empty) {
  if (events.length === 0) return h('p', { class: 'empty' }, empty);
  return h('ol', { class: 'events', reversed: true }, events.toReversed().map((it) => h('li', { 'data-key': it.cursor, class: it.kind },
    time(it.unix_ms),
    h('span', { class: 'what' }, sentence(it.text), it.node !== null && [' ', nodeLink(it.node)]),
    h('span', { class: 'quiet name' }, spaced(it.name)),
    h('span', { class: `stamp ${it.kind}` }, it.kind, it.revision !== null && ` · r${it.revision}`))));
}

export default {
  title: 'Events',
  every: 60_000,
  filter(name, value) {
    if (name === 'kind') kind = value;
    else search = value.toLowerCase();
    draw();
  },
  render() {
    const fits = (it) => (kind === '' || it.kind === kind) && (search === '' || `${it.name} ${it.text} ${it.node ?? ''}`.toLowerCase().includes(search));
    const found = state.events.filter(fits);
    return [
      h('div', { class: 'filters', 'data-keep': true },
        h('label', null, 'Search ', h('input', { type: 'search', 'data-filter': 'search', autocomplete: 'off', value: search })),
        h('label', null, 'Kind ', select('kind', [['', 'all'], ['observed', 'observed'], ['decided', 'decided']], kind, { 'data-filter': 'kind' }))),
      state.missed && h('p', { class: 'note' }, 'Some events were gone before this page read them; everything else was read anew.'),
      h('p', { class: 'quiet' }, `${count(found.length, 'event')} of the last ${state.events.length}`, found.length > SHOWN && `, the newest ${SHOWN} shown`),
      eventRows(found.slice(-SHOWN), state.events.length > 0 ? 'None of them fits.' : 'Nothing has happened since this node started.'),
    ];
  },
};
