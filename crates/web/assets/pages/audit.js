// Who changed what, from where, in which revision, and what came of it. Decided state like everything it tells of.

import { get } from '../api.js';
import { h } from '../dom.js';
import { button, stamp, table, time } from '../parts.js';
import { count, spaced } from '../words.js';
import { draw } from '../app.js';

const SHOWN = 100, KEPT = 5_000, PAGES_AT_ONCE = 30;
/** Entries of pages that are full, which do not change any more, and where the page behind them begins. */
let full = [], cursor = null;
let from = 0;

export default {
  title: 'Audit log',
  needs: 'admin',
  every: 15_000,
  cares: (event) => event.kind === 'decided',
  // The API begins with the oldest, and people look at the newest: it is read to its end once, and then only its last page.
  async load() {
    let page;
    for (let pages = 0; pages < PAGES_AT_ONCE; pages += 1) {
      page = await get(`/v1/audit?limit=1000${cursor === null ? '' : `&after=${encodeURIComponent(cursor)}`}`);
      if (page.next === null) break;
      full = [...full, ...page.items].slice(-KEPT);
      cursor = page.next;
    }
    const last = page.next === null ? page.items : [];
    return { items: [...full, ...last].toReversed(), stamp: page.stamp, at: Date.now() };
  },
  acts: {
    page(control) {
      from = Number(control.dataset.from);
      draw();
    },
  },
  render({ items, stamp: read, at }) {
    const tones = { done: 'good', refused: 'bad', unknown: 'warn' };
    if (from >= items.length) from = 0;
    return [
      h('p', { class: 'quiet' }, count(items.length, 'entry', 'entries'), ' · ', stamp(read, at)),
      table('Audit log, the newest first', [{ head: 'When' }, { head: 'Who' }, { head: 'What' }, { head: 'To what', tone: 'wide' }, { head: 'Outcome' }, { head: 'From', tone: 'wide' }],
        items.slice(from, from + SHOWN).map((it) => ({
          key: it.id,
          cells: [time(it.unix_ms), it.who, it.operation, it.target,
            [h('span', { class: `mark ${tones[it.outcome]}` }, spaced(it.outcome)), it.revision !== null && h('span', { class: 'quiet' }, ` r${it.revision}`), it.why && `: ${it.why}`],
            h('span', { class: 'quiet' }, it.from)],
        })), 'Nobody has changed anything yet.'),
      items.length > SHOWN && h('div', { class: 'row pager' },
        button('Newer', 'page', { 'data-from': Math.max(0, from - SHOWN), disabled: from === 0 }),
        h('span', { class: 'quiet' }, `${from + 1} to ${Math.min(from + SHOWN, items.length)} of ${items.length}`),
        button('Older', 'page', { 'data-from': from + SHOWN, disabled: from + SHOWN >= items.length })),
    ];
  },
};
