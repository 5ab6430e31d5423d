const data = JSON.parse(document.getElementById("report-data").textContent);

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const followTheme = () => document.documentElement.classList.toggle("dark", dark.matches && !window.matchMedia("print").matches);
dark.addEventListener("change", followTheme);
followTheme();
window.addEventListener("beforeprint", () => document.documentElement.classList.remove("dark"));
window.addEventListener("afterprint", followTheme);

// the titles of parts of a chart, at once and for fingers too
function showTips() {
  const box = document.getElementById("tip");
  document.querySelectorAll(".plot .tip > title").forEach((title) => {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  });
  const hide = () => (box.hidden = true);
  const show = (event) => {
    const part = event.target.closest(".plot .tip");
    if (!part) return hide();
    box.textContent = part.dataset.tip;
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 4);
    const top = event.clientY - height - 14;
    box.style.left = `${Math.max(left, 4)}px`;
    box.style.top = `${top < 4 ? event.clientY + 18 : top}px`;
  };
  ["pointermove", "pointerdown"].forEach((name) => document.addEventListener(name, show));
  window.addEventListener("scroll", hide, { passive: true });
}

// four significant digits; sorting goes by the whole number
function shortNumber(value) {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}

function drawRows() {
  const asText = jQuery.fn.dataTable.render.text().display;
  const columns = data.columns.map(({ name, number, shown }) => ({
    visible: shown,
    type: number ? "num" : "string",
    className: number ? "dt-right" : name === "error" ? "dt-left long" : "dt-left",
    render: (value, kind) => {
      if (value === null) return kind === "sort" || kind === "type" ? -Infinity : "";
      if (number) return kind === "display" ? shortNumber(value) : value;
      // text is shown as text, whatever is in it
      return kind === "display" ? asText(value) : value;
    },
  }));
  jQuery("#rows").DataTable({
    data: data.cells,
    columns,
    order: [],
    autoWidth: false,
    deferRender: true,
    pageLength: 25,
    lengthMenu: [10, 25, 100, 1000],
    layout: { topStart: { buttons: [{ extend: "colvis", text: "Columns" }] }, topEnd: "search", bottomStart: ["pageLength", "info"], bottomEnd: "paging" },
    language: { lengthMenu: "_MENU_ rows a page", search: "Filter rows:", info: "_START_ to _END_ of _TOTAL_ rows", infoFiltered: "(of _MAX_)", infoEmpty: "no row", zeroRecords: "No row has these words" },
  });
  const scroller = document.querySelector("#all-rows .dt-layout-table");
  Object.entries({ tabindex: "0", role: "region", "aria-label": "Every row" }).forEach(([name, value]) => scroller.setAttribute(name, value));
}

showTips();
drawRows();
window.reportReady = true;
