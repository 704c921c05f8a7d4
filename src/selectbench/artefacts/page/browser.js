// ---- subsets: masks have one bit per sample, ranks 16 bits, both in base64 (see artefacts/browser.py)
const readBytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

const readMask = (text, length) => {
  const bytes = readBytes(text);
  return Array.from({ length }, (_, place) => Boolean(bytes[place >> 3] & (128 >> (place & 7))));
};

const readRanks = (text) => {
  const bytes = readBytes(text);
  return Array.from({ length: bytes.length / 2 }, (_, place) => bytes[2 * place] + 256 * bytes[2 * place + 1]);
};

const describeRank = (rank, numPool) => `ranks ${(Math.round((1 - rank / 65535) * (numPool - 1)) + 1).toLocaleString("en")} of ${numPool.toLocaleString("en")}`;

// Two groups for one method, four for two.
const groupSamples = (places, first, second, names) => {
  const groups = second === null
    ? [[`Kept by ${names[0]}`, (place) => first[place]], ["Dropped", (place) => !first[place]]]
    : [
      ["Kept by both", (place) => first[place] && second[place]],
      [`Only by ${names[0]}`, (place) => first[place] && !second[place]],
      [`Only by ${names[1]}`, (place) => !first[place] && second[place]],
      ["Dropped by both", (place) => !first[place] && !second[place]],
    ];
  return groups.map(([title, holds]) => ({ title, places: places.filter(holds) }));
};

// One rule holds the sheet of all pictures of a data set; a page is slow if every picture's own style does.
const addSheet = (name, { sheet, columns, rows, width, height }) => {
  const textContent = `.${name} { background-image: url("${sheet}"); background-size: ${100 * columns}% ${100 * rows}%; aspect-ratio: ${width} / ${height}; }`;
  document.head.append(element("style", { textContent }));
};

const drawPictures = (dataset, places, describe, tell) => {
  const { columns, rows } = dataset.pictures;
  const items = places.map((place) => {
    const item = element("button", { type: "button", className: `picture ${dataset.sheet}` });
    const across = columns > 1 ? (100 * (place % columns)) / (columns - 1) : 0;
    const down = rows > 1 ? (100 * Math.floor(place / columns)) / (rows - 1) : 0;
    item.style.backgroundPosition = `${across}% ${down}%`;
    item.setAttribute("aria-label", describe(place));
    for (const event of ["pointerenter", "focus"]) item.addEventListener(event, () => tell(describe(place)));
    return item;
  });
  const list = element("div", { className: "pictures" }, ...items);
  startRoving(items, () => Math.max(1, Math.floor((list.clientWidth - 5) / 31)));
  return list;
};

const drawTexts = (dataset, places, describe) => {
  const items = places.map((place) => element("li", { className: "text" },
    element("span", { textContent: dataset.texts[place] }), element("span", { textContent: describe(place) })));
  return element("ul", { className: "texts", tabIndex: 0 }, ...items);
};

const drawCounts = (table, dataset, groups) => {
  const classes = [...new Set(groups.flatMap(({ places }) => places.map((place) => dataset.labels[place])))].sort((left, right) => left - right);
  const head = ["Class", ...groups.map(({ title }) => title)].map((textContent) => element("th", { scope: "col", textContent }));
  const body = classes.map((label) => element("tr", {}, element("th", { scope: "row", textContent: dataset.classes[label] }), ...groups.map(({ places }) => {
    return element("td", { textContent: places.filter((place) => dataset.labels[place] === label).length });
  })));
  table.replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
};

const startBrowser = (root, { datasets, methods }) => {
  if (!datasets.length) return;
  const controls = root.querySelector("form").elements;
  const line = root.querySelector(".line");
  const titles = Object.fromEntries(methods);
  datasets.forEach((dataset, place) => {
    if (!dataset.pictures) return;
    dataset.sheet = `sheet-${root.dataset.paper}-${place}`;
    addSheet(dataset.sheet, dataset.pictures);
  });
  const read = (dataset) => {
    const [first, second] = [controls.first, controls.second].map((select) => dataset.methods[select.value] ?? null);
    const mask = (method) => (method?.kept[controls.keep.value]?.[controls.seed.value] ? readMask(method.kept[controls.keep.value][controls.seed.value], dataset.labels.length) : null);
    const ranks = (method) => (method?.ranks[controls.seed.value] ? readRanks(method.ranks[controls.seed.value]) : null);
    return { masks: [mask(first), mask(second)], ranks: [ranks(first), ranks(second)] };
  };
  const offer = (dataset) => {
    const present = methods.filter(([id]) => id in dataset.methods);
    const kept = Object.values(dataset.methods).map((method) => method.kept);
    const keeps = [...new Set(kept.flatMap(Object.keys))].sort((left, right) => left - right);
    const seeds = [...new Set(kept.flatMap((byKeep) => Object.values(byKeep).flatMap(Object.keys)))].sort();
    fillSelect(controls.first, present);
    fillSelect(controls.second, [["", "no other"], ...present]);
    fillSelect(controls.keep, keeps.map((keep) => [keep, `${Number((100 * keep).toFixed(4))} %`]));
    fillSelect(controls.seed, seeds.map((seed) => [seed, seed]));
    fillSelect(controls.label, [["", "all"], ...[...new Set(dataset.labels)].sort((left, right) => left - right).map((label) => [label, dataset.classes[label]])]);
    root.querySelector(".note").textContent = describeSample(dataset, seeds);
  };
  const show = () => {
    const dataset = datasets[Number(controls.dataset.value)];
    const { masks, ranks } = read(dataset);
    const names = [controls.first, controls.second].map((select) => titles[select.value]);
    const missing = [0, 1].filter((place) => masks[place] === null && (place === 0 || controls.second.value));
    const describe = (place) => {
      const scores = ranks.map((rank, which) => (rank ? `${names[which]} ${describeRank(rank[place], dataset.num_pool)}` : null)).filter(Boolean);
      return [`${dataset.classes[dataset.labels[place]]}, sample ${dataset.ids ? dataset.ids[place] : place}`, ...scores].join("; ");
    };
    const order = ranks[{ first: 0, second: 1 }[controls.order.value]] ?? null;
    let places = dataset.labels.map((_, place) => place).filter((place) => !controls.label.value || dataset.labels[place] === Number(controls.label.value));
    if (order) places = places.sort((left, right) => order[right] - order[left]);
    const groups = missing.length ? [] : groupSamples(places, masks[0], controls.second.value ? masks[1] : null, names);
    const tell = (text) => { line.textContent = text; };
    root.querySelector(".groups").replaceChildren(...groups.map(({ title, places: held }) => {
      const count = element("span", { textContent: `${held.length.toLocaleString("en")} of ${places.length.toLocaleString("en")}` });
      const samples = dataset.texts ? drawTexts(dataset, held, describe) : drawPictures(dataset, held, describe, tell);
      samples.setAttribute("role", dataset.texts ? "list" : "group");
      samples.setAttribute("aria-label", title);
      return element("div", { className: "group" }, element("h5", { textContent: `${title} ` }, count), samples);
    }));
    drawCounts(root.querySelector(".counts"), dataset, groups);
    const unscored = [0, 1].filter((place) => masks[place] && !ranks[place]).map((place) => names[place]);
    const advice = dataset.texts ? "" : "Hover over a picture or use the arrow keys.";
    tell(missing.length ? `${names[missing[0]]} has no subset of this size for this seed.` : unscored.length ? `${unscored.join(" and ")}: no scores, as an agent chose the subset. ${advice}` : advice);
  };
  root.addEventListener("show-pair", ({ detail }) => {
    const place = datasets.findIndex(({ id }) => id === detail.dataset);
    if (place >= 0) controls.dataset.value = place;
    offer(datasets[Number(controls.dataset.value)]);
    controls.first.value = detail.first;
    controls.second.value = detail.second === detail.first ? "" : detail.second;
    controls.keep.value = detail.keep;
    show();
    controls.first.focus();
  });
  fillSelect(controls.dataset, datasets.map(({ title }, place) => [place, title]));
  root.querySelector(".many").hidden = datasets.length < 2;
  root.querySelector("form").addEventListener("input", (event) => { if (event.target === controls.dataset) offer(datasets[Number(controls.dataset.value)]); show(); });
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  root.querySelector(".empty").hidden = true;
  root.querySelector(".panel").hidden = false;
  offer(datasets[0]);
  controls.first.selectedIndex = controls.first.length - 1;
  show();
};

const describeSample = (dataset, seeds) => {
  const [shown, whole] = [dataset.labels.length, dataset.num_pool].map((count) => count.toLocaleString("en"));
  const part = dataset.ids ? `A random sample of ${shown} of the pool's ${whole}, the same for every method; counts refer to this sample.` : `All ${whole} samples of the pool.`;
  return `${part} Seed${seeds.length > 1 ? "s" : ""} ${seeds.join(" and ")} only, to keep the page small. Rank 1 is what a method keeps first.`;
};

// ---- overlaps
const describeOverlap = (names, share, chance, isSame) => {
  const percent = (value) => `${(100 * value).toFixed(0)} %`;
  const pair = isSame ? `${names[0]}, between different seeds` : `${names[0]} and ${names[1]}`;
  return share === null ? `${pair}: nothing to compare.` : `${pair}: ${percent(share)} of the kept samples in common (chance ${percent(chance)}), Jaccard index ${(share / (2 - share)).toFixed(2)}.`;
};

const startOverlap = (root, { overlaps, methods, datasets }) => {
  if (!overlaps.length) return;
  const select = root.querySelector("select");
  const line = root.querySelector(".line");
  const several = new Set(overlaps.map(({ dataset }) => dataset)).size > 1;
  const show = () => {
    const group = overlaps[Number(select.value)];
    const present = methods.filter(([id]) => group.methods.includes(id));
    const buttons = [];
    const rows = present.map(([left, leftTitle], row) => {
      const cells = present.map(([right, rightTitle]) => {
        const share = group.overlap[group.methods.indexOf(left)][group.methods.indexOf(right)];
        const text = describeOverlap([leftTitle, rightTitle], share, group.chance, left === right);
        const button = element("button", { type: "button", textContent: share === null ? "" : share.toFixed(2).replace(/^0/, "") });
        button.style.setProperty("--share", share ?? 0);
        button.classList.toggle("dark", share > 0.6);
        button.classList.toggle("less", share !== null && share < group.chance);
        button.setAttribute("aria-label", text);
        for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => { line.textContent = text; });
        button.addEventListener("click", () => {
          const detail = { first: left, second: right, keep: group.keep, dataset: group.dataset };
          if (datasets.length) document.querySelector(`.browser[data-paper="${root.dataset.paper}"]`).dispatchEvent(new CustomEvent("show-pair", { detail }));
        });
        buttons.push(button);
        return element("td", {}, button);
      });
      return element("tr", {}, element("th", { scope: "row", textContent: `${leftTitle}  ${row + 1}` }), ...cells);
    });
    const head = [element("td"), ...present.map(([, title], column) => element("th", { scope: "col", title, textContent: column + 1 }))];
    root.querySelector(".matrix").replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
    startRoving(buttons, () => present.length);
  };
  fillSelect(select, overlaps.map(({ kept, title }, place) => [place, several ? `${kept}, ${title}` : kept]));
  root.querySelector("form").addEventListener("input", show);
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  root.querySelector(".empty").hidden = true;
  root.querySelector(".panel").hidden = false;
  show();
};
