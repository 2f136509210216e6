// The connections to the exchange, as the ingester reports them.

import { byId, cell, el, setBadge, setText } from "./dom.js";
import { age } from "./format.js";

const STATES = {
  connecting: ["info", "◌", "connecting"],
  backoff: ["bad", "✕", "waiting to reconnect"],
  refused: ["bad", "✕", "refused"],
  unauthenticated: ["bad", "✕", "key refused"],
  stopped: ["none", "○", "stopped"],
};

export class Feeds {
  constructor() {
    this.lines = new Map();
    this.heardAt = new Map(); // feed to the moment on our clock when it last showed life
    this.staleAfterMs = 5000;
    setInterval(() => this.#tick(), 250);
  }

  show(status, nowMs) {
    const feeds = status?.feeds ?? [];
    this.staleAfterMs = status?.stale_after_ms ?? this.staleAfterMs;
    for (const id of [...this.lines.keys()]) {
      if (!feeds.some((feed) => feed.id === id)) {
        this.lines.get(id).node.remove();
        this.lines.delete(id);
        this.heardAt.delete(id);
      }
    }
    for (const feed of feeds) this.#showOne(feed, nowMs);
    byId("feed-rows").closest("table").hidden = feeds.length === 0;
    byId("feeds-empty").hidden = feeds.length !== 0;
    setText(byId("feeds-empty"), status === null ? "Nothing is known of the feeds." : "No feed is open.");
  }

  #showOne(feed, nowMs) {
    const line = this.lines.get(feed.id) ?? this.#add(feed.id);
    // Ages go by the server's clock up to the answer and by ours from there: the two need not agree.
    const heardAt = feed.alive_ms === null ? null : performance.now() - (nowMs - feed.alive_ms);
    this.heardAt.set(feed.id, heardAt);
    const isSilent = feed.state === "live" && (heardAt === null || nowMs - feed.alive_ms > this.staleAfterMs);
    if (isSilent) setBadge(line.state, "warn", "▲", "silent");
    else if (feed.state === "live") setBadge(line.state, "ok", "●", "live");
    else setBadge(line.state, ...(STATES[feed.state] ?? ["bad", "✕", feed.state]));
    setText(line.channel, feed.channel);
    setText(line.why, feed.why ?? "");
    line.why.hidden = !feed.why;
    setText(line.products, String(feed.products));
    setText(line.sequence, feed.sequence === null ? "–" : feed.sequence.toLocaleString("en"));
    setText(line.gaps, feed.gaps.toLocaleString("en"));
    setText(line.reconnects, feed.reconnects.toLocaleString("en"));
    this.#tick();
  }

  #add(id) {
    const line = {
      state: el("span", { class: "badge" }),
      channel: el("span", { class: "note" }),
      why: el("span", { class: "note", hidden: "" }),
      heard: cell("Last heard", "number"),
      products: cell("Products", "number"),
      sequence: cell("Sequence", "number"),
      gaps: cell("Gaps", "number"),
      reconnects: cell("Reconnects", "number"),
    };
    const name = el("th", { role: "rowheader", scope: "row" }, el("span", {}, id), line.channel);
    const state = cell("State", "feed-state", line.state, line.why);
    const cells = [name, state, line.heard, line.products, line.sequence, line.gaps, line.reconnects];
    line.node = el("tr", { role: "row", "data-feed": id }, ...cells);
    this.lines.set(id, line);
    byId("feed-rows").append(line.node);
    return line;
  }

  #tick() {
    const now = performance.now();
    for (const [id, line] of this.lines) {
      const at = this.heardAt.get(id);
      setText(line.heard, at === null ? "never" : age((now - at) / 1000));
    }
  }
}
