import { chart } from "./chart.js";

// The attention of a translation: the source pieces in the shade of their weights.
export function attention(map) {
  const weights = JSON.parse(map.dataset.weights);
  const sources = map.querySelectorAll("span.piece");
  const targets = map.querySelectorAll("button.piece");
  const show = (button) => {
    const row = weights[Number(button.dataset.row)];
    sources.forEach((piece, index) => {
      piece.style.setProperty("--weight", row[index]);
      piece.title = row[index].toFixed(3);
    });
    targets.forEach((other) => other.classList.toggle("chosen", other === button));
  };
  targets.forEach((button) => {
    for (const event of ["pointerenter", "focus", "click"]) button.addEventListener(event, () => show(button));
  });
  if (targets.length) show(targets[0]);
}

// Tables sort by a click on a head, or its keys: numbers by value, at first the largest; what has no number comes last.
export function sortable(table) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  if (body.rows.length < 2) return;
  const number = (text) => Number.parseFloat(text.replaceAll(",", ""));
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...body.rows], numeric = rows.some((row) => !Number.isNaN(number(text(row)))) && !head.classList.contains("text");
      const falling = head.ariaSort ? head.ariaSort === "ascending" : numeric, sign = falling ? -1 : 1;
      const value = (row) => number(text(row));
      const order = (a, b) => numeric ? Number.isNaN(value(a)) - Number.isNaN(value(b)) || sign * (value(a) - value(b)) || 0 : sign * text(a).localeCompare(text(b));
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = falling ? "descending" : "ascending";
      body.append(...rows.sort(order));
    });
  });
}

for (const place of document.querySelectorAll("[data-chart]")) {
  const data = JSON.parse(place.dataset.chart);
  chart(place, { ...data, series: Object.entries(data.series).map(([name, points]) => ({ name, points })) });
}
for (const map of document.querySelectorAll(".attention")) attention(map);
for (const table of document.querySelectorAll("table.sortable")) sortable(table);
