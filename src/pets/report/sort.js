"use strict";
// A table whose headings sort it, a second time the other way; rows without a value stay last.
document.querySelectorAll(".sortable thead button").forEach((button) => {
  button.addEventListener("click", () => {
    const heading = button.parentElement, table = heading.closest("table");
    const column = [...heading.parentElement.children].indexOf(heading);
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.children[column].dataset.value;
    const numeric = [...table.tBodies[0].rows].every((row) => value(row) === "" || !isNaN(value(row)));
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return (up ? 1 : -1) * (numeric ? x - y : x.localeCompare(y));
    });
    table.tBodies[0].append(...rows);
  });
});
