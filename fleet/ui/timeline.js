/** States over time and lines over time, as SVG, with a sentence that says the same to who does not see them. */

import { h } from "./dom.js";
import { day, percent } from "./words.js";

const WIDTH = 300;
const HEIGHT = 90;
/** A bar's height by state: none is told by its colour alone. @type {Record<string, number>} */
const HEIGHTS = { active: 20, stale: 13, inactive: 6, unknown: 2 };
/** Alerts that are the times of a state, by kind. @type {Record<string, string>} */
export const STATE_OF = { "agent.stale": "stale", "agent.inactive": "inactive" };

/** @param {string | null} text RFC 3339 */
export const at = (text) => (text === null ? Infinity : Date.parse(text));

/** A time between two clocks' readings of one moment. */
const SLACK_MS = 1000;

/**
 * What an agent was, when: its alerts say when it was stale and inactive, and its row what it is now.
 *
 * An agent that has come back, and of which no alert says from what, was gone for longer than was asked about, or
 * somebody has resolved the alert: until then nothing is known.
 *
 * @param {any} agent
 * @param {any[]} alerts of this agent, of the kinds of `STATE_OF`
 * @param {number} from @param {number} to milliseconds
 * @param {boolean} complete whether these are all alerts of this time
 * @returns {{state: string, from: number, to: number}[]} in order; none before the agent was there
 */
export function states(agent, alerts, from, to, complete) {
  const spans = alerts.map((one) => ({
    state: STATE_OF[one.kind] ?? "unknown",
    from: at(one.raised_at),
    to: at(one.resolved_at),
  }));
  const [since, created] = [at(agent.status_changed_at), at(agent.created_at)];
  const known = spans.reduce(
    (latest, one) => (one.to <= since + SLACK_MS ? Math.max(latest, one.to) : latest),
    from,
  );
  if (!complete) spans.unshift({ state: "unknown", from, to: since });
  else if (agent.status === "active" && since > created + SLACK_MS) {
    spans.unshift({ state: "unknown", from: known, to: since - SLACK_MS });
  }
  spans.push({ state: agent.status, from: since, to: Infinity });
  const begin = Math.max(from, Math.min(created, to));
  const inside = (/** @type {number} */ moment) => moment > begin && moment < to;
  const cuts = [
    begin,
    ...spans
      .flatMap((one) => [one.from, one.to])
      .filter(inside)
      .sort((a, b) => a - b),
    to,
  ];
  /** @type {{state: string, from: number, to: number}[]} */
  const found = [];
  cuts.slice(1).forEach((end, index) => {
    const start = Number(cuts[index]);
    const middle = (start + end) / 2;
    const state = spans.findLast((one) => one.from <= middle && middle < one.to)?.state ?? "active";
    const last = found.at(-1);
    if (last?.state === state) last.to = end;
    else if (end > start) found.push({ state, from: start, to: end });
  });
  return found;
}

/** Words for who does not see it. @param {{state: string, from: number, to: number}[]} found */
export function inWords(found) {
  const all = found.reduce((sum, one) => sum + one.to - one.from, 0) || 1;
  const share = (/** @type {string} */ state) =>
    found.filter((one) => one.state === state).reduce((sum, one) => sum + one.to - one.from, 0) / all;
  const parts = Object.keys(HEIGHTS).filter((state) => share(state) > 0);
  return parts.map((state) => `${state} ${percent(share(state))}`).join(", ") || "nothing known";
}

/**
 * A strip of states.
 *
 * @param {{state: string, from: number, to: number}[]} found @param {number} from @param {number} to
 * @param {string} label what it is about
 */
export function strip(found, from, to, label) {
  const x = (/** @type {number} */ moment) => ((moment - from) / (to - from)) * WIDTH;
  return h(
    "svg",
    {
      class: "strip",
      viewBox: `0 0 ${WIDTH} 20`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${label}: ${inWords(found)}`,
    },
    found.map((one) => {
      const height = HEIGHTS[one.state] ?? 2;
      // However short, what was wrong is seen.
      const width = Math.max(one.state === "active" ? 0 : 0.6, x(one.to) - x(one.from));
      const [left, top] = [x(one.from).toFixed(2), 20 - height];
      return h(
        "rect",
        { class: `is-${one.state}`, x: left, y: top, width: width.toFixed(2), height },
        h("title", null, `${one.state}, ${day(one.from)} to ${day(one.to)}`),
      );
    }),
  );
}

export const legend = () =>
  h(
    "p",
    { class: "quiet legend" },
    ["active", "stale", "inactive", "unknown"].map((state) =>
      h(
        "span",
        null,
        h(
          "svg",
          { viewBox: "0 0 12 20", "aria-hidden": "true" },
          h("rect", {
            class: `is-${state}`,
            x: 0,
            y: 20 - Number(HEIGHTS[state]),
            width: 12,
            height: HEIGHTS[state] ?? 2,
          }),
        ),
        state,
      ),
    ),
  );

/**
 * A graph of at most two lines.
 *
 * @param {string} title
 * @param {{name: string, values: (number | null)[]}[]} lines
 * @param {number[]} times of the values, in order
 * @param {number} from @param {number} to
 * @param {(value: number) => string} shown
 * @returns {any} null: no value is known
 */
export function graph(title, lines, times, from, to, shown) {
  const known = lines.flatMap((line) => line.values).filter((value) => typeof value === "number");
  if (!known.length) return null;
  const highest = Math.max(...known.map(Number), 0);
  const last = lines.map((line) => {
    const value = line.values.findLast((one) => typeof one === "number");
    return `${line.name}: ${typeof value === "number" ? shown(value) : "none"}`;
  });
  return h(
    "figure",
    { class: "graph", key: title },
    h("h3", null, title),
    h(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `${title}. Last ${last.join(", ")}; highest ${shown(highest)}`,
      },
      h("line", { class: "ground", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }),
      lines.map((line, index) =>
        h("path", { class: index ? "second" : "first", d: way(line.values, times, from, to, highest || 1) }),
      ),
    ),
    h(
      "figcaption",
      null,
      lines.map((line, index) => h("span", { class: `key ${index ? "second" : "first"}` }, last[index])),
      h("span", null, `highest ${shown(highest)}`),
    ),
  );
}

/**
 * A line through the known values; where samples are far apart there is a gap. One alone is a dot.
 *
 * @param {(number | null)[]} values @param {number[]} times @param {number} from @param {number} to
 * @param {number} top
 */
function way(values, times, from, to, top) {
  const steps = times
    .slice(1)
    .map((time, index) => time - Number(times[index]))
    .sort((a, b) => a - b);
  const gap = 2.5 * (steps[Math.floor(steps.length / 2)] ?? Infinity);
  /** @type {number | null} */
  let before = null;
  let path = "";
  values.forEach((value, index) => {
    if (typeof value !== "number") return void (before = null);
    const time = Number(times[index]);
    const x = ((time - from) / (to - from)) * WIDTH;
    const y = HEIGHT - 2 - (value / top) * (HEIGHT - 6);
    const goesOn = before !== null && time - before <= gap;
    path += `${goesOn ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}${goesOn ? "" : "h0"}`;
    before = time;
  });
  return path;
}
