// Shows the pictures whose detections the controls choose, some at a time as the reader comes to them.
const { classes, images } = JSON.parse(document.getElementById("found").textContent);
const controls = document.getElementById("controls");
const place = document.getElementById("pictures");
const STEP = 48;
const SVG = "http://www.w3.org/2000/svg";
let chosen = [], drawn = 0;

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

function rectangle([, , left, top, right, bottom], kind, colour) {
  const made = document.createElementNS(SVG, "rect");
  const facts = { x: left, y: top, width: right - left, height: bottom - top, class: kind };
  for (const [key, value] of Object.entries(facts)) made.setAttribute(key, value);
  if (colour) made.style.stroke = colour;
  return made;
}

function figure({ image, found }) {
  const [width, height] = image.size;
  const picture = element("img", { src: image.small, alt: image.name, loading: "lazy", width, height });
  const boxes = document.createElementNS(SVG, "svg");
  boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
  boxes.setAttribute("aria-hidden", "true");
  for (const one of [...found].reverse()) {
    boxes.append(rectangle(one, "under"), rectangle(one, "over", classes[one[0]][1]));
  }
  const list = element("div", { className: "classes" });
  for (const [number, score] of found) {
    const key = element("i");
    key.style.background = classes[number][1];
    list.append(element("span", {}, key, `${classes[number][0]} ${score.toFixed(2)}`));
  }
  if (!found.length) list.append("nothing");
  const link = element("a", { href: image.picture, className: "frame" }, picture, boxes);
  return element("figure", {}, link,
    element("figcaption", {}, element("b", { textContent: image.name }), list));
}

function more() {
  place.append(...chosen.slice(drawn, drawn + STEP).map(figure));
  drawn = Math.min(drawn + STEP, chosen.length);
}

function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

function choose() {
  const ids = new Set([...controls.querySelectorAll("[name=class]:checked")].map((box) => +box.value));
  const least = +controls.score.value, text = controls.text.value.toLowerCase();
  document.getElementById("score-shown").textContent = least.toFixed(2);
  chosen = images
    .filter((image) => image.name.toLowerCase().includes(text))
    .map((image) => ({ image, found: image.found.filter((one) => ids.has(one[0]) && one[1] >= least) }))
    .filter(({ found }) => found.length || controls.empty.checked);
  const best = ({ found }) => Math.max(0, ...found.map((one) => one[1]));
  if (controls.order.value === "score") chosen.sort((a, b) => best(b) - best(a));
  if (controls.order.value === "count") chosen.sort((a, b) => b.found.length - a.found.length);
  const objects = chosen.reduce((sum, { found }) => sum + found.length, 0);
  document.getElementById("shown").textContent =
    `${count(objects, "object")} in ${chosen.length.toLocaleString("en")} of ${count(images.length, "image")}`;
  place.replaceChildren();
  drawn = 0;
  more();
}

function light() {
  document.getElementById("light-shown").textContent = (+controls.light.value).toFixed(1);
  place.style.setProperty("--light", controls.light.value);
}

for (const [name, checked] of [["all", true], ["none", false]]) {
  document.getElementById(name).addEventListener("click", () => {
    for (const box of controls.querySelectorAll("[name=class]")) box.checked = checked;
    choose();
  });
}
controls.addEventListener("input", (event) => (event.target.name === "light" ? light() : choose()));
controls.addEventListener("submit", (event) => event.preventDefault());
new IntersectionObserver((seen) => {
  if (seen.some((one) => one.isIntersecting)) more();
}, { rootMargin: "800px" }).observe(document.getElementById("end"));
choose();
light();
