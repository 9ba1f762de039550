/** Receivers of events: who is told what, and whether they take it. */

import { get } from "./api.js";
import { ask, tell } from "./ask.js";
import { h } from "./dom.js";
import { ago, badge, button, field, items, name, to } from "./parts.js";

const PATH = "/management/v1/webhooks";

/** What a webhook is called: its description, else its address. @param {any} one */
export const called = (one) => one.description || one.url;

/** @param {any} [one] */
const fields = (one) => [
  field("Address", {
    name: "url",
    type: "url",
    required: true,
    maxlength: 2048,
    value: one?.url ?? "",
    placeholder: "https://",
    autocomplete: "off",
  }),
  field(
    "Description",
    { name: "description", maxlength: 500, rows: 2, value: one?.description ?? "" },
    "textarea",
  ),
  field(
    [
      "Events, with blanks between them: ",
      h("code", null, "agent.stale"),
      ", ",
      h("code", null, "alert.*"),
      " or ",
      h("code", null, "*"),
    ],
    {
      name: "events",
      required: true,
      value: (one?.events ?? ["alert.*"]).join(" "),
      autocomplete: "off",
      spellcheck: "false",
    },
  ),
];

/** @param {FormData} given */
const body = (given) => ({
  url: String(given.get("url")).trim(),
  description: String(given.get("description")).replaceAll("\r\n", "\n").trim(),
  events: String(given.get("events"))
    .split(/[\s,]+/)
    .filter(Boolean),
});

/** @param {any} one @param {any} doing */
function item(one, doing) {
  const path = `${PATH}/${one.id}`;
  const test = () => doing.act("A test is on its way: see its deliveries.", "POST", `${path}/test`);
  const edit = () =>
    ask({
      title: "Change the webhook",
      fields: fields(one),
      confirm: "Change",
      act: async (given) => {
        // What stays is not sent: an address is looked up anew, and may be out of reach by now.
        const changed = Object.entries(body(given)).filter(
          ([key, value]) => String(value) !== String(one[key]),
        );
        if (changed.length) await doing.change("PATCH", path, Object.fromEntries(changed));
        doing.done("The webhook is changed.");
      },
    });
  const rotate = () =>
    ask({
      title: "Make a new secret",
      text: h("p", null, "For a day both the new and the old one sign."),
      confirm: "Make a new secret",
      act: async () => {
        const { secret } = await doing.change("POST", `${path}/rotate-secret`, {});
        doing.done("The webhook has a new secret.");
        tell("The new secret", "It is shown once. The receiver checks signatures with it.", secret);
      },
    });
  const remove = () =>
    ask({
      title: "Delete the webhook",
      text: h("p", null, "Deliveries that wait go with it."),
      name: called(one),
      confirm: "Delete",
      act: async () => {
        await doing.change("DELETE", path);
        doing.done("The webhook is deleted.");
      },
    });
  const toggle = () =>
    doing.act(
      one.enabled ? "The webhook is off." : "The webhook is on, and what waited is sent.",
      "PATCH",
      path,
      { enabled: !one.enabled },
    );
  const about = { "aria-describedby": `webhook-${one.id}` };
  return h(
    "li",
    { key: one.id, class: "item" },
    h(
      "div",
      { class: "row" },
      h("strong", { id: `webhook-${one.id}` }, name(called(one))),
      badge(one.enabled ? "on" : "off"),
      one.failing_since && badge("failing"),
    ),
    one.description && h("p", { class: "quiet" }, name(one.url)),
    h(
      "p",
      { class: "quiet" },
      "Told of ",
      h("code", null, one.events.join(", ")),
      " · made ",
      ago(one.created_at),
    ),
    one.disabled_reason && h("p", { class: "bad" }, "Off because: ", name(one.disabled_reason)),
    one.failing_since && h("p", { class: "bad" }, "Every attempt has failed since ", ago(one.failing_since)),
    h(
      "div",
      { class: "row", key: "acts" },
      h("a", { class: "button", href: to("/deliveries", { webhook: one.id }), ...about }, "Deliveries"),
      doing.may("operator") && button("Send a test", test, about),
      doing.may("admin") && [
        button(one.enabled ? "Turn off" : "Turn on", toggle, about),
        button("Change", edit, about),
        button("New secret", rotate, about),
        button("Delete", remove, { class: "danger", ...about }),
      ],
    ),
  );
}

export const webhooksPage = {
  title: "Webhooks",
  /** @param {AbortSignal} signal */
  load: (signal) => get(`${PATH}?limit=200`, signal),
  /** @param {any} told @param {any} doing */
  view({ webhooks }, doing) {
    const add = () =>
      ask({
        title: "Add a webhook",
        fields: fields(),
        confirm: "Add",
        act: async (given) => {
          const { secret } = await doing.change("POST", PATH, body(given));
          doing.done("The webhook is added.");
          tell("The webhook's secret", "It is shown once. The receiver checks signatures with it.", secret);
        },
      });
    return [
      h("h1", null, "Webhooks"),
      h(
        "p",
        { class: "row" },
        doing.may("admin") && button("Add a webhook", add, { class: "first" }),
        h("a", { class: "button", href: "#/deliveries" }, "All deliveries"),
      ),
      items(webhooks, (one) => item(one, doing), "Nobody is told of anything yet."),
    ];
  },
};
