// Other providers of market data: who can be asked, what that has cost, and how good the answers were.

import { Refusal } from "./api.js";
import { byId, cell, el, setBadge, setText } from "./dom.js";
import { age } from "./format.js";
import { windowOf } from "./rest.js";

const LONG_S = 3600; // a shorter window that is full has room again before anybody could do something about it
const KINDS = { crypto: "pairs", stock: "stocks" };

export class Providers {
  constructor(api) {
    this.api = api;
  }

  async refresh() {
    try {
      this.#show(await this.api.get("/api/v1/data/providers"));
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal; // what it last said stands; the headline tells why
    }
  }

  #show({ providers, order, by_score: byScore }) {
    byId("providers").hidden = false;
    const states = providers.map(stateOf);
    const able = states.filter(({ tone }) => tone === "ok").length;
    const inWay = states.some(({ tone }) => tone === "bad" || tone === "warn");
    setBadge(byId("providers-badge"), inWay ? "warn" : "info", inWay ? "▲" : "◆", `${able} of ${states.length} can be asked`);
    const orders = Object.entries(order).map(([kind, names]) => `${KINDS[kind] ?? kind}: ${names.join(", ") || "nobody"}`);
    const unless = byScore ? "; whoever has a clearly better score goes first" : "";
    setText(byId("providers-order"), `Asked in this order for ${orders.join("; for ")}${unless}.`);
    byId("provider-rows").replaceChildren(...providers.map((provider, i) => row(provider, states[i])));
  }
}

/** Return what stands between a provider and a question: tone, sign, words, and why where somebody has said. */
function stateOf({ needs_key: needsKey, has_key: hasKey, held, breaker, blocked_s: blockedS, windows }) {
  if (needsKey && !hasKey) return { tone: "none", sign: "○", words: "no key" };
  if (held) return { tone: "bad", sign: "✕", words: `held for ${age(held.left_s)}`, why: `${held.kind}: ${held.why}` };
  if (breaker === "open") return { tone: "bad", sign: "✕", words: "breaker open", why: "too many calls have failed" };
  if (breaker !== "closed") return { tone: "warn", sign: "▲", words: `breaker ${breaker}`, why: "trying one call" };
  if (blockedS > 0) return { tone: "warn", sign: "▲", words: `limited for ${age(blockedS)}`, why: "by a 429" };
  const isSpent = ({ used, allowed, length_s: lengthS }) => used >= allowed && lengthS >= LONG_S;
  if (windows.some(isSpent)) return { tone: "warn", sign: "▲", words: "budget used up" };
  return { tone: "ok", sign: "●", words: "can be asked" };
}

function row({ name, title, windows, scores }, state) {
  const badge = el("span");
  setBadge(badge, state.tone, state.sign, state.words);
  const why = state.why ? [el("span", { class: "note" }, state.why)] : [];
  const bars = windows.map(({ allowed, ...window }, i) => windowOf(name, { ...window, limit: allowed }, i, windows.length));
  const known = scores.filter(({ score }) => score !== null).sort((a, b) => a.score - b.score);
  return el(
    "tr",
    { role: "row", "data-provider": name },
    el("th", { role: "rowheader", scope: "row" }, title),
    cell("State", "wide", badge, ...why),
    cell("Budget used", "wide budget", ...bars),
    cell("Worst score", "number", ...scored(known[0])),
    cell("Best score", "number", ...scored(known.at(-1))),
    cell("Symbols", "number", String(scores.length)),
  );
}

const scored = (one) => (one ? [String(Math.round(one.score)), el("span", { class: "note" }, one.symbol)] : ["–"]);
