// Adding and removing products, and what the server says to it.

import { Refusal } from "./api.js";
import { byId, el, setText } from "./dom.js";

const PRODUCT_ID = /^[A-Z0-9][A-Z0-9.-]{0,31}$/;
const KNOWN = "/api/v1/market/products?priority=BACKGROUND&timeout_s=2";

export class Wanted {
  constructor(api, products, onLocked) {
    this.api = api;
    this.products = products;
    this.onLocked = onLocked;
    this.input = byId("add-id");
    this.undone = null;
    byId("add").addEventListener("submit", (event) => {
      event.preventDefault(); // nothing is ever submitted: the content policy forbids it too
      this.#submit();
    });
    this.input.addEventListener("input", () => this.input.removeAttribute("aria-invalid"));
    this.input.addEventListener("focus", () => this.#suggest(), { once: true });
    byId("undo").addEventListener("click", () => {
      const id = this.undone;
      this.input.focus();
      if (id !== null) this.add([id]);
    });
  }

  async #submit() {
    const ids = this.input.value.toUpperCase().split(/[\s,;]+/).filter(Boolean);
    const wrong = ids.filter((id) => !PRODUCT_ID.test(id));
    if (ids.length === 0) return this.#refuse("Enter a product such as SOL-USD.");
    if (wrong.length > 0) {
      return this.#refuse(`${wrong[0].slice(0, 40)} is no product id: letters, digits, "-" and ".", such as SOL-USD.`);
    }
    const there = ids.filter((id) => this.products.ids.includes(id));
    if (there.length === ids.length) return this.#refuse(`${there.join(", ")}: in the table already.`);
    return this.add(ids);
  }

  async add(ids) {
    const answer = await this.#ask("/api/v1/ws/start-stream", ids);
    if (answer === null) return;
    this.products.expect(answer.products.filter((id) => !answer.refused.some((one) => one.product_id === id)));
    this.input.value = "";
    this.#tell([sentence(answer.message), ...answer.refused.map((one) => sentence(`${one.product_id}: ${one.why}`))].join(" "));
  }

  async remove(id) {
    const next = this.products.nextAfter(id);
    const answer = await this.#ask("/api/v1/ws/stop-stream", [id]);
    if (answer === null) return;
    this.products.drop([id]);
    (next ?? this.input).focus();
    this.#tell(`${id} is no longer streamed, for anyone.`, id);
  }

  async #ask(path, ids) {
    this.#tell("Asking the server …");
    try {
      return await this.api.post(path, { product_ids: ids });
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (refusal.status === 401) {
        this.#refuse("Changes need the token of this service: enter it under Balances.");
        this.onLocked();
      } else {
        this.#refuse(sentence(refusal.message));
      }
      return null;
    }
  }

  /** Offer the exchange's names while somebody types: asked for once, and the field works without. */
  async #suggest() {
    try {
      const { products } = await this.api.get(KNOWN);
      byId("known-products").replaceChildren(...products.map((one) => el("option", { value: one.product_id })));
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
    }
  }

  #refuse(text) {
    this.#tell(text);
    this.input.setAttribute("aria-invalid", "true");
    byId("add-answer").dataset.tone = "bad";
    this.input.focus();
  }

  #tell(text, undone = null) {
    this.undone = undone;
    byId("undo").hidden = undone === null;
    delete byId("add-answer").dataset.tone;
    this.input.removeAttribute("aria-invalid");
    setText(byId("add-answer"), text);
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
