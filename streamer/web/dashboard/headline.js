// The one big word, the reasons for it, and the banners: what a person is to know within two seconds.

import { byId, el, setText } from "./dom.js";
import { age, count } from "./format.js";
import { essence, sentences } from "./reasons.js";

const LEVELS = {
  connecting: ["…", "Connecting", ""],
  healthy: ["✓", "Healthy", "All is well."],
  degraded: ["!", "Degraded", "It works, but not all of it."],
  down: ["✕", "Down", "Prices are not being streamed."],
  unknown: ["?", "Unknown", "The server answers, but does not say how the stream stands."],
  lost: ["?", "Server lost", "This page no longer hears from the server."],
};
const NAMED = 4;

export class Headline {
  constructor() {
    this.said = "";
    this.level = "connecting";
  }

  /** Show a level of the server's, with its reasons and a sentence. */
  show(level, reasons, summary) {
    const [icon, word, fallback] = LEVELS[level] ?? ["!", level, ""];
    this.level = level;
    byId("state").dataset.level = level;
    setText(byId("state-icon"), icon);
    setText(byId("state-word"), word);
    setText(byId("state-summary"), summary || fallback);
    const told = sentences(reasons);
    showReasons(told);
    document.title = `${icon} ${word} · streamer`;
    this.#announce([word, ...told.flatMap(({ what, advice }) => (advice ? [what, advice] : [what]))].join(". "));
  }

  /** Say it aloud, and only once. */
  #announce(text) {
    if (essence(text) === this.said) return;
    this.said = essence(text);
    setText(byId("announcement"), text);
  }
}

function showReasons(reasons) {
  const list = byId("state-reasons");
  list.hidden = reasons.length === 0;
  while (list.children.length > reasons.length) list.lastElementChild.remove();
  while (list.children.length < reasons.length) {
    list.append(el("li", {}, el("span", {}), el("span", { class: "advice" })));
  }
  reasons.forEach(({ what, advice }, i) => {
    const [whatNode, adviceNode] = list.children[i].children;
    setText(whatNode, what);
    setText(adviceNode, advice);
    adviceNode.hidden = advice === "";
  });
}

/** Return what is live as a sentence: "All 2 products live on 4 feeds, ..." */
export function summaryOf(status, nowMs) {
  if (status === null) return "";
  const { wanted, live } = status.products;
  if (wanted === 0) return "No product is streamed.";
  const all = wanted === 1 ? "" : "All ";
  const products = live === wanted ? `${all}${count(wanted, "product")}` : `${live} of ${count(wanted, "product")}`;
  const silentS = (nowMs - status.written_ms) / 1000;
  // A report comes each second or so: its age is worth saying where it has one.
  const reported = silentS > 3 ? `, reported ${age(silentS)} ago` : "";
  return `${products} live on ${count(status.feeds.length, "feed")}${reported}.`;
}

export function showBanner(id, text) {
  const banner = byId(`banner-${id}`);
  banner.hidden = !text;
  setText(banner, text || "");
}

/** Return what the banner for simulated data says, "" where all is real. */
export function simulatedText(status, tickers) {
  const isSimulated = status?.source === "simulator" || tickers.some((one) => one.source === "simulator");
  return isSimulated ? "Simulated data. These prices and balances are made up: not a market, not your money." : "";
}

/** Return what the banner for stale data says, "" where none is. */
export function staleText(tickers) {
  const stale = tickers.filter((ticker) => ticker.tier === "stale").map((ticker) => ticker.product_id).sort();
  if (stale.length === 0) return "";
  const more = stale.length > NAMED ? ` and ${stale.length - NAMED} more` : "";
  const which = stale.length === tickers.length && stale.length > 1 ? "All" : "Some";
  const them = stale.length === 1 ? "A price is stale: it was" : `${which} prices are stale: they were`;
  return `${them} right once and may not be now (${stale.slice(0, NAMED).join(", ")}${more}).`;
}
