"use strict";

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

// ---- theme: that of the system until the reader chooses one, which is remembered if the browser allows it
const storage = {
  read: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
  write: (theme) => { try { localStorage.setItem("theme", theme); } catch { /* pages opened as files may have no storage */ } },
};

const setTheme = (theme) => {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").setAttribute("aria-pressed", String(theme === "dark"));
};

const startTheme = () => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  setTheme(storage.read() ?? (system.matches ? "dark" : "light"));
  system.addEventListener("change", () => { if (storage.read() === null) setTheme(system.matches ? "dark" : "light"); });
  document.getElementById("theme").addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    storage.write(theme);
    setTheme(theme);
  });
};

// ---- tables: a column heading sorts the rows of every panel; cells without a number come last
const NEXT_ORDER = { none: "ascending", ascending: "descending", descending: "none" };

const sortRows = (rows, column, order) => {
  const value = (row) => Number(row.cells[column]?.dataset.value ?? NaN);
  const sign = order === "descending" ? -1 : 1;
  const filled = rows.filter((row) => !Number.isNaN(value(row)));
  const holes = rows.filter((row) => Number.isNaN(value(row)));
  return [...filled.sort((left, right) => sign * (value(left) - value(right))), ...holes];
};

const startSorting = (table) => {
  const bodies = [...table.tBodies].map((body) => ({ body, heading: body.rows[0], rows: [...body.rows].slice(1) }));
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.querySelector(".sort")?.addEventListener("click", () => {
    const order = NEXT_ORDER[heading.getAttribute("aria-sort")];
    for (const other of headings.slice(1)) other.setAttribute("aria-sort", other === heading ? order : "none");
    for (const { body, heading: first, rows } of bodies) {
      body.replaceChildren(first, ...(order === "none" ? rows : sortRows([...rows], column, order)));
    }
  }));
};

// ---- cells: a short tip on hover and focus, the runs behind a number on a click
const describeTip = (detail) => {
  const interval = detail.facts.find(([name]) => name === "95 % interval");
  const runs = `${detail.runs.length} run${detail.runs.length === 1 ? "" : "s"}`;
  return interval ? `${runs}; 95 % interval ${interval[1]}` : runs;
};

const placeTip = (tip, cell) => {
  const box = cell.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${box.top > tip.offsetHeight + 8 ? box.top - tip.offsetHeight - 4 : box.bottom + 4}px`;
};

const describeRun = (data, [place, value]) => {
  const [id, seed, seconds, origin] = data.runs[place];
  const where = origin === null ? "no record" : data.origins[origin].slice().reverse().join(", ");
  return [id, seed ?? "—", value, seconds === null ? "—" : `${seconds} s`, where];
};

const startCells = (data) => {
  const [inspector, tip] = ["inspector", "tip"].map((id) => document.getElementById(id));
  const [title, panel, facts, body] = ["h2", "p", "dl", "tbody"].map((name) => inspector.querySelector(name));
  let opened = null;
  const close = () => {
    opened?.classList.remove("open");
    inspector.hidden = true;
    opened?.focus({ preventScroll: true });
    opened = null;
  };
  const open = (cell, detail) => {
    opened?.classList.remove("open");
    opened = cell;
    cell.classList.add("open");
    title.textContent = detail.title;
    panel.textContent = detail.panel;
    facts.replaceChildren(...detail.facts.flatMap(([name, text]) => [element("dt", { textContent: name }), element("dd", { textContent: text })]));
    body.replaceChildren(...detail.runs.map((run) => {
      return element("tr", {}, ...describeRun(data, run).map((textContent) => element("td", { textContent })));
    }));
    tip.hidden = true;
    inspector.hidden = false;
    inspector.scrollTop = 0;
    inspector.focus({ preventScroll: true });
  };
  for (const cell of document.querySelectorAll(".cell")) {
    const detail = data.cells[Number(cell.dataset.detail)];
    const show = () => { tip.textContent = describeTip(detail); tip.hidden = false; placeTip(tip, cell); };
    cell.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") show(); });
    cell.addEventListener("focus", () => { if (cell.matches(":focus-visible")) show(); });
    for (const event of ["pointerleave", "blur"]) cell.addEventListener(event, () => { tip.hidden = true; });
    cell.addEventListener("click", () => { if (opened === cell) close(); else open(cell, detail); });
  }
  document.getElementById("close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    tip.hidden = true;
    if (!inspector.hidden) close();
  });
};

// ---- shared by the explorers
const fillSelect = (select, pairs) => {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value, textContent: text })));
  if (pairs.some(([value]) => String(value) === before)) select.value = before;
};

// One item of a group is in the tab order; the arrow keys move among the others.
const startRoving = (items, columns) => {
  items.forEach((item, place) => { item.tabIndex = place ? -1 : 0; });
  items.forEach((item, place) => item.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
    const next = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : place + (steps[event.key] ?? NaN);
    if (!(next in items)) return;
    event.preventDefault();
    item.tabIndex = -1;
    items[next].tabIndex = 0;
    items[next].focus();
  }));
};

const startPage = () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  startTheme();
  document.querySelectorAll(".sortable").forEach(startSorting);
  startCells(data);
  for (const root of document.querySelectorAll(".browser")) startBrowser(root, data.papers[root.dataset.paper]);
  for (const root of document.querySelectorAll(".overlap")) startOverlap(root, data.papers[root.dataset.paper]);
  for (const root of document.querySelectorAll(".costs")) startCosts(root, data.papers[root.dataset.paper].costs);
};
