// Making and changing elements. Text goes in as text only: no name or message of the server can become markup.

export const byId = (id) => document.getElementById(id);

/** Return a new element; `props` are attributes, children are nodes or text. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Set text where it differs: an unchanged node costs no layout, and screen readers nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Return a table cell. It names its column for narrow screens, and its role because CSS lays it out as a block there. */
export function cell(label, className = "", ...children) {
  return el("td", { role: "cell", "data-label": label, ...(className && { class: className }) }, ...children);
}

/** Return a row of plain text cells; `numbers` are the columns that are aligned as figures. */
export function textRow(labels, values, numbers = []) {
  return el(
    "tr",
    { role: "row" },
    ...values.map((value, i) => cell(labels[i], numbers.includes(i) ? "number" : "", String(value))),
  );
}

/** Give a badge its look and words; the sign stands for those who do not see the colour. */
export function setBadge(badge, tone, sign, text) {
  badge.className = "badge";
  badge.dataset.tone = tone;
  setText(badge, sign ? `${sign} ${text}` : text);
}
