// Streams of the node: events, and the lines of a log. Both can be resumed by their cursors.
//
// A stream is closed while nobody looks at the page, so that forgotten tabs do not use up the node's streams or the few connections
// that a browser has for one host; it goes on behind its cursor when somebody looks again.

const PAUSES_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

/** Follows `path` from `cursor` on. Calls `item` with each event of this name, and `gap` when some are gone. */
export class Stream {
  #source = null;
  #timer = null;
  #tries = 0;
  #open = false;

  constructor(path, name, cursor, { item, gap, problem }) {
    Object.assign(this, { path, name, cursor, item, gap, problem });
    this.look = () => (document.hidden ? this.#rest() : this.#go());
  }

  start() {
    this.#open = true;
    document.addEventListener('visibilitychange', this.look);
    this.look();
    return this;
  }

  stop() {
    this.#open = false;
    document.removeEventListener('visibilitychange', this.look);
    this.#rest();
  }

  /** The node is back: at once, not after the pause. */
  retry() {
    if (!this.#open || document.hidden) return;
    this.#tries = 0;
    this.#rest();
    this.#go();
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #go() {
    if (this.#source || !this.#open) return;
    const mark = this.path.includes('?') ? '&' : '?';
    const from = this.cursor === null ? '' : `${mark}after=${encodeURIComponent(this.cursor)}`;
    const source = new EventSource(this.path + from);
    this.#source = source;
    source.addEventListener('open', () => { this.#tries = 0; });
    source.addEventListener(this.name, (message) => {
      this.cursor = message.lastEventId || this.cursor;
      this.item(JSON.parse(message.data));
    });
    source.addEventListener('resync', () => this.gap?.());
    source.addEventListener('problem', (message) => this.problem?.(JSON.parse(message.data)));
    // Ours, not the browser's: it gives up for good after some answers, and knows no growing pauses.
    source.addEventListener('error', () => {
      this.#rest();
      const pause = PAUSES_MS[Math.min(this.#tries, PAUSES_MS.length - 1)];
      this.#tries += 1;
      this.#timer = setTimeout(this.look, pause);
    });
  }
}
