// Sorts a table of class "sortable" by the column whose name is clicked; a second click turns it.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending" && column > 0
        || head.getAttribute("aria-sort") === "ascending";
      const rows = [...table.tBodies[0].rows].filter((row) => row.className !== "all");
      const key = (row) => {
        const cell = row.cells[column];
        const number = parseFloat(cell.dataset.key ?? cell.textContent.replaceAll(",", ""));
        return column === 0 ? cell.textContent : number;
      };
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (typeof x === "string") return down ? y.localeCompare(x) : x.localeCompare(y);
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return down ? y - x : x - y;
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const total = table.tBodies[0].querySelector("tr.all");
      rows.forEach((row) => table.tBodies[0].insertBefore(row, total));
    });
  });
}
