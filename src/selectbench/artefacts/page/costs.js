// A cost is [selection, training], each relative to training on full data, as in selectbench.artefacts.break_even.
const shareCost = ([selection, training], targets, withSelection) => ({ selection: withSelection ? selection / targets : 0, training });

const findBreakEven = ([selection, training]) => (training >= 1 ? null : Math.floor(selection / (1 - training)) + 1);

const describeBreakEven = (cost) => {
  const even = findBreakEven(cost);
  return even === null ? "never" : even === 1 ? "1 target (always)" : `${even.toLocaleString("en")} targets`;
};

const drawBar = (shared, widest) => {
  const bar = element("div");
  const width = (share) => `width:${(100 * share) / widest}%`;
  bar.append(element("i", { style: width(shared.training) }), element("i", { style: width(shared.selection) }));
  bar.append(element("b", { style: `left:${100 / widest}%` }));
  return element("td", { className: "bar" }, bar);
};

const startCosts = (root, costs) => {
  const controls = root.querySelector("form").elements;
  const table = root.querySelector(".bars");
  const show = () => {
    const { columns, rows } = costs[Number(controls.panel.value)];
    fillSelect(controls.keep, columns.map(({ id, title }) => [id, title]));
    const targets = Math.min(1000, Math.max(1, Math.floor(Number(controls.targets.value)) || 1));
    const shown = rows.filter(([, cells]) => controls.keep.value in cells).map(([title, cells]) => {
      const cost = cells[controls.keep.value];
      return { title, cost, shared: shareCost(cost, targets, controls.selection.checked) };
    });
    const widest = Math.max(1.05, ...shown.map(({ shared }) => 1.02 * (shared.selection + shared.training)));
    const head = ["Method", "", "Cost per target", "Break-even"].map((textContent) => element("th", { scope: "col", textContent }));
    const body = shown.map(({ title, cost, shared }) => element("tr", {},
      element("th", { scope: "row", textContent: title }),
      drawBar(shared, widest),
      element("td", { textContent: (shared.selection + shared.training).toFixed(2) }),
      element("td", { textContent: describeBreakEven(cost) }),
    ));
    table.replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  };
  fillSelect(controls.panel, costs.map(({ table: title, panel }, place) => [place, `${panel} (${title})`]));
  root.querySelector("form").addEventListener("input", show);
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  root.querySelector(".panel").hidden = false;
  show();
};
