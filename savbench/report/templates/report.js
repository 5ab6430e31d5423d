const data = JSON.parse(document.getElementById("report-data").textContent);
const PRINT_WIDTH_PX = 680; // of an A4 or letter page with usual margins, at 96 px an inch

const LEGEND_LINE_PX = 24;

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const followTheme = () => document.documentElement.classList.toggle("dark", dark.matches && !window.matchMedia("print").matches);
dark.addEventListener("change", followTheme);
followTheme();

const plots = [...document.querySelectorAll(".plot")];
const narrow = window.matchMedia("(max-width: 640px)");

// a phone has no room for names beside points, and its legend has one entry a line
function fitted({ data: traces, layout }) {
  if (!narrow.matches) return { traces, layout };
  const slim = traces.map((trace) => (trace.mode === "markers+text" ? { ...trace, mode: "markers" } : trace));
  const hasLegend = layout.showlegend !== false || slim.some((trace, index) => trace !== traces[index]);
  const entries = hasLegend ? slim.filter((trace) => trace.showlegend !== false).length : 0;
  const height = layout.height + LEGEND_LINE_PX * (entries - Math.ceil(entries / 3));
  const legend = { ...layout.legend, maxheight: height, font: { size: 11 } };
  return { traces: slim, layout: { ...layout, height, legend, showlegend: hasLegend, font: { ...layout.font, size: 11 } } };
}

async function drawPlots() {
  for (const plot of plots) {
    const key = plot.dataset.figure;
    const { traces, layout } = fitted(data.figures[key]);
    await Plotly.react(plot, traces, layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: "hover",
      modeBarButtons: [["toImage"]],
      toImageButtonOptions: { format: "svg", filename: key },
    });
    // lets the browser paint between two charts
    await new Promise((resolve) => setTimeout(resolve));
  }
}

narrow.addEventListener("change", drawPlots);

window.addEventListener("beforeprint", () => {
  document.documentElement.classList.remove("dark");
  plots.forEach((plot) => plot.data && Plotly.relayout(plot, { width: PRINT_WIDTH_PX }));
});
window.addEventListener("afterprint", () => {
  followTheme();
  plots.forEach((plot) => plot.data && Plotly.relayout(plot, { width: null, autosize: true }));
});

// four significant digits; sorting goes by the whole number
function shortNumber(value) {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}

function drawRows() {
  const asText = jQuery.fn.dataTable.render.text().display;
  const columns = data.rows.columns.map(({ name, number, shown }) => ({
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
    data: data.rows.cells,
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

window.reportReady = Promise.all([drawPlots(), drawRows()]);
