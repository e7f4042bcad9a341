// Records of the page, and the hint of a cell: its seeds and what its configuration says.

/** An element with attributes and children; text is text, never markup. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The records, put together from the pool of what they share. */
function unpack({ shared, pool, records }) {
  return records.map((packed) => {
    const record = { ...packed };
    for (const name of shared) if (name in record) record[name] = pool[record[name]];
    record.config = Object.fromEntries(Object.entries(record.config).map(([name, index]) => [name, pool[index]]));
    return record;
  });
}

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const percent = (value) => value.toFixed(2) + " %";
const whole = (value) => value.toLocaleString("en-US");
const spell = (options) => Object.entries(options)
  .filter(([name]) => name !== "name" && name !== "label")
  .map(([name, value]) => `${name}=${plain(value)}`).join(", ");

function hintOf(records) {
  const seeds = records.slice(0, 8).map(({ dataset, seed, metrics }) => {
    const best = metrics.best_test_epoch_top1;
    return el("li", {}, `${dataset}, seed ${seed}: ${percent(metrics.top1)} (${whole(metrics.correct)} of ` +
      `${whole(metrics.total)})` + (best == null ? "" : `, best test epoch ${percent(best)}`));
  });
  if (records.length > 8) seeds.push(el("li", {}, `and ${records.length - 8} more`));
  const { method, recipe } = records[0].config;
  return [el("ul", {}, ...seeds), el("p", {}, spell(method) || "no options"), el("p", {}, spell(recipe))];
}

function startHints(records) {
  const hint = document.getElementById("hint");
  let owner = null;
  let closing = 0;

  function close() {
    hint.hidden = true;
    owner?.removeAttribute("aria-describedby");
    owner = null;
  }

  function open(cell) {
    clearTimeout(closing);
    if (cell === owner) return;
    close();
    owner = cell;
    hint.replaceChildren(...hintOf(recordsOf(cell, records)));
    hint.hidden = false;
    cell.setAttribute("aria-describedby", "hint");
    moveBeside();
  }

  function moveBeside() {
    const box = owner.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const left = Math.max(12, Math.min(box.left, width - hint.offsetWidth - 12));
    const below = box.bottom + 6 + hint.offsetHeight < window.innerHeight;
    hint.style.left = `${left + window.scrollX}px`;
    hint.style.top = `${window.scrollY + (below ? box.bottom + 6 : box.top - hint.offsetHeight - 6)}px`;
  }

  // the pointer may move from the cell onto the hint, as WCAG 1.4.13 asks
  const closeSoon = () => { clearTimeout(closing); closing = setTimeout(close, 200); };
  const cellOf = (event) => event.target.closest?.(".cell");
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    if (cellOf(event)) open(cellOf(event));
    else if (hint.contains(event.target)) clearTimeout(closing);
    else if (owner && owner !== document.activeElement) closeSoon();
  });
  document.addEventListener("focusin", (event) => {
    if (cellOf(event)?.matches(":focus-visible")) open(cellOf(event));
    else close();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  // a cell that the pointer or the Tab key reached may have been scrolled into view by that: its hint goes with it
  const follow = () => { if (owner?.matches(":hover, :focus-visible")) moveBeside(); else close(); };
  document.addEventListener("scroll", follow, { passive: true, capture: true });
  document.addEventListener("click", close, { capture: true });
}

const recordsOf = (cell, records) => cell.dataset.records.split(" ").map((index) => records[index]);
