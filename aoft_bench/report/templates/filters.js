// One filter over all tables: words, and chips (any value of a facet, all facets). Each table is sorted separately.

// missing numbers stay last, whichever way a column is sorted
const number = (text) => (text === "" ? null : Number(text));
const missingLast = (direction) => (left, right) => {
  const [a, b] = [number(left), number(right)];
  return a === null || b === null ? (a === null) - (b === null) : direction * (a - b);
};

function makeTables(DataTable) {
  DataTable.ext.type.order["missing-last-asc"] = missingLast(1);
  DataTable.ext.type.order["missing-last-desc"] = missingLast(-1);
  return [...document.querySelectorAll("table.results")].map((table) => new DataTable(table, {
    paging: false,
    info: false,
    autoWidth: false,
    order: [],
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
    columnDefs: [{ targets: "number", type: "missing-last", orderSequence: ["desc", "asc"] }],
  }));
}

function startFilters(tables) {
  const form = document.getElementById("filters");
  const find = document.getElementById("find");
  const chips = [...form.querySelectorAll(".chip")];
  form.hidden = false;
  const settings = document.getElementById("chips"); // none where all rows are of one setting
  if (settings && matchMedia("(max-width: 640px)").matches) settings.open = false;

  const chosen = () => {
    const values = new Map();
    for (const chip of chips.filter((c) => c.getAttribute("aria-pressed") === "true")) {
      const { facet, value } = chip.dataset;
      values.set(facet, [...(values.get(facet) ?? []), value]);
    }
    return values;
  };

  function apply() {
    const wanted = [...chosen()];
    let rows = 0, shownTables = 0, all = 0;
    for (const table of tables) {
      const facets = table.rows().nodes().toArray().map((row) => JSON.parse(row.dataset.facets));
      table.search.fixed("chips", (_text, _row, index) =>
        wanted.every(([facet, values]) => values.some((value) => facets[index][facet]?.includes(value))));
      table.search(find.value).draw();
      const shown = table.rows({ search: "applied" }).count();
      table.table().node().closest(".setting").hidden = shown === 0;
      rows += shown;
      shownTables += shown > 0;
      all += facets.length;
    }
    document.getElementById("nothing").hidden = rows > 0;
    document.getElementById("status").textContent =
      `${rows} of ${all} rows in ${shownTables} of ${tables.length} tables`;
  }

  function clear() {
    find.value = "";
    for (const chip of chips) chip.setAttribute("aria-pressed", "false");
    apply();
    find.focus();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  find.addEventListener("input", apply);
  document.getElementById("clear").addEventListener("click", clear);
  document.getElementById("clear-too").addEventListener("click", clear);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  }
  apply();
}
