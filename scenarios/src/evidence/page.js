"use strict";
// The page of one run. The data are in the script element `data`; every text of theirs is put in as text, never as HTML.
const run = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

/** Makes an element; `attributes` may hold `class`, `onclick` and the like; children are elements or texts. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value);
  }
  element.append(...present(children));
  return element;
}

const present = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined);

/** A text with what stands between backticks as code. */
const rich = (text) => text.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part));

// Virtual time, in words.
const seconds = (ns) => (ns / 1e9).toFixed(3) + " s";
const exactly = (ns) => (ns / 1e9).toFixed(6) + " s";
function lasting(ns) {
  if (ns < 1e6) return (ns / 1e3).toFixed(0) + " µs";
  if (ns < 1e9) return (ns / 1e6).toFixed(1) + " ms";
  return (ns / 1e9).toFixed(2) + " s";
}
const plural = (count, one, many) => count + " " + (count === 1 ? one : many);
const asksWhom = (operation) =>
  operation.node === null ? "" : " on node " + operation.node + (operation.role ? " (then a " + operation.role + ")" : "");
const name = (place) => "#" + place;
const hue = (operation) => "var(--" + operation.kind + ")";

// ---- The head.

function head() {
  const report = run.report;
  byId("run").textContent = "Scenario " + report.scenario + " · seed " + report.seed + " · " +
    plural(run.nodes.length, "node", "nodes") + " (" + report.engines.join(", ") + ") · " +
    seconds(run.end_ns) + " of virtual time";
  byId("design").replaceChildren(...run.design.map(({ choice, doc }) =>
    make("div", {}, "Changed in the design under test: ", make("code", {}, choice), doc ? " — " + doc : "")));
  const [verdict, sentence, promise] = [byId("verdict"), byId("sentence"), byId("promise")];
  if (run.broken.length) {
    const first = run.broken[0];
    verdict.className = "violated";
    verdict.textContent = "Violated: " + [...new Set(run.broken.map((it) => checkName(it.check)))].join(", ");
    sentence.replaceChildren(...rich(first.sentence));
    promise.textContent = "What was promised: " + first.promise;
  } else if (report.verdict === "Held") {
    verdict.className = "held";
    verdict.textContent = "Every check held";
    const waived = report.liveness_waived ? WAIVED[report.liveness_waived] : null;
    sentence.textContent = "All " + report.acknowledged + " answers that clients were given have a legal order" +
      (report.converged ? ", and every acknowledged write was there in the end, on every replica, after " + troubles() + "."
        : ", after " + troubles() + ". Whether acknowledged writes survived was not judged: the replicas did not come to rest.") +
      (waived ? " They need not, for " + waived + "." : "");
    promise.textContent = "Checked: the order of the answers, reads of the past, " + (report.converged ? "durability, " : "") +
      "equal replicas, leases, compaction, " + (report.watches ? "watches, " : "") + "the routing of snapshots, raft's invariants" + (waived ? "." : ", and that the run came to its end.");
  } else {
    verdict.textContent = "Not completed";
    sentence.textContent = report.verdict.Incomplete ? report.verdict.Incomplete.why : "";
    promise.textContent = "A run that was given up proves nothing.";
  }
}

// Why a run need not come to its end.
const WAIVED = {
  "engine-hangs": "an engine never came back from a call",
  "majority-without-state": "the engines of a majority had lost their state at once",
};

const checkName = (check) => check.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();

function troubles() {
  const report = run.report;
  const parts = [[report.power_failures, "power failure"], [report.process_kills, "process kill"],
    [report.injected.partitions, "partition"], [report.injected.pauses, "pause"], [report.disk_errors, "disk error"]]
    .filter(([count]) => count > 0).map(([count, what]) => plural(count, what, what + "s"));
  return parts.length ? parts.join(", ") : "no fault at all";
}

// ---- What broke.

function brokenCards() {
  const groups = new Map();
  for (const broken of run.broken) groups.set(broken.check, [...(groups.get(broken.check) || []), broken]);
  let first = true;
  for (const group of groups.values()) {
    byId("broken").append(card(group, first));
    first = false;
  }
}

function card(group, first) {
  const [broken, ...others] = group;
  const parts = [make("h2", {}, first ? "What broke" : "Also broken: " + checkName(broken.check))];
  if (!first) parts.push(make("p", {}, rich(broken.sentence)), make("p", { class: "soft" }, broken.promise));
  if (broken.order) parts.push(...orderParts(broken.order));
  if (broken.lost) parts.push(...lostParts(broken.lost));
  if (broken.stream !== null) parts.push(...streamParts(run.streams[broken.stream], broken.message));
  if (broken.operations.length && !broken.order && !broken.lost)
    parts.push(make("h3", {}, "The answer"), bars(broken.operations.slice(0, 24)), notation());
  parts.push(...broken.exhibits.flatMap(exhibit));
  if (!broken.order && !broken.operations.length && JSON.stringify(broken.exhibits).match(/\/\d+\/\d+\/\d+/)) parts.push(notation());
  const told = broken.order || broken.lost || broken.stream !== null || broken.operations.length || broken.exhibits.length;
  parts.push(told ? make("details", {}, make("summary", {}, "In the words of the check"), linesOf(broken)) : linesOf(broken));
  if (others.length) {
    const shown = others.slice(0, 50).map((other) => make("li", {}, rich(other.sentence)));
    parts.push(make("details", {}, make("summary", {}, plural(others.length, "more", "more") + " of the same kind"),
      make("ol", { class: "events" }, shown)));
  }
  return make("article", { class: "card", "data-check": broken.check }, parts);
}

/** A piece of evidence as a table; what is wrong stands out. */
function exhibit({ title, heads, rows, rows_left_out }) {
  const row = ({ cells, wrong }) => make("tr", { class: wrong ? "wrong" : "" },
    cells.map((cell, at) => make("td", { "data-head": heads[at] }, cell)));
  return [make("h3", {}, title),
    make("table", { class: "exhibit" }, make("tr", {}, heads.map((head) => make("th", {}, head))), rows.map(row)),
    rows_left_out ? make("p", { class: "soft" }, plural(rows_left_out, "row before or after these is", "rows before or after these are") + " left out.") : null];
}

function linesOf(broken) {
  const lines = [broken.message, ...broken.lines.slice(0, 100)].map((line) => make("div", {}, line));
  const [first, rest] = [lines.slice(0, 12), lines.slice(12)];
  return make("div", { class: "mono" }, first,
    rest.length ? make("details", {}, make("summary", {}, plural(rest.length, "more line", "more lines")), rest) : null);
}

/** Operations as bars over one time, from the first to the last of them. */
function bars(places, reasonOf) {
  const operations = places.map((place) => run.operations[place]);
  const moments = [...new Set(operations.flatMap((it) => [it.invoke_ns, it.return_ns ?? it.invoke_ns]))];
  moments.sort((one, other) => one - other);
  const [from, until] = [moments[0], moments[moments.length - 1]];
  // As far apart as they are in time, but never so close that their order cannot be seen.
  const apart = Math.min(8, 60 / moments.length);
  const spare = 100 - apart * (moments.length - 1);
  const at = (ns) => moments.indexOf(ns) * apart + ((ns - from) / Math.max(1, until - from)) * spare;
  const rows = places.map((place, row) => {
    const operation = operations[row];
    const begin = at(operation.invoke_ns);
    const end = operation.return_ns === null ? 100 : at(operation.return_ns);
    const bar = make("i", {
      class: operation.return_ns === null ? "open" : "",
      style: { left: begin + "%", width: Math.max(end - begin, .8) + "%", background: hue(operation) },
    });
    const reason = reasonOf ? reasonOf(place) : null;
    const answered = operation.return_ns === null ? "never answered" : "answered " + exactly(operation.return_ns);
    const before = row > 0 ? operations[row - 1].return_ns : null;
    const gap = before !== null && before < operation.invoke_ns
      ? make("div", { class: "gap" }, "↓ asked " + lasting(operation.invoke_ns - before) + " after the answer above had come")
      : null;
    return [gap, make("div", { class: "bar-row" },
      make("div", {}, make("b", {}, name(place) + " client " + operation.client), asksWhom(operation),
        make("span", { class: "soft" }, " · asked " + exactly(operation.invoke_ns) + ", " + answered)),
      make("div", { class: "track" }, bar),
      make("div", { class: "mono" }, operation.asked + " → ", make("span", { class: "told" }, operation.told)),
      reason ? make("div", { class: "why" }, reason) : null)];
  });
  return make("div", { class: "bars" },
    make("div", { class: "scale" }, make("span", {}, exactly(from)), make("span", {}, lasting(until - from)), make("span", {}, exactly(until))),
    rows);
}

/** How requests and answers are written. */
const notation = () => make("p", { class: "soft" }, ...rich("Read: `@15` is the revision of the store that the answer names; each write makes " +
  "one. `k=v/2/5/3` is a key with its value, the revision that created it, the one that wrote it last, and its version; `count 0` is no key at all."));

function chip(place) {
  const operation = run.operations[place];
  const short = operation.asked.length > 28 ? operation.asked.slice(0, 27) + "…" : operation.asked;
  return make("span", { class: "chip mono" }, name(place) + " " + short);
}

function orderParts(order) {
  const reasons = new Map(order.refused.map((it) => [it.operation, it.reason]));
  const cannot = (place) => (reasons.has(place) ? "cannot come next: " + reasons.get(place) : null);
  const parts = [make("h3", {}, "The answers that contradict each other"), bars(order.core.slice(0, 24), cannot), notation()];
  if (order.core.length > 24) parts.push(make("p", { class: "soft" }, "… and " + (order.core.length - 24) + " more"));
  if (order.conflict) parts.push(make("p", {}, conflictInWords(order.conflict)));
  if (order.orders_without.length) {
    const all = order.minimal ? "Leave out any one of them, and the others have a legal order:" : "Orders of the others, without one:";
    const items = order.orders_without.slice(0, 12).map(({ without, order }) => make("li", {},
      "without " + name(without) + ": ", order.length ? order.flatMap((place, at) => [at ? " → " : "", chip(place)]) : "nothing is left"));
    parts.push(make("h3", {}, "The legal partial orders"), make("p", {}, all), make("ol", { class: "orders" }, items));
  }
  parts.push(make("h3", {}, "How far a legal order goes"), make("p", {},
    "Until " + exactly(order.legal_until_ns) + " all " + plural(order.legal_answers, "answer that had come has", "answers that had come have") +
    " a legal order. The next answer has no place in any. The order so far, with the state after each step:"));
  parts.push(stepper(order));
  if (order.refused.length) {
    const items = order.refused.slice(0, 12).map((it) => make("li", {}, chip(it.operation), " ", it.reason));
    parts.push(make("p", {}, "What would be next, and why it is not:"), make("ul", {}, items));
  }
  return parts;
}

function conflictInWords(conflict) {
  if (conflict.Stale) {
    const { earlier, later, known, shown } = conflict.Stale;
    return "By time, " + name(later) + " must come after " + name(earlier) + ", for it was asked after that answer. By revision it " +
      "must come before: it shows revision " + shown + ", and " + name(earlier) + " revision " + known + ". It cannot do both.";
  }
  const { first, second, revision } = conflict.SameRevision;
  return name(first) + " and " + name(second) + " each claim revision " + revision + " for a write of their own. Only one can have it.";
}

function stepper(order) {
  const steps = order.steps;
  const panel = make("div", {});
  const wanted = new Set(order.core.flatMap((place) => run.operations[place].keys));
  const list = make("ol", { class: "steps" });
  const choose = (at) => {
    for (const [place, button] of [...list.querySelectorAll("button")].entries()) button.setAttribute("aria-pressed", place === at);
    const state = new Map();
    for (const step of steps.slice(0, at + 1)) for (const [key, value] of step.changes) state.set(key, [value, step.revision]);
    const keys = [...state.keys()].sort((one, other) => wanted.has(other) - wanted.has(one) || (one < other ? -1 : 1));
    const rows = keys.slice(0, 14).map((key) => make("tr", {}, make("td", {}, wanted.has(key) ? make("b", {}, key) : key),
      make("td", {}, state.get(key)[0] === null ? "deleted" : state.get(key)[0]), make("td", {}, "" + state.get(key)[1])));
    const revision = at < 0 ? 1 : steps[at].revision;
    panel.replaceChildren(...present([make("b", {}, "State after step " + (order.steps_left_out + at + 1) + ": revision " + revision),
      rows.length ? make("table", { class: "state" }, make("tr", {}, ["key", "value", "since revision"].map((text) => make("th", {}, text))), rows)
        : make("p", { class: "soft" }, "No key has been written" + (order.steps_left_out ? " in the steps shown." : ".")),
      keys.length > 14 ? make("p", { class: "soft" }, "… and " + (keys.length - 14) + " more keys") : null]));
  };
  steps.forEach((step, at) => {
    const operation = run.operations[step.operation];
    const text = (order.steps_left_out + at + 1) + ". " + name(step.operation) + " client " + operation.client + ": " + operation.asked;
    list.append(make("li", {}, make("button", { type: "button", class: "mono", onclick: () => choose(at) }, text,
      make("span", { class: "soft" }, " · revision " + step.revision))));
  });
  choose(steps.length - 1);
  setTimeout(() => (list.scrollTop = list.scrollHeight));
  const left = make("div", {}, order.steps_left_out ? make("p", { class: "soft" }, "The first " + order.steps_left_out + " steps are left out.") : null,
    steps.length ? list : make("p", {}, order.legal_answers ? "It was not found in the time that a page may take." : "Nothing comes before it."));
  return make("div", { class: "columns" }, left, panel);
}

function lostParts(lost) {
  const { first } = lost;
  const operation = run.operations[first.operation];
  const soon = first.crashes.filter((crash) => crash.at_ns < first.crashes[0].at_ns + 1e9);
  const events = [
    make("li", {}, make("b", {}, exactly(operation.invoke_ns)), " client " + operation.client + " asks" + asksWhom(operation) + ": ",
      make("code", {}, operation.asked)),
    make("li", {}, make("b", {}, exactly(operation.return_ns)), " it is told: ", make("code", {}, operation.told),
      " — from here on the write must not be lost"),
    ...soon.map((crash) => make("li", {}, make("b", {}, exactly(crash.at_ns)), " node " + crash.node + ": " + crash.what)),
    first.crashes.length > soon.length ? make("li", {}, "… and more crashes later") : null,
    make("li", {}, make("b", {}, "in the end"), " the stores are read out:"),
  ];
  const rows = first.held.map((held) => make("tr", {}, make("td", {}, "node " + held.node),
    make("td", {}, make("code", {}, held.what)), make("td", {}, held.has_it ? "it is there" : make("span", { class: "why" }, "it is gone")),
    make("td", {}, plural(held.lost, "write lost", "writes lost"))));
  const heads = ["node", "holds at revision " + first.revision, "the first lost write", "in all"];
  return [make("h3", {}, "The first write that is gone"), make("ol", { class: "events" }, events),
    make("table", {}, make("tr", {}, heads.map((text) => make("th", {}, text))), rows),
    make("p", { class: "soft" }, lost.lost + " of " + lost.acknowledged + " acknowledged writes are lost on at least one node; the " +
      plural(lost.operations.length, "operation is", "operations are") + " outlined in the time line.")];
}

function streamParts(stream, message) {
  const party = (what, it) => make("div", {}, make("b", {}, what + ": node " + it.node), make("div", {}, it.engine + ", release " + it.release),
    make("div", { class: "soft" }, "can read " + it.reads));
  const rule = message.replace(/^stream \d+ /, "it ");
  const bare = make("p", { class: "soft" }, "A bare stream has no header before its body: the only form that release 1 knows.");
  return [make("h3", {}, "The snapshot stream"), make("div", { class: "flow" },
    party("Sender", stream.sender), make("span", {}, "→"),
    make("div", { class: "wrong" }, make("b", {}, exactly(stream.at_ns) + " · stream " + stream.number),
      make("div", {}, "of raft index " + stream.index + ", " + stream.wire_bytes + " bytes, " +
        (stream.announced_bytes === stream.wire_bytes ? "announced so" : "announced as " + stream.announced_bytes)),
      make("div", {}, "begins with " + stream.form), make("div", { class: "mono" }, stream.first_bytes),
      make("div", { class: "why" }, rule)),
    make("span", {}, "→"), party("Receiver", stream.receiver)),
    rule.includes("must be bare") ? bare : null, make("p", {}, stream.outcome ? "What the receiver made of it, at " + exactly(stream.outcome[0]) + ": " + stream.outcome[1] + "."
      : "Nothing is known of what the receiver made of it.")];
}

// ---- The time line.

const view = { from: 0, until: run.end_ns };
const chosen = { operation: null, filter: "" };
const marked = new Set(run.broken.flatMap((broken) => broken.operations));
const NODE_HEIGHT = 78, CUT_HEIGHT = 20, AXIS_HEIGHT = 22, ROW_HEIGHT = 18;
const clientNumbers = [...new Set(run.operations.map((it) => it.client))].sort((one, other) => one - other);
const rowOf = new Map(clientNumbers.map((client, row) => [client, row]));
const SYMBOLS = {
  crash: ["✕", "--bad"], exit: ["✕", "--fault"], stop: ["■", "--soft"], start: ["▸", "--good"], elected: ["★", "--leader"],
  "disk-fault": ["▾", "--fault"], clock: ["◷", "--paused"], finding: ["!", "--bad"], snapshot: ["◆", "--snapshot"], upkeep: ["·", "--soft"],
};
let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "soft", "line", "panel", "bad", "good", "read", "write", "delete", "transaction", "other", "leader", "follower",
    "candidate", "starting", "down", "paused", "rebuilding", "snapshot", "fault", "focus", "cut", "curve"];
  colours = Object.fromEntries(names.map((it) => ["--" + it, style.getPropertyValue("--" + it).trim()]));
}

/** A canvas of so many lines of height, sharp on every screen; its pen and width. */
function canvas(element, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = plot.label + plot.width + 6;
  if (element.width !== Math.round(width * ratio) || element.height !== Math.round(height * ratio)) {
    element.width = Math.round(width * ratio);
    element.height = Math.round(height * ratio);
    element.style.height = height + "px";
  }
  const pen = element.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [pen, width];
}

// Where the time line stands in its canvases. Measured once for each size: asking a browser costs more than drawing.
const plot = { label: 150, width: 600 };
function measure() {
  const width = byId("lanes").clientWidth;
  plot.label = width < 560 ? 34 : 150;
  plot.width = width - plot.label - 6;
}
const labelWidth = () => plot.label;
const plotWidth = () => plot.width;
const xOf = (ns) => labelWidth() + ((ns - view.from) / (view.until - view.from)) * plotWidth();
const timeAt = (x) => view.from + ((x - labelWidth()) / plotWidth()) * (view.until - view.from);

let drawn = false;
function redraw() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => {
    drawn = false;
    drawNodes();
    drawClients();
    document.documentElement.dataset.view = view.from.toFixed(0) + ".." + view.until.toFixed(0);
  });
}

function axis(pen, width, height) {
  const span = view.until - view.from;
  const most = Math.max(2, plotWidth() / 110);
  let step = Math.pow(10, Math.floor(Math.log10(span / most)));
  for (const factor of [1, 2, 5, 10]) if (span / (step * factor) <= most) { step *= factor; break; }
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.textAlign = "center";
  const digits = Math.max(0, Math.ceil(-Math.log10(step / 1e9) - 1e-9));
  for (let at = Math.ceil(view.from / step) * step; at <= view.until; at += step) {
    const x = xOf(at);
    pen.fillStyle = colours["--line"];
    pen.fillRect(x, AXIS_HEIGHT, 1, height - AXIS_HEIGHT);
    pen.fillStyle = colours["--soft"];
    if (x < width - 20) pen.fillText((at / 1e9).toFixed(digits) + " s", x, AXIS_HEIGHT / 2);
  }
  if (run.healed_ns > view.from && run.healed_ns < view.until) {
    pen.fillStyle = colours["--good"];
    pen.fillRect(xOf(run.healed_ns), AXIS_HEIGHT, 2, height - AXIS_HEIGHT);
  }
}

function clipPlot(pen, height) {
  pen.save();
  pen.beginPath();
  pen.rect(labelWidth(), 0, plotWidth() + 6, height);
  pen.clip();
}

/** A bar of at least a pixel; nothing where it is out of sight. */
function bar(pen, from, until, top, height, colour, least) {
  if (until < view.from || from > view.until) return false;
  const begin = Math.max(xOf(from), labelWidth() - 4);
  const end = Math.min(xOf(until), labelWidth() + plotWidth() + 10);
  pen.fillStyle = colour;
  pen.fillRect(begin, top, Math.max(end - begin, least), height);
  return [begin, Math.max(end - begin, least)];
}

function hatch(pen, box, top, height, colour) {
  pen.save();
  pen.beginPath();
  pen.rect(box[0], top, box[1], height);
  pen.clip();
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (let x = box[0] - height; x < box[0] + box[1]; x += 6) { pen.moveTo(x, top + height); pen.lineTo(x + height, top); }
  pen.stroke();
  pen.restore();
}

const mostApplied = Math.max(1, ...run.nodes.flatMap((lane) => lane.applied.map(([, index]) => index)));

function drawNodes() {
  const height = AXIS_HEIGHT + CUT_HEIGHT + run.nodes.length * NODE_HEIGHT;
  const [pen, width] = canvas(byId("nodes"), height);
  axis(pen, width, height);
  clipPlot(pen, height);
  for (const cut of run.cuts) {
    const box = bar(pen, cut.from_ns, cut.until_ns, AXIS_HEIGHT + 3, CUT_HEIGHT - 8, colours["--cut"], 1);
    if (box && box[1] > 90) {
      pen.fillStyle = colours["--panel"];
      pen.textAlign = "left";
      pen.font = "11px system-ui, sans-serif";
      pen.fillText(plural(cut.links, "link", "links") + " cut", box[0] + 4, AXIS_HEIGHT + 3 + (CUT_HEIGHT - 8) / 2);
    }
  }
  run.nodes.forEach((lane, row) => drawLane(pen, lane, AXIS_HEIGHT + CUT_HEIGHT + row * NODE_HEIGHT));
  drawStreams(pen);
  pen.restore();
  labels(pen, [["network", "links", AXIS_HEIGHT + 9], ...run.nodes.map((lane, row) =>
    ["node " + lane.node, "n" + lane.node, AXIS_HEIGHT + CUT_HEIGHT + row * NODE_HEIGHT + 26, lane.what])]);
}

/** Snapshots, as lines from their senders to their receivers. */
function drawStreams(pen) {
  const wrong = new Set(run.broken.map((broken) => broken.stream));
  const middle = (node) => AXIS_HEIGHT + CUT_HEIGHT + (node - 1) * NODE_HEIGHT + 26;
  for (const [place, stream] of run.streams.entries()) {
    const end = stream.outcome ? stream.outcome[0] : stream.at_ns;
    if (end < view.from || stream.at_ns > view.until) continue;
    pen.strokeStyle = colours[wrong.has(place) ? "--bad" : "--snapshot"];
    pen.lineWidth = wrong.has(place) ? 2 : 1.2;
    pen.setLineDash(wrong.has(place) ? [] : [4, 3]);
    pen.beginPath();
    pen.moveTo(xOf(stream.at_ns), middle(stream.sender.node));
    pen.lineTo(xOf(end), middle(stream.receiver.node));
    pen.stroke();
  }
  pen.setLineDash([]);
}

function labels(pen, rows) {
  const wide = labelWidth() > 100;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  for (const [long, short, y, below] of rows) {
    pen.fillStyle = colours["--ink"];
    pen.font = (wide ? "13px" : "11px") + " system-ui, sans-serif";
    pen.fillText(wide ? long : short, 6, y);
    if (wide && below) {
      pen.fillStyle = colours["--soft"];
      pen.font = "11px system-ui, sans-serif";
      pen.fillText(below.length > 24 ? below.slice(0, 23) + "…" : below, 6, y + 15);
    }
  }
}

const ROLE_KINDS = { starting: 1, follower: 1, candidate: 1, leader: 1, down: 1 };

function drawLane(pen, lane, top) {
  const band = top + 18;
  for (const span of lane.spans) {
    if (ROLE_KINDS[span.kind]) {
      const box = bar(pen, span.from_ns, span.until_ns, band, 16, colours["--" + span.kind], 1);
      if (box && box[1] > 60 && span.kind !== "starting") {
        pen.save();
        pen.beginPath();
        pen.rect(box[0], band, box[1] - 4, 16);
        pen.clip();
        pen.fillStyle = span.kind === "follower" ? colours["--ink"] : colours["--panel"];
        pen.font = "11px system-ui, sans-serif";
        pen.textAlign = "left";
        pen.fillText(span.text, Math.max(box[0], labelWidth()) + 4, band + 8.5);
        pen.restore();
      }
    }
  }
  for (const span of lane.spans) {
    if (span.kind === "paused" || span.kind === "rebuilding") {
      const box = bar(pen, span.from_ns, span.until_ns, band + 16, 5, colours["--" + span.kind], 2);
      if (box) hatch(pen, box, band, 16, colours["--" + span.kind]);
    } else if (span.kind === "sending" || span.kind === "installing") {
      bar(pen, span.from_ns, span.until_ns, band + 16, 5, colours["--snapshot"], 2);
    }
  }
  pen.fillStyle = colours["--line"];
  for (const [bucket, count] of lane.messages) {
    const x = xOf(bucket * lane.bucket_ns);
    const wide = Math.max(1, xOf((bucket + 1) * lane.bucket_ns) - x);
    if (x + wide < labelWidth() || x > labelWidth() + plotWidth() + 6) continue;
    const tall = Math.min(22, count * 1.5);
    pen.fillRect(x, top + NODE_HEIGHT - 4 - tall, wide, tall);
  }
  drawApplied(pen, lane, top);
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const mark of lane.marks) {
    const x = xOf(mark.at_ns);
    if (x < labelWidth() - 6 || x > labelWidth() + plotWidth() + 6) continue;
    const [symbol, colour] = SYMBOLS[mark.kind];
    pen.fillStyle = colours[colour];
    pen.font = (mark.kind === "upkeep" ? "10px" : "bold 14px") + " system-ui, sans-serif";
    pen.fillText(symbol, x, top + 10);
  }
  pen.fillStyle = colours["--line"];
  pen.fillRect(0, top + NODE_HEIGHT - 1, 4000, 1);
}

/** What a replica had applied, as a line from nothing to the most that any had. */
function drawApplied(pen, lane, top) {
  const [low, high] = [top + NODE_HEIGHT - 5, top + 42];
  pen.strokeStyle = colours["--curve"];
  pen.lineWidth = 1.3;
  pen.beginPath();
  let before = null;
  for (const [at, index] of lane.applied) {
    const [x, y] = [xOf(at), low - (index / mostApplied) * (low - high)];
    if (before === null) pen.moveTo(x, y);
    else { pen.lineTo(x, before); pen.lineTo(x, y); }
    before = y;
  }
  if (before !== null) pen.lineTo(xOf(run.end_ns), before);
  pen.stroke();
}

/** Whether an operation passes the filter; asked again only when that changes. */
function matches(operation) {
  if (!chosen.filter) return true;
  if (operation.filter !== chosen.filter) {
    operation.filter = chosen.filter;
    operation.passes = names(operation, chosen.filter);
  }
  return operation.passes;
}

function names(operation, filter) {
  return operation.keys.some((key) => {
    const cut = key.indexOf("..");
    if (cut < 0) return key.includes(filter);
    const [from, until] = [key.slice(0, cut), key.slice(cut + 2)];
    return (filter >= from && (until === "" || filter < until)) || key.includes(filter);
  });
}

function drawClients() {
  const height = Math.max(1, clientNumbers.length) * ROW_HEIGHT + 8;
  const [pen] = canvas(byId("clients"), height);
  clipPlot(pen, height);
  for (const [place, operation] of run.operations.entries()) {
    const top = 4 + rowOf.get(operation.client) * ROW_HEIGHT;
    const until = operation.return_ns ?? run.end_ns;
    pen.globalAlpha = matches(operation) ? 1 : .12;
    const open = operation.return_ns === null;
    if (open) pen.globalAlpha *= .45;
    const box = open ? bar(pen, operation.invoke_ns, until, top + 8, 1, colours["--" + operation.kind], 2)
      : bar(pen, operation.invoke_ns, until, top + 2, ROW_HEIGHT - 6, colours["--" + operation.kind], 1.5);
    if (open) pen.globalAlpha /= .45;
    if (open && box) pen.fillRect(xOf(operation.invoke_ns), top + 2, 3, ROW_HEIGHT - 6);
    if (box && (marked.has(place) || place === chosen.operation)) {
      pen.strokeStyle = colours[place === chosen.operation ? "--focus" : "--bad"];
      pen.lineWidth = 2;
      pen.strokeRect(box[0] - 2, top, box[1] + 4, ROW_HEIGHT - 2);
      if (marked.has(place) && marked.size < 9 && matches(operation)) {
        pen.fillStyle = colours["--bad"];
        pen.font = "bold 11px system-ui, sans-serif";
        pen.textAlign = "left";
        pen.textBaseline = "middle";
        pen.fillText(name(place), box[0] + box[1] + 5, top + 8);
      }
    }
  }
  pen.globalAlpha = 1;
  pen.restore();
  labels(pen, clientNumbers.map((client) => ["client " + client, "c" + client, 12 + rowOf.get(client) * ROW_HEIGHT]));
}

// ---- What the pointer points at.

function operationAt(x, y) {
  const client = clientNumbers[Math.floor((y - 4) / ROW_HEIGHT)];
  const at = timeAt(x);
  const reach = ((view.until - view.from) / plotWidth()) * 6;
  let best = null;
  for (const [place, operation] of run.operations.entries()) {
    if (operation.client !== client || !matches(operation)) continue;
    const open = operation.return_ns === null;
    const end = open ? run.end_ns : operation.return_ns;
    const away = Math.max(operation.invoke_ns - at, at - end, 0) + (open && at > operation.invoke_ns + reach ? reach / 2 : 0);
    if (away <= reach && (best === null || away < best[0])) best = [away, place];
  }
  return best === null ? null : best[1];
}

function textsAtNodes(x, y) {
  const at = timeAt(x);
  if (x < labelWidth()) return [];
  const reach = ((view.until - view.from) / plotWidth()) * 6;
  if (y < AXIS_HEIGHT + CUT_HEIGHT) {
    return run.cuts.filter((cut) => cut.from_ns - reach <= at && at <= cut.until_ns + reach)
      .map((cut) => plural(cut.links, "directed link", "directed links") + " cut, " + seconds(cut.from_ns) + " to " + seconds(cut.until_ns) + (cut.text ? ": " + cut.text : ""));
  }
  const lane = run.nodes[Math.floor((y - AXIS_HEIGHT - CUT_HEIGHT) / NODE_HEIGHT)];
  if (!lane) return [];
  const marks = lane.marks.filter((mark) => Math.abs(mark.at_ns - at) <= reach);
  const spans = lane.spans.filter((span) => span.from_ns <= at && at < span.until_ns);
  const applied = lane.applied.filter(([when]) => when <= at).pop();
  return ["node " + lane.node + " at " + seconds(at), ...spans.map((span) => span.text),
    ...(applied ? ["applied up to entry " + applied[1]] : []),
    ...marks.slice(0, 6).map((mark) => SYMBOLS[mark.kind][0] + " " + exactly(mark.at_ns) + " " + mark.text),
    ...(marks.length > 6 ? ["… and " + (marks.length - 6) + " more: zoom in"] : [])];
}

function operationTexts(place) {
  const operation = run.operations[place];
  const end = operation.return_ns === null ? ", never answered"
    : ", answered after " + lasting(operation.return_ns - operation.invoke_ns) + " at " + exactly(operation.return_ns);
  return [name(place) + " client " + operation.client + asksWhom(operation) + (marked.has(place) ? " · part of what broke" : ""),
    "asked " + exactly(operation.invoke_ns) + end, operation.asked, "→ " + operation.told];
}

function showTip(event, texts) {
  const tip = byId("tip");
  tip.hidden = texts.length === 0;
  if (tip.hidden) return;
  tip.replaceChildren(...texts.map((text, row) => make(row ? "div" : "b", {}, text)));
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - box.width - 6)) + "px";
  tip.style.top = (event.clientY + 18 + box.height > innerHeight ? Math.max(4, event.clientY - box.height - 12) : event.clientY + 18) + "px";
}

function showDetails(texts) {
  const details = byId("details");
  details.replaceChildren(...texts.map((text, row) => make(row ? "div" : "b", { class: row > 1 ? "mono" : "" }, text)));
}

function choose(place) {
  chosen.operation = place;
  if (place !== null) showDetails(operationTexts(place));
  redraw();
}

// ---- Moving about.

function look(from, until) {
  const least = 2000;
  let span = Math.min(Math.max(until - from, least), run.end_ns);
  from = Math.min(Math.max(from, 0), run.end_ns - span);
  [view.from, view.until] = [from, from + span];
  redraw();
}

function zoom(factor, around) {
  const middle = around ?? (view.from + view.until) / 2;
  look(middle - (middle - view.from) * factor, middle + (view.until - middle) * factor);
}

function lookAtBroken() {
  const broken = run.broken.find((it) => it.at_ns !== null);
  if (!broken) return look(0, run.end_ns);
  const shown = broken.order ? broken.operations.map((place) => run.operations[place]) : [];
  const from = Math.min(broken.at_ns, ...shown.map((it) => it.invoke_ns));
  const until = Math.max(broken.at_ns, ...shown.map((it) => it.return_ns ?? it.invoke_ns));
  const room = Math.max((until - from) * .6, 150e6);
  look(from - room, until + room);
}

function reveal(place) {
  const operation = run.operations[place];
  if (operation.invoke_ns < view.from || operation.invoke_ns > view.until) {
    const half = (view.until - view.from) / 2;
    look(operation.invoke_ns - half, operation.invoke_ns + half);
  }
  choose(place);
}

function step(by) {
  const shown = run.operations.map((_, place) => place).filter((place) => matches(run.operations[place]));
  if (!shown.length) return;
  const inSight = shown.findIndex((place) => run.operations[place].invoke_ns >= view.from);
  const at = chosen.operation === null ? -1 : shown.indexOf(chosen.operation);
  const next = at < 0 ? Math.max(inSight, 0) : Math.min(Math.max(at + by, 0), shown.length - 1);
  reveal(shown[next]);
}

function onKey(event) {
  const part = (view.until - view.from) / 8;
  const actions = {
    ArrowLeft: () => look(view.from - part, view.until - part), ArrowRight: () => look(view.from + part, view.until + part),
    ArrowUp: () => step(-1), ArrowDown: () => step(1), "+": () => zoom(.5), "=": () => zoom(.5), "-": () => zoom(2),
    Home: () => look(0, run.end_ns), End: lookAtBroken, Escape: () => choose(null),
  };
  if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  actions[event.key]();
  event.preventDefault();
}

function listen(element, textsAt, tapped) {
  const pointers = new Map();
  let travelled = 0;
  const place = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    const far = sideways ? event.deltaX || event.deltaY : event.deltaY;
    if (sideways) {
      const move = (far / plotWidth()) * (view.until - view.from);
      look(view.from + move, view.until + move);
    } else zoom(Math.exp(Math.max(-120, Math.min(120, far)) * .004), timeAt(place(event)[0]));
  }, { passive: false });
  element.addEventListener("pointerdown", (event) => {
    if (pointers.size === 0) travelled = 0;
    pointers.set(event.pointerId, place(event));
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) return event.pointerType === "mouse" ? showTip(event, textsAt(x, y)) : undefined;
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const [wide, wider] = [Math.abs(before[0] - other[0]), Math.abs(x - other[0])];
      if (wide > 8 && wider > 8) zoom(wide / wider, timeAt((x + other[0]) / 2));
    } else {
      const move = ((before[0] - x) / plotWidth()) * (view.until - view.from);
      look(view.from + move, view.until + move);
    }
    travelled += Math.abs(x - before[0]) + Math.abs(y - before[1]);
    pointers.set(event.pointerId, [x, y]);
  });
  const end = (event) => {
    const was = pointers.delete(event.pointerId);
    if (was && event.type === "pointerup" && travelled < 6 && pointers.size === 0) tapped(...place(event));
  };
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);
  element.addEventListener("pointerleave", () => (byId("tip").hidden = true));
  element.addEventListener("keydown", onKey);
}

// ---- The rest.

function legend() {
  const bars = [["leader", "leader"], ["follower", "follower"], ["candidate", "wants to lead"], ["starting", "starting"], ["down", "down"],
    ["paused", "frozen"], ["rebuilding", "without state"], ["snapshot", "sends or installs a snapshot"], ["cut", "links cut"],
    ["line", "messages sent"], ["read", "read"], ["write", "write"], ["delete", "deletion"], ["transaction", "transaction"], ["other", "other call"]];
  const symbols = [["crash", "crash"], ["exit", "stopped by itself"], ["stop", "asked to stop"], ["start", "takes part again"],
    ["elected", "elected"], ["disk-fault", "disk fault"], ["clock", "clock set"], ["finding", "finding, repair"], ["snapshot", "snapshot"], ["upkeep", "flush, log cut"]];
  byId("legend").append(
    ...bars.map(([colour, text]) => make("li", {}, make("i", { style: { background: "var(--" + colour + ")" } }), text)),
    ...symbols.map(([kind, text]) => make("li", {}, make("b", { style: { color: "var(" + SYMBOLS[kind][1] + ")" } }, SYMBOLS[kind][0]), text)),
    make("li", {}, make("b", {}, "⌐"), "line in a node's lane: what it had applied of the raft log"),
    make("li", {}, make("b", { style: { color: "var(--snapshot)" } }, "┄"), "a snapshot on its way; red where it broke the rules"),
    make("li", {}, make("i", { style: { background: "var(--good)", width: "3px" } }), "everything mended"),
    make("li", {}, make("i", { style: { background: "none", border: "2px solid var(--bad)" } }), "part of what broke"),
    make("li", {}, make("i", { style: { background: "linear-gradient(var(--soft),var(--soft)) center/100% 2px no-repeat" } }), "never answered"));
}

function facts() {
  const report = run.report;
  const rows = [
    ["Clients", report.acknowledged + " answers, " + report.unknown + " operations never answered, " + report.refused + " given up without effect"],
    ["Faults", troubles()],
    ["Snapshots", Object.entries(report.snapshots).map(([route, count]) => count + " " + route).join(", ") || "none"],
    ["Elections", "" + report.elections],
    ["Engine findings", report.findings.map((it) => it.at_s.toFixed(3) + " s node " + it.node + " (" + it.engine + "): " + it.cause).join("; ") || "none"],
    ["Reached", report.milestones.map((it) => it.replaceAll("-", " ")).join(", ") || "no milestone"],
    ["Trace", run.trace_hash + ", " + report.events + " events, " + report.disk_operations + " disk operations"],
  ];
  const disk = report.last_operations.map(([node, lines]) => make("details", {}, make("summary", {}, "Last disk operations of node " + node),
    make("div", { class: "mono" }, lines.slice(-20).map((line) => make("div", {}, line)))));
  byId("facts").append(make("h2", {}, "Facts of the run"),
    make("p", {}, "Run it again, with a trace: ", make("code", { id: "rerun" }, run.rerun)),
    make("table", {}, rows.map(([what, text]) => make("tr", {}, make("th", {}, what), make("td", {}, text)))), ...disk);
}

function countMatches() {
  const shown = run.operations.filter(matches).length;
  byId("count").textContent = shown + " of " + plural(run.operations.length, "operation", "operations");
}

function start() {
  head();
  brokenCards();
  legend();
  facts();
  readColours();
  measure();
  const keys = [...new Set(run.operations.flatMap((it) => it.keys))].filter((key) => !key.includes("..")).sort();
  byId("keys").append(...keys.map((key) => make("option", { value: key })));
  byId("filter").addEventListener("input", (event) => {
    chosen.filter = event.target.value.trim();
    countMatches();
    redraw();
  });
  byId("zoom-in").addEventListener("click", () => zoom(.5));
  byId("zoom-out").addEventListener("click", () => zoom(2));
  byId("zoom-all").addEventListener("click", () => look(0, run.end_ns));
  byId("zoom-broken").addEventListener("click", lookAtBroken);
  byId("zoom-broken").hidden = !run.broken.some((it) => it.at_ns !== null);
  listen(byId("nodes"), textsAtNodes, (x, y) => showDetails(textsAtNodes(x, y)));
  listen(byId("clients"), (x, y) => { const place = operationAt(x, y); return place === null ? [] : operationTexts(place); },
    (x, y) => choose(operationAt(x, y)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
  new ResizeObserver(() => { measure(); redraw(); }).observe(byId("lanes"));
  countMatches();
  showDetails(["Nothing chosen yet.", "Point at a bar or a lane, or tap it."]);
  if (run.broken.length) lookAtBroken();
  redraw();
}

start();
