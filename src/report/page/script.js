"use strict";
(() => {
  const root = document.documentElement, key = "dbloss-theme";
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  try { const kept = localStorage.getItem(key); if (kept) root.dataset.theme = kept; } catch (e) {}
  if (location.hash === "#dark") root.dataset.theme = "dark";
  document.getElementById("theme").onclick = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem(key, root.dataset.theme); } catch (e) {}
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    table.querySelectorAll("th.s").forEach((th, column) => {
      const sort = () => {
        // Numbers begin with the highest, names with the first.
        const text = th.classList.contains("t");
        const up = th.ariaSort ? th.ariaSort === "descending" : text;
        const value = row => { const c = row.cells[column]; return text ? c.textContent : c.dataset.v === undefined ? NaN : +c.dataset.v; };
        const rows = [...body.rows].map(row => [value(row), row]);
        rows.sort(([a], [b]) => {
          if (text) return (up ? 1 : -1) * a.localeCompare(b, "en", { numeric: true });
          if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
          return up ? a - b : b - a;
        });
        table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        body.append(...rows.map(([, row]) => row));
      };
      th.tabIndex = 0;
      th.onclick = sort;
      th.onkeydown = e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); sort(); } };
    });
  }
})();
