// Who watches whom, as a picture and as a table with the same content.
//
// Above MOST nodes the picture is the neighbourhood of one: itself in the middle of the talk, those beside it, and how they watch each other.

import { get } from '../api.js';
import { h, s } from '../dom.js';
import { age, known, nodeLink, section, stamp, table, verdict } from '../parts.js';
import { count, short } from '../words.js';
import { nameOf } from '../app.js';

const MOST = 60;
const SIZE = 640, RADIUS = 205, NAME = 16;
/** Up to so many nodes their names stand upright; of more they follow the circle. */
const UPRIGHT = 16;

export default {
  title: 'Watching',
  titleOf: (id) => id ? `Watching around ${nameOf(id) ?? short(id)}` : 'Who watches whom',
  every: 10_000,
  cares: (event) => /^node-(joined|unreachable|reachable|left|failed|rejoined)$/.test(event.name),
  load: (around) => get(`/v1/watching?limit=${MOST}${around ? `&around=${encodeURIComponent(around)}` : ''}`),
  acts: {
    around(form, { node }) { location.hash = node.trim() ? `#/watching/${encodeURIComponent(node.trim())}` : '#/watching'; },
  },
  render(data, { at, argument }) {
    const isPart = data.nodes.length < data.total;
    return [
      h('p', null, 'Nodes watch their neighbours on a few rings, in both directions. Enough of those who watch somebody make a verdict; one alone does not.'),
      h('div', { class: 'filters', 'data-keep': argument ?? 'all' },
        h('form', { 'data-act': 'around', class: 'row' },
          h('label', null, 'Around ', h('input', { name: 'node', type: 'search', autocomplete: 'off', placeholder: 'name or id', value: argument ?? '' })),
          h('button', { type: 'submit' }, 'Show'))),
      h('p', { class: 'quiet' }, isPart
        ? `${count(data.nodes.length, 'node')} of ${data.total}: the neighbourhood of ${nameOf(data.around) ?? short(data.around ?? '')}`
        : `All ${count(data.total, 'node')}`, ' · ', count(data.links.length, 'pair'), ' · ', stamp(data.stamp, at)),
      picture(data),
      section('The same as a table', null, asTable(data, at)),
    ];
  },
};

function picture({ nodes, links, around }) {
  const places = new Map(nodes.map((node, index) => {
    const turn = 2 * Math.PI * index / nodes.length - Math.PI / 2;
    return [node.id, { x: SIZE / 2 + RADIUS * Math.cos(turn), y: SIZE / 2 + RADIUS * Math.sin(turn), turn }];
  }));
  const tones = new Map(nodes.map((node) => [node.id, node.verdict]));
  const edges = links.filter((link) => places.has(link.a) && places.has(link.b)).map((link) => {
    const [a, b] = [places.get(link.a), places.get(link.b)];
    const troubled = tones.get(link.a) !== 'reachable' || tones.get(link.b) !== 'reachable';
    const near = around !== null && (link.a === around || link.b === around);
    // Drawn towards the middle, so that edges of a circle can be told apart.
    const bend = (from) => (from + SIZE / 2) / 2;
    return s('path', {
      d: `M${a.x.toFixed(1)} ${a.y.toFixed(1)}Q${bend((a.x + b.x) / 2).toFixed(1)} ${bend((a.y + b.y) / 2).toFixed(1)} ${b.x.toFixed(1)} ${b.y.toFixed(1)}`,
      class: `edge${troubled ? ' troubled' : ''}${near ? ' near' : ''}`,
    });
  });
  const dots = nodes.map((node) => {
    const { x, y, turn } = places.get(node.id);
    const name = node.name ?? short(node.id);
    const label = name.length > NAME ? `${name.slice(0, NAME)}…` : name;
    return s('a', { href: `#/nodes/${encodeURIComponent(node.id)}`, class: `dot ${node.verdict ?? 'unknown'}${node.id === around ? ' chosen' : ''}`, tabindex: -1 },
      s('title', null, `${node.name ?? node.id}: ${node.verdict ?? 'unknown'}`),
      s('circle', { cx: x.toFixed(1), cy: y.toFixed(1), r: node.id === around ? 8 : 6 }),
      s('text', { ...beside(x, y, turn, nodes.length <= UPRIGHT), class: nodes.length > 36 && 'small' }, label));
  });
  return h('figure', { class: 'picture' },
    s('svg', { viewBox: `0 0 ${SIZE} ${SIZE}`, 'aria-hidden': 'true', focusable: 'false' }, edges, dots),
    h('figcaption', { class: 'quiet' }, 'Each line is a pair that watches each other. Dashed lines lead to somebody who does not answer. The table below says the same.'));
}

/** Where the name of a node stands: outside of the circle, and never on its head. */
function beside(x, y, turn, isUpright) {
  const [right, down] = [Math.cos(turn), Math.sin(turn)];
  const transform = `translate(${(x + 14 * right).toFixed(1)} ${(y + 14 * down).toFixed(1)})`;
  if (isUpright) {
    const anchor = Math.abs(right) < 0.3 ? 'middle' : right < 0 ? 'end' : 'start';
    return { transform, 'text-anchor': anchor, dy: `${(0.35 + 0.4 * down).toFixed(2)}em` };
  }
  const isLeft = right < -0.01;
  const degrees = turn * 180 / Math.PI + (isLeft ? 180 : 0);
  return { transform: `${transform} rotate(${degrees.toFixed(1)})`, 'text-anchor': isLeft ? 'end' : 'start', dy: '.35em' };
}

function asTable({ nodes, links }, at) {
  const beside = new Map(nodes.map((node) => [node.id, []]));
  for (const link of links) {
    beside.get(link.a)?.push([link.b, link]);
    beside.get(link.b)?.push([link.a, link]);
  }
  const rows = nodes.map((node) => {
    const own = beside.get(node.id).map(([, link]) => link).find((link) => link.heard_ms_ago !== null);
    return {
      key: node.id,
      cells: [nodeLink(node.id), verdict(node.verdict),
        beside.get(node.id).map(([other], n) => [n > 0 && ', ', nodeLink(other)]),
        own ? [known(own.phi, (phi) => phi.toFixed(2)), ' · heard ', age(at - own.heard_ms_ago), ' ago'] : h('span', { class: 'quiet' }, 'not watched from here')],
    };
  });
  return table('Who watches whom', [{ head: 'Node' }, { head: 'Verdict' }, { head: 'Watches and is watched by', tone: 'wide' }, { head: 'Doubt of this node' }], rows, 'Nobody is there yet.');
}
