// Balances, and the token that they and changes need where the service has one.

import { Refusal } from "./api.js";
import { byId, setBadge, setText, textRow } from "./dom.js";
import { amount } from "./format.js";

const LABELS = ["Currency", "Available", "On hold", "Total"];
// In the background: a page that is left open must not spend calls that somebody trades with.
const PATH = "/api/v1/market/accounts?priority=BACKGROUND&timeout_s=2";

export class Balances {
  /** `onToken` is told when there is a new token to try. */
  constructor(api, onToken) {
    this.api = api;
    this.isLocked = false; // a wrong token is not asked with again: the server counts those
    this.onToken = onToken;
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#use(byId("token").value.trim());
    });
    byId("forget-token").addEventListener("click", () => {
      this.api.token = null;
      this.#showRows([]);
      this.refresh(true);
    });
  }

  /** Ask again; `isStreamed` says whether there is a portfolio to ask about. */
  async refresh(isStreamed) {
    if (this.isLocked) return;
    if (!isStreamed) {
      this.#showRows([]);
      this.#note("Balances are not streamed: that needs an API key of the exchange.");
      return;
    }
    try {
      const answer = await this.api.get(PATH);
      this.#unlock();
      this.#showOrigin(answer);
      this.#showRows(answer.accounts);
      if (answer.accounts.length === 0) this.#note("The portfolio has no wallets.");
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      if (refusal.status === 401) this.lock();
      else if (refusal.status !== 0) this.#note(`No balances: ${refusal.whole}.`);
    }
  }

  /** Ask for the token. */
  lock({ focus = false } = {}) {
    setText(byId("token-answer"), this.api.token ? "The server does not take this token." : "");
    this.api.token = null;
    this.isLocked = true;
    this.#showRows([]);
    this.#note("");
    byId("token-form").hidden = false;
    byId("forget-token").hidden = true;
    if (focus) byId("token").focus();
  }

  async #use(token) {
    if (token === "" || /[^\x21-\x7e]/.test(token)) {
      setText(byId("token-answer"), "Enter the token: letters, digits and signs without spaces.");
      return;
    }
    this.api.token = token;
    byId("token").value = "";
    this.isLocked = false;
    await this.refresh(true);
    if (!this.isLocked) this.onToken();
  }

  #unlock() {
    byId("token-form").hidden = true;
    byId("forget-token").hidden = !this.api.token;
  }

  #showOrigin(answer) {
    const badge = byId("balances-origin");
    const tone = { realtime: ["ok", "●"], stale: ["warn", "▲"] }[answer.tier] ?? ["info", "◆"];
    setBadge(badge, ...tone, `${answer.tier}, ${answer.source}`);
    badge.title = answer.reason ?? "";
  }

  #showRows(accounts) {
    const held = accounts.filter((account) => /[1-9]/.test(account.total));
    const empty = accounts.length - held.length;
    const rows = held
      .sort((a, b) => (a.currency < b.currency ? -1 : 1))
      .map((one) => textRow(LABELS, [one.currency, ...[one.available, one.hold, one.total].map(amount)], [1, 2, 3]));
    byId("balance-rows").replaceChildren(...rows);
    byId("balances-table").hidden = rows.length === 0;
    byId("balances-origin").hidden = accounts.length === 0;
    this.#note(empty > 0 ? `${empty} ${empty === 1 ? "wallet is" : "wallets are"} empty and not shown.` : "");
  }

  #note(text) {
    setText(byId("balances-note"), text);
    byId("balances-note").hidden = text === "";
  }
}
