"use strict";
for (const map of document.querySelectorAll(".attention")) {
  const weights = JSON.parse(map.dataset.weights);
  const sources = map.querySelectorAll("span.piece");
  const targets = map.querySelectorAll("button.piece");
  const show = (button) => {
    const row = weights[Number(button.dataset.row)];
    sources.forEach((piece, index) => {
      piece.style.background = `rgba(var(--heat), ${row[index]})`;
      piece.title = row[index].toFixed(3);
    });
    targets.forEach((other) => other.classList.toggle("chosen", other === button));
  };
  targets.forEach((button) => {
    for (const event of ["pointerenter", "focus", "click"]) button.addEventListener(event, () => show(button));
  });
  if (targets.length) show(targets[0]);
}
