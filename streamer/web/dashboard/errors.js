// What has gone wrong and what of it is over, as the server's journal has it.

import { Refusal } from "./api.js";
import { byId, el, setBadge, setText } from "./dom.js";
import { age, count } from "./format.js";
import { parts } from "./reasons.js";

const SHOWN = 20;
const PATH = `/api/v1/system/errors?limit=${SHOWN}`;
const TICK_MS = 1000;

export class Errors {
  constructor(api) {
    this.api = api;
    this.lines = new Map();
    this.offsetMs = null; // from our steady clock to the server's
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** Take the server's clock: troubles began by that, and ours may be set wrong. */
  set nowMs(ms) {
    this.offsetMs = ms - performance.now();
  }

  async refresh() {
    if (this.offsetMs === null) return;
    try {
      const { errors, unresolved } = await this.api.get(PATH);
      const open = errors.filter((one) => !one.resolved);
      // Of the newest alone, those that last longest would be missing.
      const old = open.length < unresolved && open.length < SHOWN;
      const lasting = old ? (await this.api.get(`${PATH}&resolved=false`)).errors : open;
      this.#show([...lasting, ...errors.filter((one) => one.resolved)].slice(0, SHOWN), unresolved);
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (refusal.status !== 0) this.#showNone(`Nothing is known of errors: ${refusal.whole}.`);
    }
  }

  #showNone(why) {
    this.#show([], 0);
    byId("errors-count").hidden = true;
    setText(byId("figure-errors"), "–");
    setText(byId("errors-empty"), why);
  }

  #show(errors, unresolved) {
    const badge = byId("errors-count");
    badge.hidden = false;
    if (unresolved === 0) setBadge(badge, "ok", "●", "none open");
    else setBadge(badge, "bad", "✕", `${unresolved.toLocaleString("en")} open`);
    setText(byId("figure-errors"), unresolved.toLocaleString("en"));
    const shown = errors.map((error) => this.#line(error));
    for (const [id, line] of this.lines) {
      if (!shown.includes(line)) {
        line.node.remove();
        this.lines.delete(id);
      }
    }
    // Moved only where it stands elsewhere: what a person has selected or reads aloud stays.
    shown.forEach(({ node }, i) => {
      const there = byId("error-rows").children[i];
      if (there !== node) byId("error-rows").insertBefore(node, there ?? null);
    });
    byId("error-rows").hidden = shown.length === 0;
    byId("errors-empty").hidden = shown.length !== 0;
    setText(byId("errors-empty"), "No errors.");
    this.#tick();
  }

  #line(error) {
    const line = this.lines.get(error.id) ?? this.#add(error);
    line.began = Date.parse(error.timestamp);
    line.ended = error.resolved ? Date.parse(error.resolved_at) : null;
    line.node.dataset.resolved = error.resolved;
    if (error.resolved) setBadge(line.state, "none", "✓", "resolved");
    else setBadge(line.state, "bad", "✕", "open");
    const { what, advice } = parts(error.message);
    setText(line.what, what);
    setText(line.advice, advice);
    line.advice.hidden = advice === "" || error.resolved; // nothing is left to do
    return line;
  }

  #add(error) {
    const line = {
      state: el("span", { class: "badge" }),
      what: el("span", { class: "what" }),
      advice: el("span", { class: "advice" }),
      time: el("time", { class: "note", datetime: error.timestamp }),
    };
    line.node = el("li", { "data-code": error.code }, line.state, el("div", {}, line.what, line.advice), line.time);
    this.lines.set(error.id, line);
    return line;
  }

  #tick() {
    const nowMs = performance.now() + this.offsetMs;
    for (const { began, ended, time } of this.lines.values()) {
      const ago = (ms) => age((nowMs - ms) / 1000);
      setText(time, ended === null ? `for ${ago(began)}` : `${ago(ended)} ago, lasted ${age((ended - began) / 1000)}`);
      time.title = ended === null ? `since ${exact(began)}` : `${exact(began)} to ${exact(ended)}`;
    }
  }
}

const exact = (ms) => new Date(ms).toLocaleString();
