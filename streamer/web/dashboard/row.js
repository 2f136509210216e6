// One product in the table: what is shown of it, and how it moves.

import { cell, el, setBadge, setText } from "./dom.js";
import { age, grouped, percent } from "./format.js";
import { Spark } from "./spark.js";

// Each tier with a tone and a sign of its own: shape and word say what the colour says.
const TIERS = {
  realtime: ["ok", "●", "realtime"],
  cache: ["info", "◆", "cache"],
  rest: ["info", "■", "REST"],
  stale: ["warn", "▲", "stale"],
};
const SOURCES = { simulator: ["simulated", "~", "simulator"] };
const reducesMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Row {
  constructor(productId, onRemove) {
    this.id = productId;
    this.ticker = null;
    this.knownAt = null; // on our clock: when the price was last known to be current
    this.spark = new Spark();
    this.price = el("span", { class: "price" });
    this.way = el("span", { class: "way", "aria-hidden": "true" });
    this.wayWord = el("span", { class: "unseen" });
    this.note = el("span", { class: "note", hidden: "" });
    this.tier = el("span", { class: "badge" });
    this.source = el("span", { class: "badge" });
    this.change = cell("24 h", "number change");
    this.bid = cell("Bid", "number bid");
    this.ask = cell("Ask", "number ask");
    this.age = cell("Age", "number age");
    const remove = el("button", { type: "button", class: "quiet", "aria-label": `Remove ${productId}` }, "Remove");
    remove.addEventListener("click", () => onRemove(productId));
    this.remove = remove;
    const name = el("th", { role: "rowheader", scope: "row", class: "name" }, el("span", {}, productId), this.note);
    const price = cell("Price", "number price-cell", this.price, " ", this.way, this.wayWord);
    const badges = cell("Tier and source", "badges", this.tier, " ", this.source);
    this.node = el(
      "tr",
      { role: "row", "data-product": productId },
      name,
      price,
      this.change,
      this.bid,
      this.ask,
      cell("Trend", "spark-cell", this.spark.svg),
      this.age,
      badges,
      cell("", "remove", remove),
    );
    this.#showWaiting();
  }

  #showWaiting() {
    setText(this.price, "–");
    setText(this.age, "–");
    setBadge(this.tier, "none", "○", "waiting");
    this.source.hidden = true;
    this.#showNote("waiting for the first price");
  }

  take(ticker, nowMs) {
    const before = this.ticker;
    this.ticker = ticker;
    this.knownAt = nowMs - ticker.age_s * 1000;
    setText(this.price, grouped(ticker.price));
    if (before !== null && before.price !== ticker.price) {
      this.#turn(Number(ticker.price) > Number(before.price) ? "up" : "down");
    }
    setText(this.change, percent(ticker.price_percent_chg_24_h));
    this.change.dataset.way = way(Number(ticker.price_percent_chg_24_h ?? 0));
    setText(this.bid, grouped(ticker.best_bid));
    setText(this.ask, grouped(ticker.best_ask));
    setBadge(this.tier, ...(TIERS[ticker.tier] ?? ["none", "", ticker.tier]));
    setBadge(this.source, ...(SOURCES[ticker.source] ?? ["none", "", ticker.source]));
    this.source.hidden = false;
    this.node.dataset.tier = ticker.tier;
    this.#showNote(ticker.reason ?? (ticker.alias_of ? `shares the book of ${ticker.alias_of}` : ""));
    if (ticker.tier === "stale") this.spark.cut();
    else this.spark.add(Number(ticker.price), nowMs);
    this.tick(nowMs);
  }

  tick(nowMs) {
    if (this.knownAt !== null) setText(this.age, age((nowMs - this.knownAt) / 1000));
  }

  #turn(direction) {
    this.price.parentElement.dataset.way = direction;
    setText(this.way, direction === "up" ? "▲" : "▼");
    setText(this.wayWord, direction);
    if (reducesMotion.matches) return;
    const tint = getComputedStyle(this.node).getPropertyValue(direction === "up" ? "--ok-soft" : "--bad-soft");
    this.price.animate([{ backgroundColor: tint }, { backgroundColor: "transparent" }], 600);
  }

  #showNote(text) {
    setText(this.note, text);
    this.note.hidden = text === "";
  }
}

const way = (number) => (number > 0 ? "up" : number < 0 ? "down" : "flat");
