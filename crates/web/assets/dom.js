// Making elements, and bringing what is shown to what should be shown.
//
// Pages say what they look like now, as new elements; `morph` changes of the old ones what differs, so that focus, selection and
// scrolling stay. Text becomes text nodes and nothing else: whatever a node says, it is never read as markup.
// Elements have no listeners of their own; `data-act` names what a click or a submit does (app.js).

import { plain } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';

/** An element: `h('p', { class: 'note' }, 'text', other)`. Attributes that are null or false are left out; true is an empty one. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? '' : plain(String(value)));
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => child instanceof Node ? child : document.createTextNode(plain(String(child))));
}

/** Makes the children of an element look like these. Children with the same `data-key` are the same. */
export function morph(parent, ...wanted) {
  const known = new Map();
  for (const child of parent.children) {
    if (child.dataset?.key) known.set(child.dataset.key, child);
  }
  let at = parent.firstChild;
  for (const next of nodes(wanted)) {
    const key = next.dataset?.key;
    const have = key ? known.get(key) : at?.dataset?.key ? null : at;
    if (!have || have.nodeName !== next.nodeName) {
      parent.insertBefore(next, at);
      continue;
    }
    if (have === at) at = at.nextSibling;
    else parent.insertBefore(have, at);
    patch(have, next);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function patch(have, next) {
  if (have.nodeType === Node.TEXT_NODE) {
    if (have.data !== next.data) have.data = next.data;
    return;
  }
  // What somebody fills in or has opened is theirs.
  if (have.dataset.keep) return;
  for (const { name } of [...have.attributes]) {
    const isTheirs = name === 'open' && have.nodeName === 'DETAILS';
    if (!next.hasAttribute(name) && !isTheirs) have.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (have.getAttribute(name) !== value) have.setAttribute(name, value);
  }
  morph(have, ...next.childNodes);
}

/** What a form holds, by the names of its fields; of boxes that are ticked, the list. */
export function fields(form) {
  const found = {};
  for (const [name, value] of new FormData(form)) {
    if (name.endsWith('[]')) (found[name.slice(0, -2)] ??= []).push(value);
    else found[name] = value;
  }
  return found;
}
