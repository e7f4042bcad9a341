// The dialog: the records of a cell, one at a time, with the command that makes it again.

const GROUPS = ["metrics", "parameters", "cost", "protocol", "data", "weights", "hardware", "versions", "git"];
const UNITS = { bytes: (v) => ` (${(v / 1e6).toFixed(v < 1e6 ? 2 : 0)} MB)`, seconds: () => " s", top1: () => " %" };

/** Nested values as [dotted name, value]; lists stay whole. */
function flat(value, name = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[name, value]];
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name}.${key}` : key));
}

function valueText(name, value) {
  if (typeof value !== "number") return plain(value);
  const unit = Object.entries(UNITS).find(([end]) => name.endsWith(end));
  return (Number.isInteger(value) && Math.abs(value) >= 10000 ? whole(value) : String(value)) + (unit ? unit[1](value) : "");
}

function group(title, values) {
  const list = el("dl");
  for (const [name, value] of flat(values)) list.append(el("dt", {}, name), el("dd", {}, valueText(name, value)));
  return el("section", {}, el("h3", {}, title), list);
}

/** A line of text with a button that copies it. */
function copyable(text, what) {
  const status = el("span", { role: "status" });
  const button = el("button", { type: "button", "aria-label": `Copy ${what}` }, "Copy");
  const shown = el("pre", {}, text);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      status.textContent = "copied";
    } catch { // no clipboard here: leave it selected, for the reader's own keys
      getSelection().selectAllChildren(shown);
      status.textContent = "selected: copy it with your keys";
    }
  });
  return el("div", { class: "command" }, shown, button, status);
}

/** Training loss over the epochs, on a logarithmic scale where it is positive. */
function curve(losses) {
  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const heights = losses.every((v) => v > 0) ? losses.map(Math.log) : losses;
  const [low, high] = [Math.min(...heights), Math.max(...heights)];
  const points = heights.map((v, i) =>
    `${(i / Math.max(1, losses.length - 1)) * 100},${high === low ? 50 : 94 - 88 * (v - low) / (high - low)}`);
  const text = `Training loss: ${losses[0].toPrecision(3)} after the first, ` +
    `${losses.at(-1).toPrecision(3)} after the last of ${losses.length} epochs` +
    (heights === losses ? "" : " (logarithmic)");
  const drawn = svg("svg", { class: "curve", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": text });
  drawn.append(svg("line", { x1: 0, y1: 99, x2: 100, y2: 99 }), svg("polyline", { points: points.join(" ") }));
  return el("section", {}, el("h3", {}, "Training loss"), drawn, el("p", { class: "note" }, text));
}

/** Which code made a record; git could not be asked for changes where `dirty` is null. */
function codeOf({ git }) {
  if (!git?.commit) return "no commit known";
  const changed = git.dirty ? ", with local changes" : git.dirty === false ? "" : ", perhaps with local changes";
  return `commit ${git.commit.slice(0, 12)}${changed}`;
}

function details(record) {
  const rest = Object.fromEntries(Object.entries(record).filter(([name, value]) =>
    !GROUPS.includes(name) && !["config", "curves", "command"].includes(name) && value !== undefined));
  const losses = record.curves?.train_loss ?? [];
  return [
    el("h3", {}, "Run it again"),
    copyable(record.command ?? "the record has no command", "the command"),
    el("p", { class: "note" }, `Run at ${codeOf(record)}, finished ${record.finished ?? "at a time not recorded"}. The command names what differs from conf/; the configuration below is what it resolved to.`),
    ...(losses.length > 1 ? [curve(losses)] : []),
    el("div", { class: "groups" },
      ...GROUPS.filter((name) => record[name] !== undefined).map((name) => group(name, record[name])),
      group("record", rest)),
    el("div", { class: "groups" },
      ...Object.entries(record.config).filter(([, value]) => value && typeof value === "object")
        .map(([name, value]) => group(`config.${name}`, value))),
    el("details", {}, el("summary", {}, "The whole record as JSON"), copyable(JSON.stringify(record, null, 1), "the record")),
  ];
}

function startDialog(records) {
  const dialog = document.getElementById("record");
  const title = document.getElementById("record-title");
  const body = document.getElementById("record-body");

  function open(name, ...children) {
    title.textContent = name;
    body.replaceChildren(...children);
    dialog.showModal();
    dialog.scrollTop = 0;
    title.focus();
  }

  function openRecords(cell) {
    const found = recordsOf(cell, records);
    const shown = el("div");
    const buttons = found.map((record) => {
      const button = el("button", { type: "button", class: "chip", "aria-pressed": "false" },
        `${record.dataset}, seed ${record.seed}: ${percent(record.metrics.top1)}`);
      button.addEventListener("click", () => show(record, button));
      return button;
    });
    function show(record, button) {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      shown.replaceChildren(...details(record));
    }
    show(found[0], buttons[0]);
    open(cell.dataset.name, el("p", { class: "note" }, cell.closest("table").dataset.title),
      el("div", { class: "runs", role: "group", "aria-label": "Records" }, ...buttons), shown);
  }

  document.addEventListener("click", (event) => {
    const cell = event.target.closest?.(".cell");
    const figure = event.target.closest?.(".enlarge");
    if (cell) openRecords(cell);
    else if (figure) {
      const image = figure.querySelector("img");
      const caption = figure.parentElement.querySelector("figcaption").textContent;
      open(image.alt, image.cloneNode(), el("p", { class: "note" }, caption));
    } else if (event.target === dialog) dialog.close(); // the backdrop
  });
  document.getElementById("close").addEventListener("click", () => dialog.close());
}
