// A sparkline: the shape of a minute in the space of a word.

const WIDTH = 84, HEIGHT = 22;

// As an SVG path; gaps stay gaps.  Values are drawn as logarithms, since latencies differ by factors.
export function path(values) {
  const known = values.filter((one) => one > 0).map(Math.log2);
  if (!known.length) return "";
  const low = Math.min(...known), room = Math.max(1, Math.max(...known) - low), step = WIDTH / Math.max(1, values.length - 1);
  let text = "", open = false;
  values.forEach((one, k) => {
    if (!(one > 0)) { open = false; return; }
    const x = (k * step).toFixed(1), y = (HEIGHT - 3 - ((Math.log2(one) - low) / room) * (HEIGHT - 6)).toFixed(1);
    text += open ? `L${x} ${y}` : `M${x} ${y}h.01`;
    open = true;
  });
  return text;
}

export function spark(values) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("preserveAspectRatio", "none");
  line.setAttribute("d", path(values));
  svg.append(line);
  return svg;
}
