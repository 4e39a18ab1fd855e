"use strict";
(async () => {
  const find = (id) => document.getElementById(id);
  const packed = Uint8Array.from(atob(find("data").textContent), (char) => char.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = await new Response(unpacked).json();
  const all = data.recordings;

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const clock = (seconds) => {
    const whole = Math.round(seconds * 10) / 10;
    const minutes = Math.floor(whole / 60);
    return `${minutes}:${(whole - 60 * minutes).toFixed(1).padStart(4, "0")}`;
  };
  const titled = ({ name, channel }) => (channel ? `${name}, channel ${channel}` : name);
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const pathOf = ({ facts }) => facts.find(([index]) => data.facts[index] === "File")?.[1] ?? "";
  // Of emotions it is a confidence.
  const figure = (value) => (value == null ? "" : data.numbers ? Number(value.toFixed(2)).toFixed(2) : `${Math.round(100 * value)} %`);
  // A number is the answer itself; there is none without speech.
  const answer = ({ emotion, confidence }) => (data.numbers && figure(confidence)) || data.emotions[emotion];
  const colour = (index) => `var(--${data.colours[index]})`;

  // A timeline is one background of hard stops: cheap for any number of segments.
  const paint = (element, recording) => {
    const stops = recording.segments.flatMap(([start, end, emotion]) => [
      `${colour(emotion)} ${(100 * start) / recording.duration}%`,
      `${colour(emotion)} ${(100 * end) / recording.duration}%`,
    ]);
    element.style.background = stops.length ? `linear-gradient(to right, ${stops.join(", ")})` : "";
  };
  const inWords = ({ segments }, most = 6) => {
    const told = segments.slice(0, most).map(([start, end, emotion]) => `${data.emotions[emotion]} ${clock(start)} to ${clock(end)}`);
    return told.join(", ") + (segments.length > most ? `, and ${segments.length - most} more` : "");
  };

  // The table: only the rows in view exist.
  const list = find("list");
  const body = find("table").tBodies[0];
  let shown = all;
  let sorting = { key: null, down: false };
  let first = -1;
  let count = -1;

  const row = (recording, index) => {
    const line = make("tr", undefined, { "aria-rowindex": index + 2 });
    const name = make("td");
    const open = make("button", undefined, { type: "button", class: "open", title: titled(recording) });
    const [, folder, rest] = /^(.*[/\\])?(.*)$/s.exec(titled(recording));
    open.append(make("span", folder ?? "", { class: "folder" }), rest);
    open.addEventListener("click", () => show(recording));
    name.append(open);
    const emotion = make("td", undefined);
    if (recording.error) {
      emotion.append(make("span", "failed", { class: "warn" }));
    } else {
      const swatch = make("span", "", { class: "swatch", "aria-hidden": "true" });
      swatch.style.background = colour(recording.emotion);
      emotion.append(swatch, answer(recording));
    }
    const course = make("td");
    if (recording.segments.length) {
      const strip = make("div", undefined, { class: "strip", role: "img", "aria-label": inWords(recording) });
      paint(strip, recording);
      course.append(strip);
    }
    const warnings = recording.error || recording.warnings.map((each) => data.warnings[each][0]).join(", ");
    line.append(
      name,
      emotion,
      make("td", figure(recording.confidence), { class: "roomy number", ...(data.numbers && { hidden: "" }) }),
      make("td", recording.duration == null ? "" : clock(recording.duration), { class: "roomy number" }),
      course,
      make("td", warnings, { class: "roomy warn", title: warnings }),
    );
    return line;
  };
  // Hidden columns do not count: a cell over them would make room for them.
  const columns = () => [...find("table").tHead.rows[0].cells].filter((each) => getComputedStyle(each).display !== "none").length;
  const gap = (rows, height) => {
    const line = make("tr", undefined, { class: "gap", "aria-hidden": "true" });
    const cell = make("td", undefined, { colspan: columns() });
    cell.style.height = `${rows * height}px`;
    line.append(cell);
    return line;
  };
  const height = () => (body.querySelector("tr:not(.gap)")?.getBoundingClientRect().height || 44);
  const draw = (everything = false) => {
    const each = height();
    const from = everything ? 0 : Math.max(0, Math.floor(list.scrollTop / each) - 8);
    const rows = everything ? shown.length : Math.ceil(list.clientHeight / each) + 16;
    const to = Math.min(shown.length, from + rows);
    if (from === first && to - from === count) return;
    const focused = body.contains(document.activeElement) ? document.activeElement.closest("tr").getAttribute("aria-rowindex") : null;
    [first, count] = [from, to - from];
    body.replaceChildren(
      ...(from ? [gap(from, each)] : []),
      ...shown.slice(from, to).map((recording, index) => row(recording, from + index)),
      ...(to < shown.length ? [gap(shown.length - to, each)] : []),
    );
    if (focused) body.querySelector(`tr[aria-rowindex="${focused}"] button`)?.focus({ preventScroll: true });
  };

  const values = {
    name: titled,
    emotion: (each) => (data.numbers ? values.confidence(each) : each.error ? "~" : data.emotions[each.emotion]),
    confidence: (each) => each.confidence ?? -Number.MAX_VALUE,
    duration: (each) => each.duration ?? -1,
    warnings: (each) => (each.error ? 99 : each.warnings.length),
  };
  const collator = new Intl.Collator(undefined, { numeric: true });
  const compare = (one, other) => (typeof one === "string" ? collator.compare(one, other) : one - other);
  const states = {
    "": () => true,
    ok: (each) => !each.error,
    warned: (each) => each.warnings.length > 0,
    failed: (each) => Boolean(each.error),
  };
  const choose = () => {
    const text = find("name").value.toLocaleLowerCase();
    const emotion = find("emotion").value;
    const state = states[find("state").value];
    const has = (each) => emotion === "" || each.segments.some((segment) => segment[2] === Number(emotion));
    shown = all.filter((each) => state(each) && has(each) && each.name.toLocaleLowerCase().includes(text));
    // The recordings with most of the emotion that was asked for come first.
    const seconds = (each) => each.segments.reduce((sum, [start, end, found]) => sum + (found === Number(emotion)) * (end - start), 0);
    const value = values[sorting.key] ?? (emotion === "" ? null : seconds);
    const sign = sorting.key && !sorting.down ? 1 : -1;
    if (value) shown.sort((one, other) => sign * compare(value(one), value(other)));
    find("count").textContent = `${shown.length} of ${all.length} ${data.entries}`;
    find("table").setAttribute("aria-rowcount", shown.length + 1);
    list.scrollTop = 0;
    first = -1;
    draw();
  };

  if (data.numbers) document.querySelector("th[data-key=confidence]").hidden = true;
  data.emotions.forEach((emotion, index) => find("emotion").append(make("option", emotion, { value: index })));
  for (const id of ["name", "emotion", "state"]) find(id).addEventListener("input", choose);
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const head of document.querySelectorAll("th[data-key]")) {
    head.firstElementChild.addEventListener("click", () => {
      sorting = { key: head.dataset.key, down: sorting.key === head.dataset.key && !sorting.down };
      document.querySelectorAll("th[aria-sort]").forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      choose();
    });
  }
  list.addEventListener("scroll", () => draw(), { passive: true });
  addEventListener("resize", () => {
    first = -1;
    draw();
  });
  addEventListener("beforeprint", () => draw(shown.length <= 5000));
  addEventListener("afterprint", () => draw());

  // The details of one recording.
  const audio = find("audio");
  let current = null;
  const play = (time) => {
    if (audio.hidden) return;
    audio.currentTime = time;
    audio.play().catch(() => {});
  };
  const show = (recording) => {
    current = recording;
    find("details-title").textContent = titled(recording);
    find("details-result").textContent = recording.error
      ? recording.error
      : [answer(recording), data.numbers ? "" : figure(recording.confidence)].filter(Boolean).join(", ");
    paint(find("strip"), recording);
    find("strip").setAttribute("aria-label", `Timeline: ${inWords(recording)}`);
    find("details-course").hidden = find("details-list").hidden = !recording.segments.length;
    find("details-warnings").replaceChildren(
      ...recording.warnings.map((each) => make("li", data.warnings[each].join(": "), { class: "warn" })),
    );
    find("details-facts").replaceChildren(
      ...recording.facts.flatMap(([index, text]) => [make("dt", data.facts[index]), make("dd", text)]),
    );
    find("segments").replaceChildren(
      ...recording.segments.map(([start, end, emotion, confidence]) => {
        const line = make("tr");
        const time = make("td");
        const button = make("button", `${clock(start)} to ${clock(end)}`, { type: "button", class: "play" });
        button.addEventListener("click", () => play(start));
        time.append(button);
        const named = make("td");
        const swatch = make("span", "", { class: "swatch", "aria-hidden": "true" });
        swatch.style.background = colour(emotion);
        named.append(swatch, data.emotions[emotion]);
        line.append(time, named, make("td", figure(confidence), { class: "number" }));
        return line;
      }),
    );
    const whose = recording.channel ? ` --channel ${recording.channel}` : "";
    find("details-why").hidden = !data.model || Boolean(recording.error) || !recording.segments.some((each) => each[3] != null);
    find("details-why").lastElementChild.textContent = `serctl explain --model ${data.model} ${quoted(pathOf(recording))}${whose} -o why.html`;
    const sound = document.getElementById(`sound-${recording.sound}`);
    const address = sound ? `data:audio/mpeg;base64,${sound.textContent}` : recording.link;
    audio.hidden = !address;
    find("audio-note").textContent = address || recording.error ? "" : "The recording is not linked to this page.";
    if (address) audio.src = address;
    else audio.removeAttribute("src");
    find("playhead").style.left = "0";
    find("details").showModal();
  };
  audio.addEventListener("error", () => {
    if (audio.getAttribute("src"))
      find("audio-note").textContent = "The recording is not where the page expects it, or the browser cannot play its format.";
  });
  audio.addEventListener("timeupdate", () => {
    if (current?.duration) find("playhead").style.left = `${Math.min(100, (100 * audio.currentTime) / current.duration)}%`;
  });
  find("strip").addEventListener("click", (event) => {
    const { left, width } = find("strip").getBoundingClientRect();
    play(((event.clientX - left) / width) * current.duration);
  });
  find("details").addEventListener("close", () => audio.pause());

  choose();
  document.documentElement.dataset.ready = "yes";
})();
