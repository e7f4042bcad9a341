// Start: the theme at once; tables, hints and records once the library is loaded.

startTheme();
const held = (id) => JSON.parse(document.getElementById(id).textContent);
const records = unpack(held("data"));
startHints(records);
startDialog(records);
const address = URL.createObjectURL(new Blob([held("library")], { type: "text/javascript" }));
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);
startFilters(makeTables(DataTable));
document.documentElement.dataset.ready = "true";
