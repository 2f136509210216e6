// Asking the server: with a deadline, with the token, and with errors that say what the server said.

const TOKEN = "streamer-token";
const TIMEOUT_MS = 5000;

/** What the server answered instead of a result; `status` 0 where it did not answer at all. */
export class Refusal extends Error {
  constructor(status, detail, problem = {}) {
    super(detail);
    this.status = status;
    this.problem = problem;
  }

  /** What failed, and why: "Redis is unavailable: no answer within 1 s". */
  get whole() {
    return this.problem.title ? `${this.problem.title}: ${this.message}` : this.message;
  }
}

export class Api {
  /** `onHeard` is told of every answer, whatever it says: the server lives. */
  constructor(onHeard) {
    this.onHeard = onHeard;
  }

  // sessionStorage: the token ends with the tab, and no other tab or site sees it.
  get token() {
    return sessionStorage.getItem(TOKEN);
  }

  set token(value) {
    if (value) sessionStorage.setItem(TOKEN, value);
    else sessionStorage.removeItem(TOKEN);
  }

  async get(path) {
    return this.#ask(path, { headers: this.#headers() });
  }

  async post(path, body) {
    const headers = { ...this.#headers(), "Content-Type": "application/json" };
    return this.#ask(path, { method: "POST", headers, body: JSON.stringify(body) });
  }

  #headers() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  async #ask(path, options) {
    let answer, body;
    try {
      answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      body = await answer.json();
    } catch {
      // No line, too late, or not from the service itself: a proxy's page is no JSON.
      throw new Refusal(0, "the server does not answer");
    }
    this.onHeard();
    if (answer.ok) return body;
    throw new Refusal(answer.status, body.detail ?? body.title ?? `status ${answer.status}`, body);
  }
}
