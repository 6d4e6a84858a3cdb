"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const rows = data.rows, count = rows.row.length, PAGE = 25, LINKED = 120; // rows of a table page; at most so many get a line from gold to prediction
  const at = id => document.getElementById(id);
  const state = { shown: [], page: 0, chosen: null };

  // Text enters the page through textContent alone: a review that holds HTML is shown as it stands.
  const make = (tag, text, settings = {}) => {
    const node = Object.assign(document.createElement(tag), settings);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const number = (value, digits = 2) => value == null ? "–" : value.toFixed(digits);
  const cell = (text, kind = "") => make("td", text, { className: kind });
  const head = (text, kind = "") => make("th", text, { scope: "col", className: kind });

  // ---- the rows
  const predicted = (name, row) => [data.predictions[name].valence[row], data.predictions[name].arousal[row]];
  const gold = row => [rows.valence[row], rows.arousal[row]];
  const error = (name, row) => {
    const [valence, arousal] = predicted(name, row);
    return valence == null || arousal == null ? null : Math.hypot(valence - rows.valence[row], arousal - rows.arousal[row]);
  };
  const text = row => data.texts[rows.text[row]];

  const offer = (select, entries) => entries.forEach(([value, label]) => select.append(make("option", label, { value })));
  const every = Array.from({ length: count }, (_, row) => row);
  offer(at("variant"), data.variants);
  offer(at("pair"), [["", "all pairs"], ...data.pairs.map((name, place) => [place, name])]);
  offer(at("split"), [["", "all splits"], ...data.splits.map((name, place) => [place, name])]);

  const settings = () => {
    const bound = (id, open) => at(id).value === "" || Number.isNaN(at(id).valueAsNumber) ? open : at(id).valueAsNumber;
    return { variant: at("variant").value, pair: at("pair").value, split: at("split").value, order: at("order").value,
      least: bound("least", 0), most: bound("most", Infinity), words: at("words").value.toLowerCase() };
  };
  const fits = (row, wanted, size) => size !== null && size >= wanted.least && size <= wanted.most
    && (wanted.pair === "" || rows.pair[row] === Number(wanted.pair)) && (wanted.split === "" || rows.split[row] === Number(wanted.split))
    && (wanted.words === "" || rows.aspect[row].toLowerCase().includes(wanted.words) || text(row).toLowerCase().includes(wanted.words));
  const filter = () => {
    const wanted = settings(), sizes = every.map(row => error(wanted.variant, row));
    const sign = { largest: -1, smallest: 1, file: 0 }[wanted.order];
    state.shown = every.filter(row => fits(row, wanted, sizes[row])).sort((one, two) => sign * (sizes[one] - sizes[two]) || one - two);
    const mean = state.shown.reduce((sum, row) => sum + sizes[row] ** 2, 0) / state.shown.length;
    const whole = sizes.filter(size => size !== null).length;
    at("summary").textContent = `${state.shown.length.toLocaleString("en")} of ${whole.toLocaleString("en")} predicted rows shown`
      + (state.shown.length ? `; RMSE_VA over these rows: ${number(mean ** 0.5, 3)}` : "");
    state.page = 0;
    drawTable();
    drawPlane();
  };

  // ---- the table
  const drawTable = () => {
    const { variant } = settings(), first = state.page * PAGE, part = state.shown.slice(first, first + PAGE);
    at("rows").tBodies[0].replaceChildren(...part.map(row => {
      const line = make("tr"), button = make("button", String(rows.row[row]), { type: "button" });
      button.setAttribute("aria-label", `Choose row ${rows.row[row]}: ${rows.aspect[row]}`);
      button.addEventListener("click", () => choose(row));
      line.append(make("td"), cell(data.pairs[rows.pair[row]]), cell(data.splits[rows.split[row]]), cell(rows.aspect[row], "aspect"),
        ...[...gold(row), ...predicted(variant, row), error(variant, row)].map(value => cell(number(value), "number")));
      line.firstChild.append(button);
      line.dataset.row = rows.row[row];
      return line;
    }));
    mark();
    at("page").textContent = part.length ? `rows ${first + 1} to ${first + part.length} of ${state.shown.length.toLocaleString("en")}` : "no row fits the filters";
    at("before").disabled = state.page === 0;
    at("after").disabled = first + PAGE >= state.shown.length;
  };
  const mark = () => {
    for (const line of at("rows").tBodies[0].rows) {
      if (state.chosen !== null && line.dataset.row === String(rows.row[state.chosen])) line.setAttribute("aria-current", "true");
      else line.removeAttribute("aria-current");
    }
  };
  const turn = step => { state.page += step; drawTable(); };

  // ---- the chosen row
  const tableOf = (caption, heads, body) => {
    const table = make("table"), top = make("tr");
    top.append(...heads);
    table.append(make("caption", caption), make("thead"), make("tbody"));
    table.tHead.append(top);
    table.tBodies[0].append(...body);
    return table;
  };
  const lineOf = cells => { const line = make("tr"); line.append(...cells); return line; };
  const digits = (dimension, row) => {
    const found = data.distributions[dimension] && data.distributions[dimension][row];
    if (!found) return make("p", `No ${dimension} guidance for this row.`);
    const shares = found.map(part => part / 10000), first = data.digits[dimension][0];
    const expected = shares.reduce((sum, share, place) => sum + share * (place + first), 0) / shares.reduce((sum, share) => sum + share, 0);
    const body = shares.map((share, place) => {
      const bar = make("span", "", { className: "bar" }), held = cell("", "share");
      bar.style.width = `${100 * share}%`;
      held.append(bar);
      return lineOf([cell(String(place + first), "number"), cell(number(share, 4), "number"), held]);
    });
    const table = tableOf(`${dimension} digits, expected ${number(expected)}`, [head("digit", "number"), head("P(digit)", "number"), make("td")], body);
    table.id = `digits-${dimension}`;
    return table;
  };
  const answers = row => tableOf("Gold and predictions", [head("from"), head("valence", "number"), head("arousal", "number"), head("error", "number")],
    [["gold", ...gold(row), null], ...data.variants.map(([name, label]) => [label, ...predicted(name, row), error(name, row)])]
      .filter(line => line[1] != null).map(([from, ...values]) => lineOf([cell(from), ...values.map(value => cell(number(value), "number"))])));
  const list = entries => {
    const node = make("dl");
    entries.forEach(([name, value]) => node.append(make("dt", name), make("dd", value)));
    return node;
  };
  const choose = row => {
    state.chosen = row;
    at("details-title").textContent = `Row ${rows.row[row]}`;
    const quote = make("blockquote", text(row), { id: "text", lang: data.languages[data.pairs[rows.pair[row]].split("_")[0]] || "" });
    const both = make("div", "", { className: "digits" });
    both.append(digits("valence", row), digits("arousal", row));
    at("facts").replaceChildren(list([["aspect", rows.aspect[row]], ["pair", data.pairs[rows.pair[row]]], ["split", data.splits[rows.split[row]]], ["ID", rows.id[row]],
      ["for the LLMs", rows.role_coarse[row] || "unused"], ["for the encoders", rows.role_encoder[row] || "unused"]]),
      make("h3", "Text"), quote, answers(row), make("h3", "What the coarse LLMs said"), both);
    mark();
    drawChosen();
    if (!matchMedia("(min-width: 60rem)").matches) at("details").scrollIntoView();
    at("details").scrollTop = 0;
  };

  // ---- the plane, drawn by BokehJS
  const { ColumnDataSource, Plotting } = Bokeh, range = () => new Bokeh.Range1d({ start: 0.7, end: 9.3 });
  const sources = Object.fromEntries(["links", "gold", "predicted", "chosen", "ends"].map(name => [name, new ColumnDataSource({ data: { x: [], y: [], x1: [], y1: [] } })]));
  const plot = Plotting.figure({ x_range: range(), y_range: range(), tools: matchMedia("(pointer: fine)").matches ? "box_zoom" : "", toolbar_location: null,
    sizing_mode: "stretch_both", min_width: 200, min_height: 200, x_axis_label: "valence (1 to 9)", y_axis_label: "arousal (1 to 9)", output_backend: "canvas" });
  const layers = {
    links: plot.segment({ field: "x" }, { field: "y" }, { field: "x1" }, { field: "y1" }, { source: sources.links, line_alpha: 0.5 }),
    predicted: plot.scatter({ field: "x" }, { field: "y" }, { source: sources.predicted, marker: "square", size: 5, line_alpha: 0, fill_alpha: 0.6 }),
    gold: plot.scatter({ field: "x" }, { field: "y" }, { source: sources.gold, marker: "circle", size: 6, fill_alpha: 0 }),
    chosen: plot.segment({ field: "x" }, { field: "y" }, { field: "x1" }, { field: "y1" }, { source: sources.chosen, line_width: 3 }),
    ends: plot.scatter({ field: "x" }, { field: "y" }, { source: sources.ends, marker: "circle", size: 13, line_width: 3, fill_alpha: 0 }),
  };
  const paint = () => {
    const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    plot.setv({ background_fill_color: colour("ground"), border_fill_color: colour("ground"), outline_line_color: colour("line") });
    for (const axis of [...plot.below, ...plot.left]) axis.setv({ axis_line_color: colour("line"), major_tick_line_color: colour("line"),
      minor_tick_line_color: null, axis_label_text_color: colour("ink"), major_label_text_color: colour("ink"), axis_label_text_font_style: "normal" });
    for (const grid of plot.center) grid.setv({ grid_line_color: colour("line"), grid_line_alpha: 0.25 });
    for (const [layer, name] of Object.entries({ links: "line", predicted: "predicted", gold: "gold", chosen: "chosen", ends: "chosen" })) {
      layers[layer].glyph.setv({ line_color: { value: colour(name) }, ...(layer === "predicted" ? { fill_color: { value: colour(name) } } : {}) });
    }
  };
  const pairsOf = (list, variant) => ({ x: list.map(row => rows.valence[row]), y: list.map(row => rows.arousal[row]),
    x1: list.map(row => data.predictions[variant].valence[row]), y1: list.map(row => data.predictions[variant].arousal[row]) });
  const drawPlane = () => {
    const points = pairsOf(state.shown, settings().variant), few = state.shown.length <= LINKED;
    sources.gold.data = points;
    sources.predicted.data = { ...points, x: points.x1, y: points.y1 };
    sources.links.data = few ? points : pairsOf([], settings().variant);
    at("plane").setAttribute("aria-label", `${state.shown.length} rows on the valence-arousal plane, each with its gold value and its prediction`);
    drawChosen();
  };
  const drawChosen = () => {
    const { variant } = settings(), row = state.chosen, found = row !== null && error(variant, row) !== null;
    const points = pairsOf(found ? [row] : [], variant);
    sources.chosen.data = points;
    sources.ends.data = { ...points, x: [...points.x, ...points.x1], y: [...points.y, ...points.y1], x1: [...points.x1, ...points.x1], y1: [...points.y1, ...points.y1] };
  };
  const near = (x, y) => {
    const { variant } = settings(), reach = (plot.x_range.end - plot.x_range.start) / 60;
    const gap = row => Math.min(Math.hypot(rows.valence[row] - x, rows.arousal[row] - y), Math.hypot(predicted(variant, row)[0] - x, predicted(variant, row)[1] - y));
    return state.shown.map(row => [gap(row), row]).filter(([size]) => size <= reach).sort(([one], [two]) => one - two).map(([, row]) => row);
  };
  const zoom = factor => {
    for (const axis of [plot.x_range, plot.y_range]) {
      const middle = (axis.start + axis.end) / 2, half = Math.min((axis.end - axis.start) / 2 * factor, 4.3);
      const start = Math.max(0.7, Math.min(middle - half, 9.3 - 2 * half));
      axis.setv({ start, end: start + 2 * half });
    }
  };
  plot.on_event("tap", event => {
    const hits = near(event.x, event.y);
    if (hits.length) choose(hits[(hits.indexOf(state.chosen) + 1) % hits.length]);
  });

  // ---- start
  at("about").textContent = data.about;
  at("notice").textContent = data.notice;
  at("before").addEventListener("click", () => turn(-1));
  at("after").addEventListener("click", () => turn(1));
  at("nearer").addEventListener("click", () => zoom(0.5));
  at("farther").addEventListener("click", () => zoom(2));
  at("whole").addEventListener("click", () => zoom(100));
  at("filters").addEventListener("input", filter);
  at("filters").addEventListener("submit", event => event.preventDefault());
  at("filters").addEventListener("reset", () => setTimeout(filter));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  paint();
  Plotting.show(plot, at("plane"));
  filter();
})();
