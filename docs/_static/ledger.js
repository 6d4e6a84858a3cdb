// Filters above a long table of verdicts: by verdict, kind, place and words. Without scripts, all rows are shown.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".bd-article table")) {
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])].map((cell) => cell.textContent.trim());
    const rows = [...(table.tBodies[0]?.rows ?? [])];
    if (!heads.includes("verdict") || !heads.includes("place") || rows.length < 20) continue;
    const text = (row, head) => row.cells[heads.indexOf(head)].textContent.trim();
    const values = { verdict: (row) => text(row, "verdict"), place: (row) => text(row, "place").split(",")[0] };
    if (heads.includes("kind")) values.kind = (row) => text(row, "kind");
    const bar = document.createElement("form"), said = document.createElement("output"), fields = {};
    bar.className = "ledger-filters";
    const labelled = (name, field) => {
      const label = document.createElement("label");
      label.append(`${name} `, field);
      bar.append(label);
      fields[name] = field;
    };
    for (const [name, value] of Object.entries(values)) {
      const field = document.createElement("select");
      field.add(new Option("all", ""));
      for (const one of new Set(rows.map(value))) field.add(new Option(one));
      labelled(name, field);
    }
    labelled("words", Object.assign(document.createElement("input"), { type: "text" }));
    const show = () => {
      const words = fields.words.value.toLowerCase();
      for (const row of rows)
        row.hidden = Object.entries(values).some(([name, value]) => fields[name].value && fields[name].value !== value(row)) || !row.textContent.toLowerCase().includes(words);
      said.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} statements`;
    };
    bar.addEventListener("input", show);
    bar.addEventListener("submit", (event) => event.preventDefault());
    bar.append(said);
    (table.closest(".pst-scrollable-table-container") ?? table).before(bar);
    show();
  }
});
