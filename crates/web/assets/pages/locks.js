// Locks that are held. They are taken over links between nodes, where a lost session is noticed, so there is nothing to press here.

import { all } from '../api.js';
import { h } from '../dom.js';
import { nodeLink, stamp, table, time } from '../parts.js';
import { count, span } from '../words.js';

export default {
  title: 'Locks',
  every: 5_000,
  load: () => all('/v1/locks'),
  render({ items, stamp: read, at }) {
    return [
      h('p', { class: 'quiet' }, count(items.length, 'lock'), ' held · ', stamp(read, at)),
      table('Locks', [{ head: 'Lock' }, { head: 'Held by' }, { head: 'Fence', tone: 'number' }, { head: 'Since' }, { head: 'Until' }, { head: 'Wait', tone: 'number' }],
        items.map((it) => ({
          key: it.name,
          cells: [it.name, [nodeLink(it.holder.node), it.holder.note && h('span', { class: 'quiet' }, ` ${it.holder.note}`)], it.holder.fence,
            time(it.holder.since_unix_ms), [time(it.holder.until_unix_ms), h('span', { class: 'quiet' }, ` (lease ${span(it.holder.lease_ms)})`)], it.waiting],
        })), 'Nobody holds a lock.'),
    ];
  },
};
