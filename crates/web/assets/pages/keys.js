// Keys of the store: a page at a time, what each holds, and changing it under a condition.

import { ask, get } from '../api.js';
import { h } from '../dom.js';
import { button, close, confirm, field, open, say, select, stamp, table } from '../parts.js';
import { count, keyText, plain, readable, unbase64, whole } from '../words.js';
import { draw, may, reload } from '../app.js';

const PAGE = 100;
let prefix = '';
/** Where the pages before this one began, so that there is a way back. */
let trail = [''];
let timer = null;

const path = (key) => `/v1/kv/${key}`;

export default {
  title: 'Keys',
  every: 15_000,
  // Events do not tell of keys, so it is read now and then.
  load() {
    const after = trail.at(-1);
    return get(`/v1/kv?limit=${PAGE}&prefix=${encodeURIComponent(prefix)}${after ? `&after=${encodeURIComponent(after)}` : ''}`)
      .then((page) => ({ ...page, at: Date.now() }));
  },
  filter(_, value) {
    prefix = value;
    trail = [''];
    clearTimeout(timer);
    timer = setTimeout(reload, 250);
  },
  acts: {
    next(control) { trail.push(control.dataset.after); return reload(); },
    previous() { trail.pop(); return reload(); },
    look: (control) => look(control.dataset.entry),
    new() { open('Write a key', form(null, '', null)); },
    async put(control, { key, value, condition }) {
      const at = control.dataset.entry ?? encodeURIComponent(key);
      const { revision } = await ask('PUT', path(at), { bytes: new TextEncoder().encode(value), headers: only(condition) });
      done(`The key was written in r${revision}.`);
    },
    remove(control) {
      const { entry, revision } = control.dataset;
      confirm(`Remove ${keyText(entry)}?`, `Only if it was written last in r${revision}, as you saw it.`, 'Remove it', 'do-remove', { 'data-entry': entry, 'data-revision': revision });
    },
    async 'do-remove'(form) {
      await ask('DELETE', path(form.dataset.entry), { headers: only(form.dataset.revision) });
      done('The key was removed.');
    },
  },
  aside: () => may('operate') && button('Write a key', 'new'),
  render({ items, next, stamp: read, at }) {
    return [
      h('div', { class: 'filters', 'data-keep': true },
        h('label', null, 'Begins with ', h('input', { type: 'search', 'data-filter': 'prefix', autocomplete: 'off', spellcheck: 'false', value: prefix }))),
      h('p', { class: 'quiet' }, count(items.length, 'key'), ' on this page · ', stamp(read, at)),
      table('Keys', [{ head: 'Key' }, { head: 'Value', tone: 'wide' }, { head: 'Bytes', tone: 'number' }, { head: 'Written', tone: 'number' }], items.map((it) => {
        const bytes = unbase64(it.value_base64);
        const { text, isText } = readable(bytes.slice(0, 96));
        return {
          key: it.key,
          cells: [button(keyText(it.key), 'look', { class: 'link', 'data-entry': it.key }),
            h('code', { class: isText ? 'value' : 'value quiet' }, text.split('\n')[0].slice(0, 80), bytes.length > 80 && '…'), whole(bytes.length), `r${it.revision}`],
        };
      }), prefix ? 'No key begins so.' : 'There are no keys.'),
      (trail.length > 1 || next !== null) && h('div', { class: 'row pager' },
        button('Previous', 'previous', { disabled: trail.length === 1 }), button('Next', 'next', { 'data-after': next ?? '', disabled: next === null })),
    ];
  },
};

async function look(key) {
  const { bytes, headers } = await ask('GET', path(key));
  const revision = (headers.get('etag') ?? '').replaceAll('"', '');
  const { text, isText } = readable(bytes);
  const isEditable = isText && plain(text) === text;
  open(keyText(key),
    h('p', { class: 'quiet' }, count(bytes.length, 'byte'), isText ? '' : ', which are no text', ' · written in ', h('span', { class: 'stamp decided' }, `decided · r${revision}`)),
    may('operate') && isEditable ? form(key, text, revision) : h('pre', { tabindex: 0 }, text),
    may('operate') && isText && !isEditable && h('p', { class: 'note' }, 'It has characters that cannot be seen, which writing it here would lose. ', h('code', null, 'convoke kv put'), ' keeps them.'),
    may('operate') && h('div', { class: 'row' }, button('Remove', 'remove', { 'data-entry': key, 'data-revision': revision, class: 'bad' })));
}

function form(key, text, revision) {
  const conditions = [
    revision !== null && [revision, `it is as I saw it (r${revision})`],
    ['absent', 'it is not there yet'], ['present', 'it is there'], ['always', 'always, whatever is there'],
  ].filter(Boolean);
  return h('form', { 'data-act': 'put', 'data-entry': key },
    key === null && field('Key', h('input', { name: 'key', required: true, maxlength: 512, autocomplete: 'off', spellcheck: 'false', placeholder: 'app/colour' })),
    field('Value', h('textarea', { name: 'value', rows: 6, maxlength: 4096, spellcheck: 'false' }, text), 'Text, at most 4,096 bytes.'),
    field('Write only if', select('condition', conditions, revision ?? 'absent')),
    h('button', { type: 'submit', class: 'main' }, 'Write'));
}

function only(condition) {
  if (condition === 'always') return {};
  if (condition === 'absent') return { 'If-None-Match': '*' };
  return { 'If-Match': condition === 'present' ? '*' : `"${condition}"` };
}

function done(words) {
  close();
  say(words);
  draw();
  return reload();
}
