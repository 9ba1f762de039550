/** Line graphs as SVG, with a sentence that says the same to who does not see them. */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 90;

/** @param {string} name @param {Record<string, string>} attributes */
function drawn(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/**
 * @param {Element} place
 * @param {{name: string, values: (number | null)[]}[]} lines at most two, oldest value first
 * @param {(value: number) => string} shown
 */
export function graph(place, lines, shown) {
  const known = lines.flatMap((line) => line.values).filter((value) => value !== null && isFinite(value));
  const highest = Math.max(...known.map(Number), 0);
  const top = highest || 1;
  const said = lines.map((line) => {
    const last = line.values.at(-1);
    return `${line.name}: ${last === null || last === undefined ? "none" : shown(last)}`;
  });
  const label = `${said.join(", ")}; highest ${shown(highest)}, over ${lines[0]?.values.length ?? 0} s`;
  const svg = drawn("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label,
  });
  svg.append(drawn("line", { class: "ground", x1: "0", x2: `${WIDTH}`, y1: `${HEIGHT - 1}`, y2: `${HEIGHT - 1}` }));
  lines.forEach((line, number) => {
    for (const points of stretches(line.values, top)) {
      svg.append(drawn("polyline", { class: number ? "second" : "first", points: points.join(" ") }));
    }
  });
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  lines.forEach((line, number) => {
    const key = document.createElement("span");
    key.className = `key ${number ? "second" : "first"}`;
    key.textContent = line.name;
    caption.append(key);
  });
  caption.append(`highest ${shown(highest)}`);
  figure.append(svg, caption);
  place.replaceChildren(figure);
}

/** Points of each stretch of known values. @param {(number | null)[]} values @param {number} top */
function stretches(values, top) {
  /** @type {string[][]} */
  const found = [];
  const step = WIDTH / Math.max(1, values.length - 1);
  let known = false;
  values.forEach((value, index) => {
    if (value === null || !isFinite(value)) {
      known = false;
      return;
    }
    if (!known) found.push([]);
    known = true;
    found.at(-1)?.push(`${(index * step).toFixed(1)},${(HEIGHT - 2 - (value / top) * (HEIGHT - 6)).toFixed(1)}`);
  });
  return found;
}
