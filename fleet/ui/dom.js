/**
 * Draws the pages: what shall be there is described, and only what differs is touched. What somebody has
 * selected to copy stays selected, a field keeps what was typed into it, and the keyboard's focus stays.
 *
 * Texts become text nodes and attributes, never HTML: no name of an agent can be more than text.
 */

const SVG = "http://www.w3.org/2000/svg";
/** Set as properties: as attributes they say only what a field begins with. */
const PROPERTIES = new Set(["value", "checked", "open"]);

/**
 * Describe an element.
 *
 * @param {string} tag
 * @param {Record<string, any> | null} [props] attributes; `onclick` and such are functions; `key` tells a child
 *   from its neighbours; null and false are left out
 * @param {...any} children as `render` takes them
 * @returns {any}
 */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children };
}

/**
 * Make an element's children be as described.
 *
 * @param {Element} parent
 * @param {any[]} described descriptions, texts and numbers, or lists of them; null and false are left out
 */
export function render(parent, described) {
  const shown = described.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false);
  const wanted = shown.map((one) => (typeof one === "object" ? one : String(one)));
  const keys = new Set(wanted.map((one) => one?.props?.key));
  const kept = new Map();
  for (const node of /** @type {any[]} */ ([...parent.childNodes])) {
    const key = node.described?.props.key;
    if (key === undefined) continue;
    if (keys.has(key)) kept.set(key, node);
    else node.remove();
  }
  /** @type {any} */
  let place = parent.firstChild;
  for (const one of wanted) {
    const key = one?.props?.key;
    let node = key === undefined ? place : kept.get(key);
    if (!node || !alike(node, one)) node = made(one, parent);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
    update(node, one);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** @param {any} node @param {any} one */
function alike(node, one) {
  if (typeof one === "string") return node.nodeType === Node.TEXT_NODE;
  return node.described?.tag === one.tag && node.described.props.key === one.props.key;
}

/** @param {any} one @param {Element} parent @returns {any} */
function made(one, parent) {
  if (typeof one === "string") return document.createTextNode(one);
  const inSvg = one.tag === "svg" || (parent.namespaceURI === SVG && parent.localName !== "foreignObject");
  const node = /** @type {any} */ (
    inSvg ? document.createElementNS(SVG, one.tag) : document.createElement(one.tag)
  );
  node.described = { tag: one.tag, props: { key: one.props.key } };
  return node;
}

/** @param {any} node @param {any} one */
function update(node, one) {
  if (typeof one === "string") {
    if (node.data !== one) node.data = one;
    return;
  }
  render(node, one.children); // first: a select takes its value from its options
  const before = node.described.props;
  for (const name of new Set([...Object.keys(before), ...Object.keys(one.props)])) {
    if (name !== "key" && before[name] !== one.props[name]) put(node, name, one.props[name]);
  }
  node.described = one;
}

/** @param {any} node @param {string} name @param {any} value */
function put(node, name, value) {
  const none = value === null || value === undefined || value === false;
  if (name.startsWith("on")) node[name] = none ? null : value;
  else if (PROPERTIES.has(name)) {
    // A field that somebody is typing into knows better than what has come of its last letters.
    if (node !== document.activeElement || node.localName === "select") node[name] = value ?? "";
  } else if (none) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : String(value));
}
