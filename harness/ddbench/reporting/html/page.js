"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const SIZES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, Ki: 1024, Mi: 1048576, Gi: 1073741824 };

// What a cell is sorted by: its first number with its unit, else its words; null for nothing.
function value(cell) {
  const text = cell.textContent.trim();
  const found = /^[^\p{L}\d]*?([+−-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)(?:\s*([kMGTP]i?)(?![a-z]))?/u.exec(text);
  if (found && !cell.classList.contains("w") || /^[+−-]?\d+$/.test(text))
    return parseFloat(found[1].replaceAll(",", "").replace("−", "-")) * (SIZES[found[2]] || 1);
  return cell.classList.contains("w") && text ? text.toLowerCase() : null;
}

function compare(a, b) {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
}

function sort(heading) {
  const body = heading.closest("table").tBodies[0];
  const column = heading.cellIndex;
  const words = heading.classList.contains("w");
  const before = heading.getAttribute("aria-sort");
  const down = before ? before === "ascending" : !words && column > 0;
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return down ? compare(b, a) : compare(a, b);
  });
  body.append(...rows.map(([, row]) => row));
}

for (const heading of all("thead th")) {
  heading.tabIndex = 0;
  heading.title = "sort";
  heading.addEventListener("click", () => sort(heading));
  heading.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    sort(heading);
  });
}

// An element is shown where each of its data-... attributes has, on a line, what is chosen.
const form = document.getElementById("choose");
const table = document.querySelector("#all table");
const count = document.getElementById("count");

function choose() {
  const chosen = all("select", form).filter((one) => one.value);
  for (const one of all("select", form))
    for (const element of all(`main [data-${one.name}]`)) element.hidden = false;
  for (const one of chosen)
    for (const element of all(`main [data-${one.name}]`))
      if (!element.dataset[one.name].split("\n").includes(one.value)) element.hidden = true;
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} results`;
}

if (form) {
  form.hidden = false;
  form.addEventListener("change", choose);
  form.addEventListener("reset", () => setTimeout(choose));
  choose();
}

// Columns of the table of all results can be hidden.
const columns = document.getElementById("columns");
if (columns && table) {
  columns.hidden = false;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[column].hidden = !box.checked;
    });
    label.append(box, ` ${heading.textContent}`);
    columns.append(label);
  });
}

// Paper folds nothing away.
let opened = [];
addEventListener("beforeprint", () => {
  opened = all("details:not([open])");
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
