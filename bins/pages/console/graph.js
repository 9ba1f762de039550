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
  // Drawn once, and changed from then on: a screen reader that is at a graph stays there.
  if (!place.firstChild) place.append(figure(lines.map((line) => line.name)));
  place.querySelector("svg")?.setAttribute("aria-label", label);
  place.querySelectorAll("path").forEach((path, number) => {
    path.setAttribute("d", way(lines[number]?.values ?? [], top));
  });
  place.querySelector(".highest")?.replaceChildren(`highest ${shown(highest)}`);
}

/** @param {string[]} names of the lines */
function figure(names) {
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  svg.append(drawn("line", { class: "ground", x1: "0", x2: `${WIDTH}`, y1: `${HEIGHT - 1}`, y2: `${HEIGHT - 1}` }));
  const caption = document.createElement("figcaption");
  names.forEach((name, number) => {
    const kind = number ? "second" : "first";
    svg.append(drawn("path", { class: kind }));
    const key = document.createElement("span");
    key.className = `key ${kind}`;
    key.textContent = name;
    caption.append(key);
  });
  const highest = document.createElement("span");
  highest.className = "highest";
  caption.append(highest);
  const made = document.createElement("figure");
  made.append(svg, caption);
  return made;
}

/**
 * A line through the known values, with gaps between; one alone is a dot.
 *
 * @param {(number | null)[]} values
 * @param {number} top the highest of all lines
 */
function way(values, top) {
  const step = WIDTH / Math.max(1, values.length - 1);
  let drawing = false;
  let path = "";
  values.forEach((value, index) => {
    const known = value !== null && isFinite(value);
    if (known) {
      const [x, y] = [index * step, HEIGHT - 2 - (value / top) * (HEIGHT - 6)];
      path += `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}${drawing ? "" : "h0"}`;
    }
    drawing = known;
  });
  return path;
}
