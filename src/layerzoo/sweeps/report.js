"use strict";
// Shows a preview of a sample next to its point in the map.
const samples = JSON.parse(document.getElementById("samples").textContent);
const tip = document.getElementById("tip");
function line(text, className) {
  const element = document.createElement("div");
  element.textContent = text;
  element.className = className || "";
  return element;
}
function show(point) {
  const sample = samples[point.dataset.sample];
  tip.replaceChildren();
  if (sample.image) {
    const image = document.createElement("img");
    image.src = sample.image;
    image.alt = "";
    tip.append(image);
  }
  tip.append(line(sample.text || sample.id), line(sample.label, "soft"));
  tip.hidden = false;
  const box = point.getBoundingClientRect(), size = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(box.right + 8, innerWidth - size.width - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(box.bottom + 8, innerHeight - size.height - 4))}px`;
}
for (const point of document.querySelectorAll("[data-sample]")) {
  for (const event of ["pointerenter", "focus"]) point.addEventListener(event, () => show(point));
  for (const event of ["pointerleave", "blur"]) point.addEventListener(event, () => { tip.hidden = true; });
}
