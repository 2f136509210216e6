// How far the callers of the compatible client have moved over; nothing is shown where nobody uses it.

import { Refusal } from "./api.js";
import { byId, setBadge, setText, textRow } from "./dom.js";
import { age, count } from "./format.js";

const SHOWN = 12;
const WAYS = [
  ["served", "answered without REST"],
  ["passed", "passed on in their turn"],
  ["direct", "sent straight to the exchange"],
];

export class Migration {
  constructor(api) {
    this.api = api;
  }

  async refresh() {
    try {
      this.#show(await this.api.get("/api/v1/migration/stats"));
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal; // what it last said stands; the headline tells why
    }
  }

  #show({ flags, progress, callers, requests_last_hour: ways, comparison }) {
    byId("migration").hidden = progress.total === 0;
    const all = progress.migrated === progress.total;
    const word = flags.USE_COORDINATED_API_CALLS ? `${progress.percentage} % moved` : "rolled back";
    setBadge(byId("migration-badge"), all ? "ok" : "warn", all ? "●" : "◐", word);
    const told = WAYS.map(([way, what]) => [sum(ways[way]), what]).filter(([number]) => number > 0);
    const requests = told.map(([number, what]) => `${number.toLocaleString("en")} ${what}`).join(", ");
    const moved = `${progress.migrated} of ${count(progress.total, "caller")} coordinated.`;
    setText(byId("migration-summary"), requests ? `${moved} Requests of the last hour: ${requests}.` : moved);
    setText(byId("migration-compared"), compared(comparison));
    byId("migration-rows").replaceChildren(...callers.slice(0, SHOWN).map(row));
  }
}

const sum = (kinds) => Object.values(kinds ?? {}).reduce((total, number) => total + number, 0);

function compared({ price, balance }) {
  const said = [];
  if (price.compared > 0) {
    const apart = `${price.mean_difference_bp} bp apart, at most ${price.max_difference_bp}`;
    said.push(`${count(price.compared, "price")}, ${apart}`);
  }
  if (balance.compared > 0) said.push(`${count(balance.compared, "balance")}, ${balance.different} different`);
  return said.length > 0 ? `Compared with REST: ${said.join("; ")}.` : "Nothing has been compared with REST yet.";
}

function row({ caller, is_coordinated: isCoordinated, requests, last_seen_s: seenS }) {
  const values = [caller, isCoordinated ? "coordinated" : "direct", requests.toLocaleString("en"), `${age(seenS)} ago`];
  return textRow(["Caller", "Way", "Requests", "Last seen"], values, [2, 3]);
}
