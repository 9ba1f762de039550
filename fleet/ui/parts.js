/** What several pages are made of. */

import { now, withQuery } from "./api.js";
import { h } from "./dom.js";
import { day, span } from "./words.js";

/** @param {string} status of an agent, alert or delivery, or a severity */
export const badge = (status) => h("span", { class: `badge is-${status}` }, status);

/** A name that somebody else has given: whatever it holds stays within. @param {string} text */
export const name = (text) => h("bdi", { class: "name" }, text);

/** How long ago; the moment itself behind it. @param {string | null} text RFC 3339 @param {string} [none] */
export function ago(text, none = "–") {
  if (!text) return none;
  const at = Date.parse(text);
  const seconds = (now() - at) / 1000;
  const said = seconds >= 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
  return h("time", { datetime: text, title: day(at) }, said);
}

/** Terms and what they stand for. @param {[string, any][]} pairs */
export const facts = (pairs) =>
  h(
    "dl",
    { class: "facts" },
    pairs.map(([term, fact]) => h("div", { key: term }, h("dt", null, term), h("dd", null, fact))),
  );

/**
 * A table, that is a list of cards where there is no room for one.
 *
 * @param {string} label
 * @param {string[]} heads
 * @param {any[]} rows
 * @param {(row: any) => {key: string, cells: any[]}} shown the first cell heads its row
 * @param {string} none what is said without rows
 */
export function table(label, heads, rows, shown, none) {
  if (!rows.length) return h("p", { class: "none" }, none);
  return h(
    "table",
    { role: "table", "aria-label": label },
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        heads.map((head) => h("th", { role: "columnheader", scope: "col" }, head)),
      ),
    ),
    h(
      "tbody",
      { role: "rowgroup" },
      rows.map((row) => {
        const { key, cells } = shown(row);
        return h(
          "tr",
          { role: "row", key },
          cells.map((cell, index) =>
            index
              ? h("td", { role: "cell", "data-head": heads[index] }, h("div", null, cell))
              : h("th", { role: "rowheader", scope: "row" }, cell),
          ),
        );
      }),
    ),
  );
}

/** @param {string} text @param {() => void} act @param {Record<string, any>} [props] */
export const button = (text, act, props = {}) =>
  h("button", { type: "button", onclick: act, key: text, ...props }, text);

/**
 * A field with what it is called.
 *
 * @param {any} label @param {Record<string, any>} props @param {string} [tag] @param {any} [children]
 */
export const field = (label, props, tag = "input", children = null) =>
  h(
    "label",
    { key: typeof label === "string" ? label : props.name },
    h("span", null, label),
    h(tag, props, children),
  );

/**
 * A field that picks one of some values.
 *
 * @param {string} label @param {Record<string, any>} props
 * @param {(string | [string, string])[]} options values, with what they are called if that is something else
 */
export const choice = (label, props, options) =>
  field(
    label,
    props,
    "select",
    options.map((option) => {
      const [value, text] = typeof option === "string" ? [option, option] : option;
      return h("option", { value, key: value }, text);
    }),
  );

/**
 * Fields of the address's query, each with the value that is in force.
 *
 * @param {any} doing
 * @param {[string, string, (string | [string, string])[]][]} choices label, name in the query, options
 * @param {any} [before] other fields
 */
export const filters = (doing, choices, before = null) =>
  h(
    "div",
    { class: "filters", role: "search", "aria-label": "Filters" },
    before,
    choices.map(([label, key, options]) => {
      const value = doing.query[key] ?? "";
      const known = options.some((option) => value === (typeof option === "string" ? option : option[0]));
      const onchange = (/** @type {any} */ event) => doing.filter({ [key]: event.target.value });
      return choice(label, { value, onchange }, known ? options : [...options, value]);
    }),
  );

/** @param {any[]} rows @param {(row: any) => any} shown @param {any} none what is said without rows */
export const items = (rows, shown, none) =>
  rows.length ? h("ul", { class: "items" }, rows.map(shown)) : h("p", { class: "none" }, none);

/** The address of a page of these, with its query. @param {string} path @param {Record<string, any>} [query] */
export const to = (path, query = {}) => withQuery(`#${path}`, query);

/** @param {string} path @param {Record<string, any>} query @param {string | null} cursor of the next page */
export const pager = (path, query, cursor) =>
  (cursor || query.cursor) &&
  h(
    "p",
    { class: "row" },
    query.cursor && h("a", { class: "button", href: to(path, { ...query, cursor: null }) }, "First page"),
    cursor && h("a", { class: "button", href: to(path, { ...query, cursor }) }, "Next page"),
  );

/** A link where the address is one of the web, else its text. @param {string} address */
export const outside = (address) =>
  /^https?:\/\//i.test(address)
    ? h("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, name(address))
    : name(address);
