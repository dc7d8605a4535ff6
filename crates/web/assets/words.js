// How values are written for people: times, ages, sizes, names, bytes.

// What moves the cursor, changes the direction of a line or is not seen at all would let one text pass for another.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g;

/** Text whose every character can be seen. */
export function plain(text) {
  return text.replace(INVISIBLE, (one) => {
    const code = one.codePointAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '\u2421' : '\ufffd';
  });
}

/** How long something takes or took: `3 s`, `4 min`, `2 h`, `5 days`. */
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: '2-digit', day: '2-digit' });

/** A time of day. */
export const clock = (ms) => CLOCK.format(new Date(ms));

/** A time of day, with the day unless that is today. */
export function moment(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return 'unknown';
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? CLOCK.format(date) : `${DAY.format(date)} ${CLOCK.format(date)}`;
}

/** A number of things: `1 node`, `3 nodes`, `1,000 nodes`. */
export function count(number, one, many = `${one}s`) {
  return `${whole(number)} ${number === 1 ? one : many}`;
}

/** A whole number with its thousands apart. */
export const whole = (number) => Number(number).toLocaleString('en');

/** A node's id or a fingerprint, as people know it. */
export const short = (id) => id.length > 14 ? `${id.slice(0, 10)}…` : id;

/** `service-not-ready` as words. */
export const spaced = (name) => name.replaceAll('-', ' ');

/** Bytes as text if they are text, and else as hexadecimal lines. */
export function readable(bytes) {
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), isText: true };
  } catch {
    const lines = [];
    for (let at = 0; at < bytes.length; at += 16) {
      const row = [...bytes.slice(at, at + 16)];
      lines.push(`${at.toString(16).padStart(4, '0')}  ${row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}`);
    }
    return { text: lines.join('\n'), isText: false };
  }
}

/** Bytes of base64. */
export const unbase64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

/** A key as the API writes it, percent-encoded, for people: as text if it is text. */
export function keyText(key) {
  try { return decodeURIComponent(key); } catch { return key; }
}
