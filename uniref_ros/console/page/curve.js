// The last minute of a camera as two lines: images a second, and milliseconds from an image to its result.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 60;
const HEIGHT = 20;

export function drawCurve(element, points) {
  const svg = element.querySelector("svg") ?? makeSvg(element);
  const latest = points.at(-1) ?? [0, 0];
  const highest = [0, 1].map((part) => Math.max(1, ...points.map((point) => point[part])));
  ["rate", "latency"].forEach((name, part) => {
    svg.querySelector(`.${name}`).setAttribute("points", points.map((point, index) => {
      const x = WIDTH - (points.length - 1 - index);
      const y = HEIGHT - 1 - ((HEIGHT - 2) * point[part]) / highest[part];
      return `${x},${y.toFixed(2)}`;
    }).join(" "));
  });
  const text = `The last minute: now ${latest[0]} images a second, at most ${highest[0]}; latency ${latest[1]} ms, at most ${highest[1]} ms`;
  element.setAttribute("aria-label", text);
  element.title = text;
}

function makeSvg(element) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const name of ["rate", "latency"]) {
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("class", name);
    svg.append(line);
  }
  element.append(svg);
  return svg;
}
