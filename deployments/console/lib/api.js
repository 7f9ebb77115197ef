// Calls of the public API. The key stays in this object, so it is gone when the page is.

/** An answer that is no success, or none at all (status 0). */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || 'The platform gave no reason.');
    this.status = status;
    this.code = body.code || '';
    this.field = body.field || null;
    this.errors = body.errors || [];
  }
}

const AWAY = {
  detail: 'The platform does not answer. Does it run? `recsys status` says so, `make demo` or `recsys up` starts it.',
  code: 'away',
};

export class Api {
  #key = '';

  /** `base`: the URL that /v1 lies under, with a slash at its end. */
  constructor(base) {
    this.base = base;
  }

  get hasKey() {
    return this.#key !== '';
  }

  use(key) {
    this.#key = key.trim();
  }

  headers(more = {}) {
    return this.#key ? { ...more, authorization: `Bearer ${this.#key}` } : more;
  }

  async call(method, path, body, signal) {
    const json = body === undefined ? {} : { 'content-type': 'application/json' };
    let answer;
    try {
      answer = await fetch(this.base + path.slice(1), {
        method,
        headers: this.headers(json),
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
      });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Problem(0, AWAY);
    }
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Problem(answer.status, content);
    return content;
  }

  get(path, signal) {
    return this.call('GET', path, undefined, signal);
  }

  post(path, body, signal) {
    return this.call('POST', path, body, signal);
  }

  /** Tell of one event. Returns its id. */
  async tell(userId, itemId, type, more = {}) {
    const id = `console-${unique()}`;
    await this.post('/v1/events', { events: [{ event_id: id, user_id: userId, item_id: itemId, type, ...more }] });
    return id;
  }
}

/** 16 random bytes as hex; crypto.randomUUID is there on secure origins only. */
export function unique(bytes = 16) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

export const encoded = encodeURIComponent;

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return given.length ? `?${new URLSearchParams(given)}` : '';
}
