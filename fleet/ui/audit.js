/** Who changed what. */

import { get, withQuery } from "./api.js";
import { h } from "./dom.js";
import { ago, name, pager, table } from "./parts.js";

export const auditPage = {
  title: "Audit",
  /** @param {AbortSignal} signal @param {any} query */
  load: (signal, query) => get(withQuery("/platform/v1/audit", query), signal),
  /** @param {any} told @param {any} doing */
  view(told, doing) {
    const { entries } = told;
    return [
      h("h1", null, "Audit"),
      table(
        "Audit",
        ["when", "who", "what", "subject", "detail", "from"],
        entries,
        (one) => ({
          key: String(one.id),
          cells: [
            ago(one.at),
            name(one.actor),
            h("code", null, one.action),
            [one.subject_type, " ", h("code", null, name(one.subject_id))],
            Object.keys(one.detail ?? {}).length ? h("code", null, name(JSON.stringify(one.detail))) : "–",
            one.ip ?? "–",
          ],
        }),
        "Nothing was changed yet.",
      ),
      pager("/audit", doing.query, told.next_cursor),
    ];
  },
};
