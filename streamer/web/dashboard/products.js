// The table of products: rows come and go with what the server streams.

import { byId } from "./dom.js";
import { Row } from "./row.js";

const TICK_MS = 250;
const DRAW_MS = 1000;
// The server looks every second at what is wanted; an update sent just before that is not to bring a row back.
const GONE_MS = 6000;

export class Products {
  constructor(onRemove) {
    this.rows = new Map();
    this.gone = new Map(); // removed here: until when an update of it is late and not new
    this.fresh = new Map(); // tickers since the last frame: ten events a second need no ten layouts
    this.hasSnapshot = false;
    this.onRemove = onRemove;
    this.body = byId("product-rows");
    this.table = this.body.closest("table");
    this.empty = byId("products-empty");
    setInterval(() => this.#each((row, now) => row.tick(now)), TICK_MS);
    setInterval(() => this.#each((row, now) => row.spark.draw(now)), DRAW_MS);
  }

  get ids() {
    return [...this.rows.keys()];
  }

  /** Whether a first price is still to come. */
  get isAwaiting() {
    return [...this.rows.values()].some((row) => row.ticker === null);
  }

  get tickers() {
    return [...this.rows.values()].map((row) => row.ticker).filter((ticker) => ticker !== null);
  }

  /** Take the whole: what is not in it is not streamed any more, but for what is awaited. */
  replace(tickers) {
    this.hasSnapshot = true;
    this.leave([...this.rows.keys(), ...this.fresh.keys()].filter((id) => !(id in tickers)));
    this.update(tickers);
    this.#showEmpty();
  }

  update(tickers) {
    if (this.fresh.size === 0) {
      // A timer and no animation frame: those stop in a tab that nobody sees, and what is kept would grow old.
      setTimeout(() => this.#show(), 0);
    }
    for (const [id, ticker] of Object.entries(tickers)) this.fresh.set(id, ticker);
  }

  /** Take out what is streamed no more; what is awaited here was asked for again since. */
  leave(ids) {
    for (const id of ids) {
      this.fresh.delete(id);
      if (this.rows.get(id)?.ticker != null) this.#take(id);
    }
  }

  /** Show rows for products whose first price is still to come. */
  expect(ids) {
    for (const id of ids) {
      this.gone.delete(id);
      this.#row(id);
    }
  }

  drop(ids) {
    const until = performance.now() + GONE_MS;
    for (const id of ids) {
      this.gone.set(id, until);
      this.fresh.delete(id);
      this.#take(id);
    }
  }

  /** Return the remove button that follows one, where the keyboard goes on when its row has gone. */
  nextAfter(id) {
    const later = this.ids.filter((one) => one !== id).sort();
    return this.rows.get(later.find((one) => one > id) ?? later.at(-1))?.remove;
  }

  /** Grey the prices out, or not: nobody knows whether they still hold. */
  set isOld(old) {
    this.table.classList.toggle("old", old);
    if (old) for (const row of this.rows.values()) row.spark.cut();
  }

  #show() {
    const now = performance.now();
    for (const [id, ticker] of this.fresh) {
      if ((this.gone.get(id) ?? 0) > now) continue;
      this.gone.delete(id);
      this.#row(id).take(ticker, now);
    }
    this.fresh.clear();
  }

  #row(id) {
    let row = this.rows.get(id);
    if (row === undefined) {
      row = new Row(id, this.onRemove);
      const next = this.ids.filter((one) => one > id).sort()[0];
      this.rows.set(id, row);
      this.body.insertBefore(row.node, next === undefined ? null : this.rows.get(next).node);
      this.#showEmpty();
    }
    return row;
  }

  #take(id) {
    this.rows.get(id)?.node.remove();
    this.rows.delete(id);
    this.#showEmpty();
  }

  #each(step) {
    const now = performance.now();
    for (const row of this.rows.values()) step(row, now);
  }

  #showEmpty() {
    this.table.hidden = this.rows.size === 0;
    this.empty.hidden = this.rows.size !== 0;
    this.empty.textContent = this.hasSnapshot ? "No product is streamed. Add one above." : "Waiting for prices.";
  }
}
