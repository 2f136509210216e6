// Figures as people read them. Money stays the decimal text that the server sent: no float touches it.

/** "63812.01" to "63,812.01". */
export function grouped(decimal) {
  if (decimal === null || decimal === undefined) return "–";
  const [, sign, whole, rest] = /^(-?)(\d+)(.*)$/.exec(decimal) ?? [null, "", decimal, ""];
  return sign + whole.replace(/\B(?=(\d{3})+$)/g, ",") + rest;
}

/** "1.50000000" to "1.5": exchanges pad amounts, and zeros at the end hide the size. */
export function amount(decimal) {
  const cut = decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;
  return grouped(cut);
}

export function age(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "never";
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return `${Math.floor(s / 3600)} h`;
}

export function percent(decimal) {
  if (decimal === null || decimal === undefined) return "–";
  const value = Number(decimal);
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)} %`;
}

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
