// Lets pointer, tap and arrow keys choose a cell of a drawing. Cells carry data-row and data-column.

// show(row, column) is told of the chosen cell. `rows` and `columns` are numbers, or rows is a function of the column.
export function roam(svg, rows, columns, show, begin = [0, 0]) {
  let [row, column] = begin;
  const height = typeof rows === "function" ? rows : () => rows;
  const go = (newRow, newColumn) => {
    column = Math.max(0, Math.min(columns - 1, newColumn));
    row = Math.max(0, Math.min(height(column) - 1, newRow));
    for (const cell of svg.querySelectorAll(".chosen")) cell.classList.remove("chosen");
    svg.querySelector(`[data-row="${row}"][data-column="${column}"]`)?.classList.add("chosen");
    show(row, column);
  };
  const point = (event) => {
    const cell = event.target.closest?.("[data-row]");
    if (cell) go(Number(cell.dataset.row), Number(cell.dataset.column));
  };
  svg.addEventListener("pointerover", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    go(row + move[0], column + move[1]);
  });
  svg.addEventListener("focus", () => go(row, column));
}
