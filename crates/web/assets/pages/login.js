// The way in: without a session nothing is shown but how to get one.

import { h } from '../dom.js';
import { Problem } from '../api.js';
import { field, sentence } from '../parts.js';
import { enter } from '../app.js';

export default {
  title: 'Log in',
  acts: {
    login: (form, { token }) => enter(/login=([^&\s]+)/.exec(token)?.[1] ?? token),
  },
  render(why) {
    return h('div', { class: 'login' },
      h('h1', null, 'Log in to this node'),
      why && h('p', { class: why instanceof Problem ? 'trouble' : 'note', role: 'alert' }, sentence(why.message),
        why.whatToDo && why.code !== 'unauthenticated' ? ` ${sentence(why.whatToDo)}` : ''),
      h('p', null, 'On the machine of this node, ask for a link. It opens this page once, within 15 minutes:'),
      h('pre', null, h('code', null, 'convoke dashboard')),
      h('form', { 'data-act': 'login' },
        field('Or paste the link, or its one-time token', h('input', {
          name: 'token', type: 'password', required: true, autocomplete: 'off', spellcheck: 'false', maxlength: 1024, placeholder: 'cvlogin1-…',
        })),
        h('button', { type: 'submit', class: 'main' }, 'Log in')));
  },
};
