// Who may join and who may ask: tokens of both kinds, and the issuers who sign certificates. A secret is shown once, when it is made.

import { all, ask } from '../api.js';
import { h } from '../dom.js';
import { button, confirm, close, field, known, nodeLink, open, say, section, select, stamp, table, time } from '../parts.js';
import { short } from '../words.js';
import { reload } from '../app.js';

const ROLES = ['master', 'worker', 'gateway', 'leecher', 'observer'];
const TIMES = [['600000', '10 minutes'], ['3600000', '1 hour'], ['86400000', '1 day'], ['604800000', '7 days'], ['2592000000', '30 days']];
const YEARS = [['86400000', '1 day'], ['2592000000', '30 days'], ['31536000000', '1 year'], ['315360000000', '10 years']];

export default {
  title: 'Access',
  needs: 'admin',
  every: 30_000,
  cares: (event) => /token|issuer/.test(event.name),
  async load() {
    const [join, api, issuers] = await Promise.all([all('/v1/tokens'), all('/v1/api-tokens'), all('/v1/issuers')]);
    return { join, api, issuers };
  },
  acts: {
    'new-join'() {
      open('Let nodes join', h('form', { 'data-act': 'make-join' },
        h('fieldset', null, h('legend', null, 'They may become'), ROLES.map((role) => h('label', { class: 'tick' },
          h('input', { type: 'checkbox', name: 'roles[]', value: role, checked: true }), ` ${role}`))),
        field('How many nodes', h('input', { name: 'uses', type: 'number', min: 1, max: 10000, value: 1, required: true })),
        field('It counts for', select('ttl_ms', TIMES, '3600000')),
        h('button', { type: 'submit', class: 'main' }, 'Make a token')));
    },
    async 'make-join'(_, { roles, uses, ttl_ms: ttl }) {
      const made = await ask('POST', '/v1/tokens', { json: { roles: roles ?? [], uses: Number(uses), ttl_ms: Number(ttl) } });
      secret('A token for nodes', 'On each machine that is to join, once:', `convoke up --join ${made.token}`, ['It counts until ', time(made.until_unix_ms), '.']);
      await reload();
    },
    'new-api'() {
      open('Let a program ask', h('form', { 'data-act': 'make-api' },
        field('For whom or what', h('input', { name: 'name', required: true, maxlength: 128, autocomplete: 'off', placeholder: 'grafana' })),
        field('It may', select('scope', [['read', 'read: look at everything but tokens and the audit log'], ['operate', 'operate: write keys, give roles, vote'], ['admin', 'admin: everything']], 'read')),
        field('It counts for', select('ttl_ms', YEARS, '31536000000')),
        h('button', { type: 'submit', class: 'main' }, 'Make a token')));
    },
    async 'make-api'(_, { name, scope, ttl_ms: ttl }) {
      const made = await ask('POST', '/v1/api-tokens', { json: { name, scope, ttl_ms: Number(ttl) } });
      secret('A token for a program', 'The program sends this header with every request:', `Authorization: Bearer ${made.token}`, [`It may ${made.scope}.`]);
      await reload();
    },
    revoke(control) {
      const { id, kind } = control.dataset;
      confirm('Revoke this token?', kind === 'tokens' ? 'Nobody joins with it any more. Nodes that joined with it stay.' : 'Whoever asks with it is refused from now on.',
        'Revoke it', 'do-revoke', { 'data-id': id, 'data-kind': kind });
    },
    async 'do-revoke'(form) {
      await ask('DELETE', `/v1/${form.dataset.kind}/${encodeURIComponent(form.dataset.id)}`);
      close();
      say('The token is revoked.');
      await reload();
    },
  },
  render({ join, api, issuers }) {
    return [
      section('Tokens with which nodes join', h('span', { class: 'row' }, stamp(join.stamp, join.at), button('Let nodes join', 'new-join')),
        table('Tokens with which nodes join', [{ head: 'Token' }, { head: 'Allows' }, { head: 'Left', tone: 'number' }, { head: 'Until' }, { head: 'Made by' }, { head: 'Revoke' }],
          join.items.map((it) => ({ key: it.id, cells: [h('code', null, it.id), it.roles.join(', '), it.uses_left, until(it.until_unix_ms), maker(it.made_by), revoke('tokens', it.id)] })),
          'There are none. Nobody new can join until one is made.')),
      section('Tokens with which programs ask', h('span', { class: 'row' }, stamp(api.stamp, api.at), button('Let a program ask', 'new-api')),
        table('Tokens with which programs ask', [{ head: 'Name' }, { head: 'Token' }, { head: 'May' }, { head: 'Until' }, { head: 'Made by' }, { head: 'Revoke' }],
          api.items.map((it) => ({ key: it.id, cells: [it.name, h('code', null, it.id), it.scope, it.until_unix_ms === null ? 'it is revoked' : until(it.until_unix_ms), maker(it.made_by), revoke('api-tokens', it.id)] })),
          'There are none.')),
      section('Issuers, who sign certificates', h('span', { class: 'stamp immutable' }, 'immutable, named by their hash'),
        table('Issuers', [{ head: 'Fingerprint' }, { head: 'Whose' }, { head: 'State' }, { head: 'Since' }, { head: 'Counts until' }],
          issuers.items.map((it) => ({
            key: it.fingerprint,
            cells: [h('code', { title: it.fingerprint }, short(it.fingerprint)), known(it.node, nodeLink), h('span', { class: `mark ${it.state === 'active' ? 'good' : 'quiet'}` }, it.state),
              time(it.since_unix_ms), it.until_unix_ms === null ? 'as long as it signs' : time(it.until_unix_ms)],
          })), 'There are none.')),
    ];
  },
};

const until = (ms) => ms < Date.now() ? h('span', { class: 'quiet' }, 'over') : time(ms);
const maker = (who) => /^[0-9a-z]{40,}$/.test(who) ? nodeLink(who) : who;
const revoke = (kind, id) => button('Revoke', 'revoke', { 'data-id': id, 'data-kind': kind, class: 'link', 'aria-label': `Revoke ${id}` });

/** Shown this once: it is kept nowhere, not even here. */
function secret(title, words, text, note) {
  open(title, h('p', null, words), h('pre', { class: 'secret', tabindex: 0 }, h('code', { id: 'secret' }, text)),
    h('div', { class: 'row' }, button('Copy', 'copy', { 'data-from': 'secret', class: 'main' })),
    h('p', { class: 'note' }, 'This is shown once. ', note));
}
