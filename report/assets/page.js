(() => {
  "use strict";
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const color = name => getComputedStyle(root).getPropertyValue(name).trim();

  // ---- numbers -------------------------------------------------------------
  const trim = (v, digits) => v.toLocaleString("en", { maximumSignificantDigits: digits || 3 });
  const time = ms => ms >= 999.5 ? trim(ms / 1000) + " s" : trim(ms) + " ms";
  const size = v => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (Math.abs(v) >= 999.5 && i < units.length - 1) { v /= 1024; i++; }
    return trim(v) + " " + units[i];
  };
  const thousands = v => Math.abs(v) >= 1e6 ? trim(v / 1e6) + " M" : Math.abs(v) >= 1e4 ? trim(v / 1e3) + " k" : trim(v, 4);
  const formats = {
    "ms": time, "bytes": size,
    "share": v => trim(v * 100) + " %",
    "records/s": v => thousands(v) + "/s",
    "records": thousands,
    "cores": v => trim(v),
  };

  // ---- what lies behind and over the lines ----------------------------------
  const font = px => px * devicePixelRatio + "px " + getComputedStyle(document.body).fontFamily;

  function clip(u, draw) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, 0, bbox.width, u.ctx.canvas.height);
    ctx.clip();
    draw(ctx, bbox);
    ctx.restore();
  }

  function bands(u, chart) {
    clip(u, (ctx, box) => chart.phases?.forEach((p, i) => {
      const from = u.valToPos(p.from, "x", true), to = u.valToPos(p.to, "x", true);
      if (p.fault) {
        ctx.fillStyle = color("--fault");
        ctx.fillRect(from, box.top, to - from, box.height);
        // Stripes tell the faulted phase without colour.
        ctx.save();
        ctx.beginPath();
        ctx.rect(from, box.top, to - from, box.height);
        ctx.clip();
        ctx.strokeStyle = color("--fault");
        ctx.lineWidth = 1.5 * devicePixelRatio;
        const step = 11 * devicePixelRatio;
        for (let x = from - box.height; x < to; x += step) {
          ctx.beginPath();
          ctx.moveTo(x, box.top + box.height);
          ctx.lineTo(x + box.height, box.top);
          ctx.stroke();
        }
        ctx.restore();
      } else if (i % 2 === 0) {
        ctx.fillStyle = color("--band");
        ctx.fillRect(from, box.top, to - from, box.height);
      }
      if (chart.main) {
        ctx.font = font(11);
        ctx.fillStyle = color("--soft");
        ctx.textAlign = "left";
        ctx.textBaseline = "top";
        const room = to - from - 8 * devicePixelRatio;
        if (ctx.measureText(p.name).width <= room) ctx.fillText(p.name, Math.max(from, box.left) + 4 * devicePixelRatio, box.top + 3 * devicePixelRatio);
      }
    }));
  }

  function levels(u, chart) {
    clip(u, (ctx, box) => chart.levels?.forEach(l => {
      const y = u.valToPos(l.at, "y", true);
      if (y < box.top || y > box.top + box.height) return;
      ctx.strokeStyle = ctx.fillStyle = color("--soft");
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(box.left, y);
      ctx.lineTo(box.left + box.width, y);
      ctx.stroke();
      ctx.font = font(11);
      ctx.textAlign = "left";
      ctx.textBaseline = "bottom";
      ctx.fillText(l.label, box.left + 4 * devicePixelRatio, y - 2 * devicePixelRatio);
    }));
  }

  const styleOf = engine => data.engines.findIndex(e => e.engine === engine);
  const strokeOf = engine => engine ? color("--e" + styleOf(engine)) : color("--none");

  const chip = 16; // height of a row of numbers above the plot, in CSS pixels
  // chipsOf gathers marks of one engine that lie too close together for a
  // number each, and places the numbers so that none covers another.
  function chipsOf(marks, position) {
    const chips = [], ends = [];
    for (const m of marks) {
      const x = position(m.at), last = chips[chips.length - 1];
      if (last && last.engine === m.engine && last.to === m.n - 1 && x - last.lastX < 15) {
        last.to = m.n;
        last.lastX = x;
      } else chips.push({ engine: m.engine, from: m.n, to: m.n, x, lastX: x });
    }
    for (const c of chips) {
      c.text = c.from === c.to ? String(c.from) : c.from + "–" + c.to;
      c.half = Math.max(7.5, 3.5 + c.text.length * 3.2);
      const row = ends.findIndex(end => c.x - c.half - 1.5 > end);
      c.row = row < 0 ? ends.length : row;
      ends[c.row] = c.x + c.half + 1.5;
    }
    return chips;
  }

  function marks(u, chart) {
    if (!chart.marks) return;
    const { ctx, bbox } = u, r = devicePixelRatio;
    const visible = chart.marks.filter(m => m.at >= u.scales.x.min && m.at <= u.scales.x.max);
    const ink = engine => engine ? strokeOf(engine) : color("--ink");
    ctx.save();
    ctx.lineWidth = 1.25 * r;
    for (const m of visible) {
      const x = u.valToPos(m.at, "x", true);
      ctx.strokeStyle = ink(m.engine);
      ctx.setLineDash(m.engine ? (data.engines[styleOf(m.engine)].dash || []).map(d => d * r) : [3 * r, 3 * r]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    if (chart.main) for (const c of chipsOf(visible, at => u.valToPos(at, "x"))) {
      const x = c.x * r + bbox.left, y = bbox.top - (c.row + 0.5) * chip * r;
      ctx.strokeStyle = ink(c.engine);
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x, y);
      ctx.lineTo(x, bbox.top);
      ctx.stroke();
      ctx.fillStyle = color("--paper");
      ctx.beginPath();
      ctx.roundRect(x - c.half * r, y - 7.5 * r, 2 * c.half * r, 15 * r, 7.5 * r);
      ctx.fill();
      ctx.stroke();
      ctx.fillStyle = color("--ink");
      ctx.font = font(10);
      ctx.textAlign = "center";
      ctx.textBaseline = "middle";
      ctx.fillText(c.text, x, y + 0.5 * r);
    }
    ctx.restore();
  }

  // names writes each line's name at its right end, spread so that none
  // covers another.
  function names(u, chart, room) {
    if (!room) return;
    const { ctx, bbox } = u, r = devicePixelRatio, gap = 13 * r;
    const ends = chart.lines.map((l, i) => {
      const ys = u.data[i + 1];
      let at = ys.length - 1;
      while (at >= 0 && ys[at] == null) at--;
      return at < 0 ? null : { line: l, y: u.valToPos(ys[at], "y", true) };
    }).filter(e => e && isFinite(e.y)).sort((a, b) => a.y - b.y);
    let last = -Infinity;
    ends.forEach(e => { e.at = Math.max(e.y, last + gap, bbox.top + 6 * r); last = e.at; });
    const over = last - (bbox.top + bbox.height);
    if (over > 0) for (let i = ends.length - 1, floor = bbox.top + bbox.height; i >= 0; i--) {
      ends[i].at = Math.min(ends[i].at, floor);
      floor = ends[i].at - gap;
    }
    ctx.save();
    ctx.font = font(11.5);
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    const x = bbox.left + bbox.width;
    ends.forEach(e => {
      ctx.strokeStyle = strokeOf(e.line.engine);
      ctx.lineWidth = r;
      ctx.beginPath();
      ctx.moveTo(x + 2 * r, Math.min(Math.max(e.y, bbox.top), bbox.top + bbox.height));
      ctx.lineTo(x + 10 * r, e.at);
      ctx.stroke();
      ctx.fillStyle = color("--ink");
      ctx.fillText(e.line.name, x + 13 * r, e.at);
    });
    ctx.restore();
  }

  // ---- charts ----------------------------------------------------------------
  const drawn = [];

  function table(chart) {
    if (chart.lines.length === 1) return [chart.lines[0].x, chart.lines[0].y];
    // A null is a gap up to the neighbouring values, also where other lines
    // have points in between.
    return uPlot.join(chart.lines.map(l => [l.x, l.y]), chart.lines.map(() => [1, 2]));
  }

  // logTicks are the powers of ten that fit, with 2 and 5 between where there
  // is room.
  function logTicks(u, axis, min, max) {
    const span = Math.log10(max / min), ticks = [];
    const steps = span < 1 ? [1, 1.5, 2, 3, 5, 7] : span < 3 ? [1, 2, 5] : [1];
    for (let e = Math.floor(Math.log10(min)); e <= Math.ceil(Math.log10(max)); e++)
      for (const s of steps) { const v = s * 10 ** e; if (v >= min && v <= max) ticks.push(v); }
    return ticks;
  }

  const binary = Array.from({ length: 44 }, (_, i) => 2 ** i);

  function draw(chart) {
    const box = document.getElementById(chart.id);
    const width = box.clientWidth || 600;
    const wide = width >= 640, paper = root.classList.contains("printing");
    // All large charts of a group keep the same room, so that their time axes
    // lie below each other.
    const kin = data.charts.filter(c => c.group === chart.group && c.main);
    const room = wide && chart.main ? 16 + Math.max(...kin.flatMap(c => c.lines.map(l => l.name.length))) * 6.6 : 0;
    const format = formats[chart.unit] || (v => trim(v));
    const rows = chart.main && chart.marks ? 1 + Math.max(0, ...chipsOf(chart.marks, at => at / chart.end * (width - 62 - (room || 16))).map(c => c.row)) : 0;
    const height = (chart.log ? (paper ? 210 : wide ? 280 : 240) : paper ? 130 : chart.main ? 200 : 170) + rows * chip;
    const outputs = [...box.parentElement.querySelectorAll("output")];
    const axis = { stroke: () => color("--soft"), grid: { stroke: () => color("--grid"), width: 1 }, ticks: { show: false }, font: "11.5px " + getComputedStyle(document.body).fontFamily };
    const options = {
      width, height,
      padding: [rows * chip + 8, room || 16, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: chart.group, setSeries: false },
        points: { size: 7 },
        drag: { x: true, y: false },
      },
      scales: {
        x: { time: false, range: (u, min, max) => min == null ? [0, chart.end] : u.zoomed ? [min, max] : [0, chart.end] },
        y: chart.log
          ? { distr: 3, range: (u, min, max) => min == null ? [1, 1000] : [10 ** (Math.log10(min) - 0.08), 10 ** (Math.log10(max) + 0.22)] }
          : { range: (u, min, max) => [0, Math.max(max || 0, ...(chart.levels || []).map(l => l.at)) * (chart.main ? 1.16 : 1.08) || (chart.unit === "records" ? 10 : 1)] },
      },
      axes: [
        { ...axis, size: 26, gap: 4, values: (u, ticks) => ticks.map((t, i) => trim(t) + (i === ticks.length - 1 ? " s" : "")) },
        { ...axis, size: 62, gap: 5, values: (u, ticks) => ticks.map(t => format(t)), ...(chart.log ? { splits: logTicks, filter: (u, ticks) => ticks } : {}), ...(chart.unit === "bytes" ? { incrs: binary } : {}) },
      ],
      series: [{}, ...chart.lines.map(l => ({
        stroke: () => strokeOf(l.engine),
        width: l.thin ? 1.25 : l.engine ? 2.25 : 1.5,
        dash: l.engine ? data.engines[styleOf(l.engine)].dash : [1, 4],
        spanGaps: false,
        points: { show: (u, i, from, to) => isolated(u.data[i], from, to).length > 0, filter: (u, i) => isolated(u.data[i], 0, u.data[0].length - 1), size: 5 },
      }))],
      hooks: {
        drawClear: [u => bands(u, chart)],
        draw: [u => { levels(u, chart); marks(u, chart); names(u, chart, room); }],
        setSelect: [u => { u.zoomed = u.select.width > 0; }],
        setCursor: [u => outputs.forEach((o, i) => {
          const v = u.cursor.idx == null ? null : nearest(u.data[i + 1], u.cursor.idx);
          o.textContent = v == null ? "" : format(v);
        })],
      },
    };
    const u = new uPlot(options, table(chart), box);
    u.over.addEventListener("dblclick", () => { u.zoomed = false; u.setScale("x", { min: 0, max: chart.end }); });
    drawn.push({ u, box, width });
  }

  // nearest looks for a value beside an index at which another line has one.
  function nearest(ys, at) {
    for (let d = 0; d < 4; d++) {
      if (ys[at - d] != null) return ys[at - d];
      if (ys[at - d] === null) return null;
      if (ys[at + d] != null) return ys[at + d];
    }
    return null;
  }

  // isolated finds points that have a gap on either side, which no line shows.
  function isolated(ys, from, to) {
    const value = (i, step) => { while (i >= 0 && i < ys.length && ys[i] === undefined) i += step; return ys[i]; };
    const out = [];
    for (let i = from; i <= to; i++)
      if (ys[i] != null && value(i - 1, -1) == null && value(i + 1, 1) == null) out.push(i);
    return out;
  }

  function drawAll() {
    drawn.splice(0).forEach(d => d.u.destroy());
    data.charts.forEach(draw);
  }

  // ---- theme, size, print ------------------------------------------------------
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  const store = { // opened as a file, some browsers refuse storage
    get: () => { try { return localStorage.getItem("streamduel-theme"); } catch { return null; } },
    set: v => { try { localStorage.setItem("streamduel-theme", v); } catch { /* not kept */ } },
  };
  const show = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", "Switch to " + (dark() ? "light" : "dark") + " colours");
    drawn.forEach(d => d.u.redraw(false, true));
  };
  const kept = store.get();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; store.set(root.dataset.theme); show(); });
  system.addEventListener("change", show);

  drawAll();
  show();

  let timer = 0;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (drawn.some(d => d.box.clientWidth !== d.width)) drawAll(); }, 120);
  });
  // Paper is light, and as wide as the class "printing" makes the page.
  let theme;
  addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    root.classList.add("printing");
    drawAll();
  });
  addEventListener("afterprint", () => {
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    root.classList.remove("printing");
    drawAll();
  });
})();
