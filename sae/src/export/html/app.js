"use strict";
// Draws the table of features and the page of one, from data that script elements hand to `dictionary`.
// All text goes in as text; nothing is ever parsed as markup.
const dictionary = (() => {
  const PAGE = 200; // lines of the table that are drawn at a time
  const shards = new Map(), waiting = new Map(), places = new Map();
  let index = null, order = [], drawn = 0, query = "", sorted = { by: null, down: true }, haystack = null;

  // <tag class=…>children</tag>; a child is a node or a text.
  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  }
  function drawing(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  // Spaces at the ends of a token are dots, as in explanations.
  const token = (text) => make("span", { class: "token", title: text }, text.replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length)));
  const count = (n) => n.toLocaleString("en");
  const number = (n) => (n === null || n === undefined ? "–" : Math.abs(n) >= 1000 ? count(Math.round(n)) : String(n).replace("-", "−"));
  const signed = (n) => (n < 0 ? "−" : "+") + Math.abs(n).toFixed(3);
  const share = (n) => (n === 0 ? "0" : n >= 0.001 ? (100 * n).toFixed(n >= 0.1 ? 1 : 2) + " %" : Number((100 * n).toPrecision(2)) + " %");
  const link = (feature) => make("a", { href: "#" + feature }, String(feature));

  // Shards

  function load(number) {
    if (shards.has(number)) return Promise.resolve(shards.get(number));
    if (!waiting.has(number)) {
      waiting.set(number, new Promise((done, failed) => {
        const script = make("script", { src: `data/shard-${number}.js` });
        const fail = (why) => { waiting.delete(number); failed(new Error(why)); };
        script.onload = () => (shards.has(number) ? done(shards.get(number)) : fail("it holds nothing"));
        script.onerror = () => fail("it cannot be read");
        document.head.append(script);
      }));
    }
    return waiting.get(number);
  }

  // The table

  const columns = [
    { name: "Feature", kind: "n", value: (i) => index.feature[i], up: true },
    { name: "Label or explanation", kind: "l", value: (i) => (index.label[i] || index.text[i]).toLowerCase() || "\uffff", up: true },
    { name: "Score", kind: "s", value: (i) => index.score[i] },
    { name: "Fires on", kind: "w" },
    { name: "Promotes", kind: "w w2" },
    { name: "Density", kind: "d", value: (i) => index.density[i] },
    { name: "Max", kind: "x", value: (i) => index.max[i] },
  ];

  function arrange() {
    if (!haystack) {
      haystack = index.feature.map((f, i) =>
        [f, index.label[i], index.text[i], ...index.fires[i], ...index.promotes[i]].join("\n").toLowerCase());
    }
    const wanted = query.toLowerCase().split(/\s+/).filter(Boolean);
    order = index.feature.map((_, i) => i).filter((i) => wanted.every((word) => haystack[i].includes(word)));
    // A number is a feature's before it is part of a word.
    const exact = places.get(Number(query.trim() || NaN));
    if (sorted.by) {
      const value = sorted.by.value, sign = sorted.down ? -1 : 1;
      order.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return (x < y ? -sign : x > y ? sign : 0) || a - b;
      });
    }
    if (exact !== undefined) order = [exact, ...order.filter((i) => i !== exact)];
  }

  function line(i) {
    const words = (list) => list.map(token);
    return make("tr", {},
      make("td", { class: "n" }, link(index.feature[i])),
      make("td", { class: "l", dir: "auto" }, index.label[i] || index.text[i] || make("span", { class: "quiet" }, index.count[i] ? "–" : "dead")),
      make("td", { class: "s" }, index.score[i] === null ? "" : String(index.score[i])),
      make("td", { class: "w" }, words(index.fires[i])),
      make("td", { class: "w w2" }, words(index.promotes[i])),
      make("td", { class: "d" }, share(index.density[i])),
      make("td", { class: "x" }, number(index.max[i])));
  }

  function table() {
    const body = make("tbody"), found = make("span", { class: "quiet", role: "status" });
    const more = make("button", { class: "more", onclick: () => append() }, "More");
    const append = () => {
      body.append(...order.slice(drawn, drawn + PAGE).map(line));
      drawn = Math.min(drawn + PAGE, order.length);
      more.hidden = drawn >= order.length;
    };
    const heads = columns.map((column) => {
      if (!column.value) return make("th", { class: column.kind }, make("button", { disabled: "" }, column.name));
      return make("th", { class: column.kind }, make("button", {
        onclick: () => {
          sorted = sorted.by === column ? { by: column, down: !sorted.down } : { by: column, down: !column.up };
          refresh();
        },
      }, column.name));
    });
    const refresh = () => {
      arrange();
      columns.forEach((column, i) => {
        const on = sorted.by === column;
        heads[i].setAttribute("aria-sort", on ? (sorted.down ? "descending" : "ascending") : "none");
        heads[i].firstChild.textContent = column.name + (on ? (sorted.down ? " ↓" : " ↑") : "");
      });
      body.replaceChildren();
      drawn = 0;
      append();
      found.textContent = query ? `${count(order.length)} of ${count(index.feature.length)} features` : `${count(order.length)} features`;
    };
    const search = make("input", {
      type: "search", placeholder: "Search labels, explanations, tokens, numbers", "aria-label": "Search features", value: query,
      oninput: (event) => { query = event.target.value; refresh(); },
      onkeydown: (event) => { if (event.key === "Enter" && order.length) location.hash = "#" + index.feature[order[0]]; },
    });
    refresh();
    new IntersectionObserver((seen) => { if (seen[0].isIntersecting && drawn < order.length) append(); }, { rootMargin: "600px" }).observe(more);
    const partial = index.run.shown < index.run.all ? make("span", { class: "quiet" }, `a choice from ${count(index.run.all)}`) : null;
    return [
      make("div", { class: "tools" }, search, found, partial),
      make("table", { class: "features" }, make("thead", {}, make("tr", {}, heads)), body), more, about(),
    ];
  }

  function about() {
    const facts = index.run.facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
    return make("section", {}, make("h2", {}, "Where this comes from"), make("dl", { class: "facts" }, facts));
  }

  // A feature

  function bars(counts, low, high, what) {
    const width = 100 / counts.length, most = Math.max(...counts, 1);
    // The square root shows the rare strong ones next to the many weak ones.
    const height = (n) => (n ? Math.max(1.5, 72 * Math.sqrt(n / most)) : 0);
    const rects = counts.map((n, i) => drawing("rect", {
      x: i * width, y: 74 - height(n), width: width * 0.82, height: height(n),
    }, drawing("title", {}, `${count(n)} ${what}, ${number(+(low + (i * (high - low)) / counts.length).toPrecision(3))} to ${number(+(low + ((i + 1) * (high - low)) / counts.length).toPrecision(3))}`)));
    return [
      drawing("svg", { class: "bars", viewBox: "0 0 100 74", preserveAspectRatio: "none", role: "img", "aria-label": `Histogram of ${what}` }, ...rects),
      make("div", { class: "scale" }, make("span", {}, number(low)), make("span", {}, "√ of counts"), make("span", {}, number(high))),
    ];
  }

  function example(feature, words, one) {
    const values = new Map();
    for (let i = 0; i < one.v.length; i += 2) values.set(one.v[i], one.v[i + 1]);
    const shade = (value) => (0.08 + 0.72 * Math.min(1, value / feature.max)).toFixed(2);
    const cell = (i, tag, text) => {
      const value = values.get(i);
      return make(tag, {
        "data-v": value === undefined ? null : "", style: value === undefined ? null : "--a:" + shade(value),
        title: value === undefined ? null : String(value), class: i === one.m ? "marked" : null,
      }, text);
    };
    const place = `document ${one.d}, ${one.p}`;
    const shown = one.t.length
      ? make("div", { class: "example", dir: "auto" }, one.t.map((word, i) => cell(i, "span", words[word])))
      : make("div", { class: "cells" }, Array.from({ length: one.n }, (_, i) => cell(i, "i", "")));
    return make("div", { class: "row" }, make("div", { class: "about", title: place }, make("b", {}, String(one.x)), String(one.d) + ":" + one.p), shown);
  }

  function examples(feature, words) {
    const names = { 0: "Strongest", 1: "80 to 100 % of the strongest", 2: "60 to 80 %", 3: "40 to 60 %", 4: "20 to 40 %", 5: "0 to 20 %", "-1": "At random" };
    const kinds = [0, 1, 2, 3, 4, 5, -1];
    return kinds.flatMap((kind) => {
      const some = feature.examples.filter((one) => one.i === kind);
      return some.length ? [make("h2", {}, names[kind]), ...some.map((one) => example(feature, words, one))] : [];
    });
  }

  const list = (rows) => make("ol", { class: "list" }, rows.map(([what, value]) => make("li", {}, make("span", {}, what), make("span", { class: "number" }, value))));
  const section = (title, rows, ...content) => (rows.length ? [make("h2", {}, title), ...content] : []);

  function feature(one, words) {
    const i = places.get(one.feature);
    const label = (f) => { const j = places.get(f); return j === undefined ? String(f) : [link(f), " ", make("span", { class: "quiet" }, index.label[j] || index.text[j])]; };
    const named = (f) => make("span", {}, label(f));
    const figure = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
    const told = one.told.map((t) => make("p", { class: "told", dir: "auto" }, t.text, " ",
      make("small", {}, [t.method, t.by, ...t.scores.map(([k, v]) => `${k} ${v}`)].filter(Boolean).join(" · "))));
    const low = one.bottom.length ? one.bottom[0][1] : 0, high = one.top.length ? one.top[0][1] : 0;
    return [
      make("h1", { dir: "auto" }, "Feature " + one.feature + (one.label ? ": " + one.label : "")), ...told,
      one.note ? make("p", { class: "note", dir: "auto" }, one.note) : null,
      make("dl", { class: "figures" },
        figure("Density", share(one.density)), figure("Fires on", `${count(one.count)} ${index.run.unit}`),
        figure("Max", number(one.max)), figure("Mean where it fires", number(one.mean)),
        figure("Encoder bias", number(one.bias)), figure("Encoder · decoder", number(one.cosine))),
      make("div", { class: "feature" },
        make("div", {}, one.examples.length ? examples(one, words) : make("p", { class: "quiet" }, one.count ? "No examples were kept." : `It fired on none of the ${count(index.run.tokens)} ${index.run.unit}.`)),
        make("aside", {},
          ...section("Activations where it fires", one.histogram, ...bars(one.histogram, 0, one.max, index.run.unit)),
          ...section("Logits of the vocabulary", one.logit_histogram, ...bars(one.logit_histogram, low, high, "vocabulary entries")),
          ...section("Tokens it promotes and suppresses", one.top, make("div", { class: "pair" },
            list(one.top.map(([t, v]) => [token(t), signed(v)])), list(one.bottom.map(([t, v]) => [token(t), signed(v)])))),
          ...section("Fires most on", one.fires, list(one.fires.map(([t, n]) => [token(t), count(n)]))),
          ...section("Nearest directions", one.near, list(one.near.map(([f, c]) => [named(f), "cos " + c]))),
          ...section("Fires together with", one.together, list(one.together.map(([f, , lift]) => [named(f), "lift " + lift]))))),
      make("details", { open: "" }, make("summary", {}, "Where this comes from"), about()),
    ];
  }

  // What is shown is what the address says: `#17` is feature 17.

  function head(i) {
    const step = (by) => { const j = i + by; return i === undefined || j < 0 || j >= index.feature.length ? null : index.feature[j]; };
    const [before, after] = [step(-1), step(1)];
    document.getElementById("head").replaceChildren(
      make("a", { class: "name", href: "#" }, index.run.name), make("span", { class: "where" }, [index.run.model, index.run.hook].filter(Boolean).join(" · ")),
      make("nav", { "aria-label": "Features" }, i === undefined ? "" : make("a", { href: "#" }, "All features"),
        before === null ? "" : make("a", { href: "#" + before, rel: "prev" }, "← " + before), after === null ? "" : make("a", { href: "#" + after, rel: "next" }, after + " →")));
  }

  // An address that somebody mistyped is not one of ours, and is shown as it is.
  function place() {
    try { return decodeURIComponent(location.hash.slice(1)); } catch { return location.hash.slice(1); }
  }

  async function show() {
    const main = document.getElementById("main"), hash = place();
    if (index.feature.length === 1 && !hash) { location.replace("#" + index.feature[0]); return; }
    const i = hash === "" ? undefined : places.get(Number(hash));
    head(i);
    if (hash === "") {
      document.title = `${index.run.name} · ${index.run.hook || "features"}`;
      main.replaceChildren(...table());
      return;
    }
    if (i === undefined) { main.replaceChildren(make("p", {}, `Feature ${hash} is not among these.`)); return; }
    document.title = `Feature ${hash} · ${index.run.name}`;
    const number = Math.floor(i / index.shard);
    try {
      const shard = await load(number);
      if (place() !== hash) return;
      main.replaceChildren(...feature(shard.features[i % index.shard], shard.words).filter(Boolean));
      scrollTo(0, 0);
    } catch (error) {
      main.replaceChildren(make("p", {}, `data/shard-${number}.js: ${error.message}. Copy the whole folder, not index.html alone.`));
    }
  }

  addEventListener("keydown", (event) => {
    if (event.target.matches("input, button") || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    const to = arrow && document.querySelector(`a[rel=${arrow}]`);
    if (to) to.click();
    if (event.key === "/") { const search = document.querySelector("input"); if (search) { event.preventDefault(); search.focus(); } }
  });

  return {
    index(data) {
      index = data;
      index.feature.forEach((f, i) => places.set(f, i));
      addEventListener("hashchange", show);
      show();
    },
    shard(data) { shards.set(data.shard, data); },
  };
})();
