/** Alerts: what an operator should look at, and what was done about it. */

import { get, withQuery } from "./api.js";
import { ask } from "./ask.js";
import { h } from "./dom.js";
import { ago, badge, button, field, filters, items, name, pager } from "./parts.js";
import { number } from "./words.js";

const NOTE_MAX = 1000;

/** @param {any} one */
function subject(one) {
  if (one.subject_type === "agent") return h("a", { href: `#/agents/${one.subject_id}` }, "the agent");
  if (one.subject_type === "webhook") return h("a", { href: "#/webhooks" }, "the webhooks");
  return null;
}

/** @param {any} value */
const plain = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

/** @param {any} one @param {any} doing */
export function alertItem(one, doing) {
  const path = `/management/v1/alerts/${one.id}`;
  const about = subject(one);
  const detail = Object.entries(one.detail ?? {});
  const acknowledge = () =>
    ask({
      title: "Acknowledge the alert",
      text: h("p", null, name(one.title)),
      fields: field(
        "Note, if there is something to say",
        { name: "note", maxlength: NOTE_MAX, rows: 3 },
        "textarea",
      ),
      confirm: "Acknowledge",
      act: async (given) => {
        const note = String(given.get("note")).replaceAll("\r\n", "\n").trim();
        await doing.change("PUT", `${path}/acknowledge`, note ? { note } : {});
        doing.done("The alert is acknowledged.");
      },
    });
  const resolve = () =>
    doing.act(
      "The alert is resolved. A condition that still holds raises a new one.",
      "POST",
      `${path}/resolve`,
    );
  const mayAct = doing.may("operator") && one.status !== "resolved";
  return h(
    "li",
    { key: one.id, class: `item is-${one.severity}` },
    h(
      "div",
      { class: "row" },
      badge(one.severity),
      h("strong", null, name(one.title)),
      one.status !== "open" && badge(one.status),
    ),
    h(
      "p",
      { class: "quiet" },
      one.kind,
      about && [" · ", about],
      " · raised ",
      ago(one.raised_at),
      one.occurrences > 1 && [` · ${number(one.occurrences)} times, last `, ago(one.last_seen_at)],
      one.acknowledged_at && [
        " · acknowledged by ",
        name(one.acknowledged_by ?? "–"),
        " ",
        ago(one.acknowledged_at),
      ],
      one.resolved_at && [" · resolved by ", name(one.resolved_by ?? "–"), " ", ago(one.resolved_at)],
    ),
    one.note && h("p", { class: "note" }, name(one.note)),
    detail.length > 0 &&
      h(
        "details",
        { key: "detail" },
        h("summary", null, "Detail"),
        h(
          "dl",
          { class: "facts" },
          detail.map(([term, fact]) =>
            h("div", { key: term }, h("dt", null, name(term)), h("dd", null, name(plain(fact)))),
          ),
        ),
      ),
    h(
      "div",
      { class: "row", key: "acts" },
      mayAct &&
        one.status === "open" &&
        button("Acknowledge", acknowledge, { "aria-label": `Acknowledge: ${one.title}` }),
      mayAct && button("Resolve", resolve, { "aria-label": `Resolve: ${one.title}` }),
    ),
  );
}

export const alertsPage = {
  title: "Alerts",
  /** @param {AbortSignal} signal @param {any} query */
  async load(signal, query) {
    const [list, summary] = await Promise.all([
      get(withQuery("/management/v1/alerts", query), signal),
      get("/management/v1/alerts/summary", signal),
    ]);
    return { ...list, summary };
  },
  /** @param {any} told @param {any} doing */
  view({ alerts, next_cursor, summary }, doing) {
    const { by_severity: by } = summary;
    return [
      h("h1", null, "Alerts"),
      h(
        "p",
        { class: "quiet" },
        `${number(summary.open)} open, ${number(summary.acknowledged)} acknowledged, `,
        `${number(summary.resolved_24h)} resolved in the last 24 hours. Not resolved: `,
        `${number(by.critical)} critical, ${number(by.warning)} warning, ${number(by.info)} info.`,
      ),
      filters(doing, [
        ["Status", "status", [["", "open and acknowledged"], "open", "acknowledged", "resolved", "all"]],
        ["Severity", "severity", [["", "all"], "critical", "warning", "info"]],
        ["Kind", "kind", [["", "all"], ...Object.keys(summary.by_kind).sort()]],
      ]),
      items(alerts, (one) => alertItem(one, doing), "No alert is like this."),
      pager("/alerts", doing.query, next_cursor),
    ];
  },
};
