// The server's reasons, fit for a glance: one line for what several feeds have in common.

const OF_FEED = /^feed (\S+) (.*)$/;
const NUMBERS = /[\d.,]+/g; // seconds, ports and counts differ from feed to feed, and with each answer

/** Return reasons as `{what, advice}`; those that differ only in the feed they name become one. */
export function sentences(reasons) {
  const groups = new Map();
  for (const reason of reasons) {
    const [, feed, rest] = OF_FEED.exec(reason) ?? [null, null, reason];
    const key = feed === null ? reason : rest.replace(NUMBERS, "#");
    const group = groups.get(key) ?? { feeds: [], rest };
    if (feed !== null) group.feeds.push(feed);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ feeds, rest }) => {
    if (feeds.length === 0) return parts(rest);
    const others = feeds.length > 1 ? ` (and ${feeds.slice(1).join(", ")})` : "";
    return parts(`feed ${feeds[0]}${others} ${rest}`);
  });
}

/** Split "what; what to do about it" where the first semicolon is: what is to be done may have more of them. */
export function parts(reason) {
  const [what, ...advice] = reason.split("; ");
  return { what: capital(what), advice: capital(advice.join("; ")) };
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Return what makes a text news: a reason whose seconds count on is the same reason. */
export const essence = (text) => text.replace(NUMBERS, "#");
