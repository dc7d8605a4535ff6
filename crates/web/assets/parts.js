// What several pages are made of: stamps, verdicts, tables, dialogs, and how something that went wrong is told.

import { h, morph } from './dom.js';
import { Problem } from './api.js';
import { moment, short, span, spaced } from './words.js';
import { nameOf } from './app.js';

/** An age that goes on growing: `tick` rewrites it. `at` is when it was zero, by this machine's clock. */
export function age(at) {
  return h('span', { 'data-age': Math.round(at) }, span(Date.now() - at));
}

/** Brings all ages up to now. */
export function tick() {
  for (const element of document.querySelectorAll('[data-age]')) {
    const text = span(Date.now() - Number(element.dataset.age));
    if (element.firstChild.data !== text) element.firstChild.data = text;
  }
}

/** Of which kind of state something is: a report with its age, what was agreed with its revision, or what is named by its hash. */
export function stamp({ kind, age_ms: ageMs, revision }, at) {
  if (kind === 'immutable') return h('span', { class: 'stamp immutable' }, 'immutable');
  if (kind === 'decided') {
    return h('span', { class: 'stamp decided' }, 'decided', revision !== null && revision !== undefined ? ` · r${revision}` : '');
  }
  const old = ageMs === null || ageMs === undefined ? 'age unknown' : age(at - ageMs);
  return h('span', { class: 'stamp observed' }, 'observed · ', old, ageMs === null || ageMs === undefined ? '' : ' ago');
}

/** A value or the word for not knowing it. */
export const known = (value, shown = (it) => it) => value === null || value === undefined
  ? h('span', { class: 'unknown' }, 'unknown') : shown(value);

/** How a node looks, as a mark that does without its colour. */
export function verdict(value) {
  const marks = { reachable: ['good', '●'], unreachable: ['warn', '◐'], failed: ['bad', '○'], left: ['quiet', '–'] };
  const [tone, mark] = marks[value] ?? ['quiet', '·'];
  return h('span', { class: `mark ${tone}` }, h('span', { 'aria-hidden': 'true' }, mark), ' ', value ?? 'unknown');
}

/** A node by the name people know, with a way to its page. */
export function nodeLink(id) {
  return h('a', { href: `#/nodes/${encodeURIComponent(id)}`, title: id }, nameOf(id) ?? short(id));
}

export const time = (ms) => h('time', { datetime: iso(ms), title: iso(ms) }, moment(ms));

function iso(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString();
}

/**
 * A table. `columns` are `{ head, note?, tone? }`; `rows` are `{ key, cells }`. On narrow screens rows become cards, so each cell knows
 * the name of its column; the roles are there because some browsers forget them then.
 */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h('p', { class: 'empty' }, empty);
  const head = columns.map(({ head, note, tone }) => h('th', { scope: 'col', role: 'columnheader', class: tone },
    head, note && h('small', null, ' ', note)));
  const body = rows.map(({ key, cells, tone }) => h('tr', { role: 'row', 'data-key': key, class: tone }, cells.map((cell, at) => {
    const attributes = { class: columns[at].tone, 'data-head': columns[at].head };
    return at === 0
      ? h('th', { scope: 'row', role: 'rowheader', ...attributes }, h('div', null, cell))
      : h('td', { role: 'cell', ...attributes }, h('div', null, cell));
  })));
  return h('table', { role: 'table' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)),
    h('tbody', { role: 'rowgroup' }, body));
}

/** Names and values, side by side. */
export function facts(pairs) {
  return h('dl', { class: 'facts' }, pairs.filter(Boolean).map(([name, ...value]) => h('div', null, h('dt', null, name), h('dd', null, value))));
}

/** A part of a page with its heading; `aside` stands beside the heading. */
export function section(title, aside, ...children) {
  const id = `s-${title.toLowerCase().replace(/[^a-z]+/g, '-')}`;
  return h('section', { 'aria-labelledby': id }, h('div', { class: 'head' }, h('h2', { id }, title), aside), children);
}

export function button(text, act, attributes = {}) {
  return h('button', { type: 'button', 'data-act': act, ...attributes }, text);
}

/** A field of a form with its label. */
export function field(label, control, hint) {
  const id = `f-${control.getAttribute('name')}`.replace(/[^\w-]/g, '');
  control.id = id;
  if (hint) control.setAttribute('aria-describedby', `${id}-hint`);
  return h('div', { class: 'field' }, h('label', { for: id }, label), control, hint && h('small', { id: `${id}-hint` }, hint));
}

export function select(name, options, chosen, attributes = {}) {
  return h('select', { name, ...attributes },
    options.map(([value, text]) => h('option', { value, selected: String(value) === String(chosen) }, text)));
}

/** What went wrong, as a sentence and what to do. */
export function trouble(error) {
  const words = error instanceof Problem
    ? [error.message, error.whatToDo] : [error.message, null];
  return h('div', { class: 'trouble', role: 'alert' }, h('p', null, h('strong', null, worded(words[0]))),
    words[1] && h('p', null, worded(words[1])),
    error.code && h('p', { class: 'quiet' }, spaced(error.code), error.instance && [' · ', h('code', null, error.instance)]));
}

/** A sentence in which what stands between backticks is code. */
export function worded(text) {
  return sentence(text).split('`').map((part, at) => at % 2 === 1 ? h('code', null, part) : part);
}

/** With a capital letter and a full stop. */
export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(whole) ? whole : `${whole}.`;
}

const dialog = () => document.getElementById('dialog');

/** Opens a dialog; Escape, and the browser's own way, close it and give the focus back. */
export function open(title, ...children) {
  const box = dialog();
  // What was filled in before belongs to another question.
  box.replaceChildren(h('div', { class: 'head' }, h('h2', { id: 'dialog-title' }, title),
    button('Close', 'close', { class: 'quiet' })), h('div', { class: 'inside' }, children));
  if (!box.open) box.showModal();
  (box.querySelector('.inside input:not([type=hidden]), .inside select, .inside textarea, .inside button') ?? box).focus();
}

export const close = () => dialog().close();

/** Tells in the open dialog what went wrong. */
export function complain(error) {
  const inside = dialog().querySelector('.inside');
  inside.querySelector('.trouble')?.remove();
  inside.prepend(trouble(error));
}

/** A question before something that cannot be taken back. */
export function confirm(title, words, text, act, data = {}) {
  open(title, h('p', null, words), h('form', { 'data-act': act, ...data }, h('div', { class: 'row' }, h('button', { type: 'submit', class: 'bad' }, text))));
}

/** Says something to those who hear the page, and shows it for a moment. */
export function say(text) {
  const said = document.getElementById('said');
  morph(said, text);
}
