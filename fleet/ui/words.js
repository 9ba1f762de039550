/** How figures and times are said. */

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const NONE = "–";
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});

/** @param {number | null | undefined} value */
export const number = (value) => (typeof value === "number" ? NUMBER.format(value) : NONE);
/** @param {number | null | undefined} value a ratio */
export const percent = (value) => (typeof value === "number" ? `${NUMBER.format(value * 100)} %` : NONE);
/** @param {number | null | undefined} value */
export const millis = (value) => (typeof value === "number" ? `${NUMBER.format(value)} ms` : NONE);
/** @param {number | null | undefined} value */
export function bytes(value) {
  if (typeof value !== "number") return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(value || 1) / 10)));
  return `${NUMBER.format(value / 1024 ** unit)} ${units[unit]}`;
}
/** @param {number | null | undefined} seconds */
export function span(seconds) {
  if (typeof seconds !== "number") return NONE;
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.floor(hours / 24)} days`;
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}
/** @param {number} at milliseconds */
export const clock = (at) => CLOCK.format(at);
/** @param {number} at milliseconds */
export const moment = (at) => `${DAY.format(at)}:${String(new Date(at).getSeconds()).padStart(2, "0")}`;
/** @param {number} at milliseconds */
export const day = (at) => DAY.format(at);
/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
