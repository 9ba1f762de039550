/** What was sent to receivers, how it went, and sending it again. */

import { get, withQuery } from "./api.js";
import { h } from "./dom.js";
import { ago, badge, button, facts, filters, name, pager, table } from "./parts.js";
import { called } from "./webhooks.js";
import { millis, moment, number } from "./words.js";

const PATH = "/management/v1/webhooks/deliveries";

/** @param {any} one @param {any} doing */
const again = (one, doing) =>
  doing.may("operator") &&
  button(
    one.status === "dead" ? "Retry" : "Send again",
    () => doing.act("The delivery is scheduled.", "POST", `${PATH}/${one.id}/redeliver`),
    {
      "aria-label": `${one.status === "dead" ? "Retry" : "Send again"}: ${one.event_type}, ${one.event_id}`,
    },
  );

/** @param {string | null} error @param {number | null} status of an answer */
function outcome(error, status) {
  if (error) return name(error);
  return status ? `answered ${status}` : "–";
}

export const deliveriesPage = {
  title: "Deliveries",
  /** @param {AbortSignal} signal @param {any} query */
  async load(signal, { webhook, ...query }) {
    const path = webhook ? `/management/v1/webhooks/${encodeURIComponent(webhook)}/deliveries` : PATH;
    const [list, { webhooks }] = await Promise.all([
      get(withQuery(path, query), signal),
      get("/management/v1/webhooks?limit=200", signal),
    ]);
    return { ...list, webhooks };
  },
  /** @param {any} told @param {any} doing */
  view({ deliveries, next_cursor, webhooks }, doing) {
    const names = new Map(webhooks.map((/** @type {any} */ one) => [one.id, called(one)]));
    return [
      h("h1", null, "Deliveries"),
      filters(doing, [
        ["Status", "status", [["", "all"], "pending", "delivered", "dead"]],
        ["Webhook", "webhook", [["", "all"], ...names]],
      ]),
      table(
        "Deliveries",
        ["event", "webhook", "state", "attempts", "last answer", "made", ""],
        deliveries,
        (one) => ({
          key: one.id,
          cells: [
            h("a", { href: `#/deliveries/${one.id}` }, name(one.event_type)),
            name(names.get(one.webhook_id) ?? one.webhook_id),
            [
              badge(one.status),
              one.status === "pending" && h("span", { class: "quiet" }, " next ", ago(one.next_attempt_at)),
            ],
            number(one.attempts),
            outcome(one.last_error, one.last_status),
            ago(one.created_at),
            again(one, doing),
          ],
        }),
        "Nothing was sent that is like this.",
      ),
      pager("/deliveries", doing.query, next_cursor),
    ];
  },
};

/** @param {string} id @param {string} title @param {string} text */
const content = (id, title, text) =>
  h("section", { key: id }, h("h2", { id }, title), h("pre", { tabindex: "0", "aria-labelledby": id }, text));

export const deliveryPage = {
  title: "Delivery",
  /** @param {AbortSignal} signal @param {any} _query @param {string} id */
  async load(signal, _query, id) {
    const told = await get(`${PATH}/${encodeURIComponent(id)}`, signal);
    return told.delivery;
  },
  /** @param {any} one @param {any} doing */
  view(one, doing) {
    return [
      h("h1", null, name(one.event_type), " ", badge(one.status)),
      h(
        "p",
        { class: "row" },
        again(one, doing),
        h("a", { class: "button", href: "#/deliveries" }, "All deliveries"),
      ),
      h(
        "section",
        { key: "about" },
        facts([
          ["Event", h("code", null, one.event_id)],
          ["Delivery", h("code", null, one.id)],
          ["Attempts", number(one.attempts)],
          ["Next attempt", one.status === "pending" ? ago(one.next_attempt_at) : "–"],
          ["Last answer", outcome(one.last_error, one.last_status)],
          ["Took", millis(one.last_duration_ms)],
          ["Made", ago(one.created_at)],
          ["Ended", ago(one.completed_at)],
        ]),
      ),
      h(
        "section",
        { key: "history" },
        h("h2", null, "Attempts"),
        table(
          "Attempts",
          ["at", "attempt", "answer", "took"],
          one.history,
          (attempt) => ({
            key: attempt.at,
            cells: [
              moment(Date.parse(attempt.at)),
              number(attempt.attempt),
              outcome(attempt.error, attempt.status),
              millis(attempt.duration_ms),
            ],
          }),
          "none yet",
        ),
      ),
      content("payload", "What is sent", JSON.stringify(one.payload, null, 2)),
      one.response && content("response", "What was answered", one.response),
    ];
  },
};
