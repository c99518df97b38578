"use strict";
(() => {
  const root = document.documentElement;
  const started = performance.now();
  const keep = {  // where storage is refused the page works all the same
    get(store, key) { try { return store().getItem(key); } catch { return null; } },
    set(store, key, value) { try { store().setItem(key, value); } catch { /* nothing is kept */ } },
  };
  const lasting = () => window.localStorage, passing = () => window.sessionStorage;
  const figures = [...document.querySelectorAll("figure.chart")].map((element) => ({
    element,
    plot: element.querySelector(".plot"),
    spec: JSON.parse(element.querySelector("script").textContent),
    hidden: new Set(),
  }));
  window.qupropReport = { figures, drawn: 0, milliseconds: null, problems: [] };

  // -- colours ----------------------------------------------------------------------------------------------------
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const faint = (colour) => colour + "33";
  function coloured(figure) {
    const fore = css("--fore"), grid = css("--grid"), soft = css("--soft");
    const data = figure.spec.data.map((trace) => {
      const colour = css("--c" + trace.meta.colour);
      const made = { ...trace, visible: !figure.hidden.has(trace.meta.curve) };
      // A logarithmic axis would draw the way to a value that is not positive as a fall out of the picture.
      if (figure.spec.layout.yaxis.type === "log") made.y = trace.y.map((v) => (v > 0 ? v : null));
      if (trace.line || trace.mode) made.line = { ...trace.line, color: colour };
      const each = trace.meta.colours?.map((index) => css("--c" + index));
      if (trace.marker || trace.type === "bar") made.marker = { ...trace.marker, color: each ?? colour };
      if (trace.fill) made.fillcolor = faint(colour);
      if (trace.error_y) made.error_y = { ...trace.error_y, color: colour };
      return made;
    });
    const axis = (given) => ({ ...given, gridcolor: grid, zerolinecolor: grid, linecolor: soft, tickcolor: soft });
    const narrow = figure.plot.clientWidth < 500;
    const layout = {
      height: narrow ? 290 : 340, ...figure.spec.layout,
      xaxis: axis(figure.spec.layout.xaxis), yaxis: axis(figure.spec.layout.yaxis),
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { color: fore, family: "system-ui, sans-serif", size: narrow ? 11 : 13 },
      margin: { l: narrow ? 44 : 60, r: 14, t: 10, b: 44 },
      hoverlabel: { bgcolor: css("--panel"), bordercolor: soft, font: { color: fore } },
    };
    if (figure.width) layout.width = figure.width;
    return { data, layout };
  }
  const config = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
  function draw(figure) {
    const { data, layout } = coloured(figure);
    return window.Plotly.react(figure.plot, data, layout, config);
  }
  const later = [];
  const folded = (figure) => figure.element.closest("details.result:not([open])");
  const redraw = () => { if (window.Plotly) figures.filter((f) => !later.includes(f)).forEach(draw); };

  // -- results that are folded ------------------------------------------------------------------------------------
  function drawOpened() {
    if (!window.Plotly) return;
    for (const figure of later.splice(0)) {
      if (folded(figure)) later.push(figure);
      else { draw(figure); window.qupropReport.drawn += 1; }
    }
  }
  function openTarget() {  // a link of the contents leads to what it names
    const found = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const fold = found && found.querySelector(":scope > details.result");
    if (fold) { fold.open = true; found.scrollIntoView(); }
  }
  document.querySelectorAll("details").forEach((d) => d.addEventListener("toggle", drawOpened));
  addEventListener("hashchange", openTarget);
  openTarget();

  // -- buttons ------------------------------------------------------------------------------------------------------
  for (const figure of figures) {
    figure.element.querySelectorAll("[data-log]").forEach((button) => button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      const axis = figure.spec.layout[button.dataset.log + "axis"];
      axis.type = on ? "log" : "linear";
      axis.autorange = true;
      delete axis.range;
      draw(figure);
    }));
    figure.element.querySelector("[data-reset]").addEventListener("click", () => {
      const turn = figure.spec.layout.yaxis.autorange === "reversed" ? "reversed" : true;
      window.Plotly.relayout(figure.plot, { "xaxis.autorange": true, "yaxis.autorange": turn });
    });
    figure.element.querySelectorAll("[data-curve]").forEach((box) => box.addEventListener("change", () => {
      const curve = Number(box.dataset.curve);
      if (box.checked) figure.hidden.delete(curve); else figure.hidden.add(curve);
      draw(figure);
    }));
  }
  const themes = ["", "light", "dark"], named = { "": "as the system", light: "light", dark: "dark" };
  const button = (id) => { const found = document.getElementById(id); if (found) found.hidden = false; return found; };
  const themeButton = button("theme"), sources = button("sources"), printing = button("print"), pause = button("pause");
  function setTheme(name) {
    if (name) root.dataset.theme = name; else delete root.dataset.theme;
    themeButton.textContent = "Theme: " + named[name];
    redraw();
  }
  themeButton.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "") + 1) % themes.length];
    keep.set(lasting, "quprop-theme", next);
    setTheme(next);
  });
  const saved = keep.get(lasting, "quprop-theme");
  setTheme(themes.includes(saved) ? saved : "");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  function showSources(on) {
    root.toggleAttribute("data-show-sources", on);
    sources.setAttribute("aria-pressed", on);
  }
  sources.addEventListener("click", () => showSources(!root.hasAttribute("data-show-sources")));
  printing.addEventListener("click", () => window.print());

  // -- print: the paper's width and light colours --------------------------------------------------------------------
  const paper = matchMedia("print");
  function forPrint(on) {  // figures take the width of a page
    for (const figure of figures) figure.width = on ? 680 : undefined;
    const opened = on ? "details.short:not([open])" : "details[data-printed]";
    document.querySelectorAll(opened).forEach((d) => { d.open = on; d.toggleAttribute("data-printed", on); });
    drawOpened();
    redraw();
    if (!on && window.Plotly) figures.forEach((figure) => window.Plotly.Plots.resize(figure.plot));
  }
  paper.addEventListener("change", (event) => forPrint(event.matches));

  // -- a run that is going: reload, and be where one was ---------------------------------------------------------------
  const place = "quprop-place:" + location.pathname;
  function restore() {
    const found = JSON.parse(keep.get(passing, place) || "null");
    if (!found) return;
    keep.set(passing, place, "null");
    found.open.forEach((id) => { const d = document.getElementById(id); if (d) d.open = true; });
    showSources(found.sources);
    if (found.paused && pause) setPause(true);
    requestAnimationFrame(() => window.scrollTo({ top: found.top, behavior: "instant" }));
  }
  let paused = false;
  function setPause(on) {
    paused = on;
    pause.setAttribute("aria-pressed", on);
    pause.textContent = on ? "Reloading is paused" : "Pause reloading";
  }
  function follow() {  // only once the page is as it was left: an earlier reload would forget that
    setInterval(() => {
      if (paused || document.hidden || paper.matches) return;
      const open = [...document.querySelectorAll("details[open]")].map((d) => d.id);
      const state = { top: scrollY, open, sources: root.hasAttribute("data-show-sources"), paused };
      keep.set(passing, place, JSON.stringify(state));
      location.reload();
    }, 1000 * Number(root.dataset.reload));
  }
  if (pause) pause.addEventListener("click", () => setPause(!paused));

  // -- plotly.js, unpacked, and then one figure after the other ------------------------------------------------------
  function fail(problem) {
    window.qupropReport.problems.push(String(problem));
    root.classList.add("plain");
    const said = document.getElementById("failed");
    said.textContent = "Figures cannot be drawn in this browser; their numbers are in the tables under “Numbers”.";
    said.hidden = false;
    root.dataset.ready = "without figures";
  }
  async function unpack() {
    const packed = document.getElementById("plotly").textContent.trim();
    let bytes;
    if (Uint8Array.fromBase64) bytes = Uint8Array.fromBase64(packed);
    else {  // browsers before 2025
      const text = atob(packed);
      bytes = new Uint8Array(text.length);
      for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    }
    performance.mark("bytes");
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    performance.mark("text");
    document.head.append(script);
  }
  async function all() {
    if (figures.length) {
      performance.mark("unpack");
      await unpack();
      performance.mark("unpacked");
      for (const figure of figures) {
        if (folded(figure)) { later.push(figure); continue; }  // drawn when it is opened
        await draw(figure);
        window.qupropReport.drawn += 1;
        performance.mark("drawn" + window.qupropReport.drawn);
        await new Promise((next) => setTimeout(next));
      }
    }
    drawOpened();
    window.qupropReport.milliseconds = performance.now() - started;
    root.dataset.ready = "yes";
    restore();
  }
  all().catch(fail).finally(() => { if (root.dataset.reload) follow(); });
})();
