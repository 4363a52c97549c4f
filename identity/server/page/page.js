// The page communicates only with the server that it came from.
"use strict";

const $ = id => document.getElementById(id);
const state = { choices: [], fpir: 0.01, results: [], shown: "all", people: [], job: null, album: null };

function make(tag, options = {}, ...children) {
  const { class: name, data, ...rest } = options;
  const element = document.createElement(tag);
  if (name) element.className = name;
  for (const [key, value] of Object.entries(rest)) {
    if (key.startsWith("aria-") || key === "for" || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  Object.assign(element.dataset, data || {});
  element.append(...children);
  return element;
}

let hush;
function say(text) {
  $("said").textContent = text;
  clearTimeout(hush);
  hush = setTimeout(() => { $("said").textContent = ""; }, 6000);
}

// ---- requests to the server

class Refused extends Error {}

function complain(error) {
  if (!(error instanceof Refused)) console.error(error);
  say(error.message);
}

async function call(method, path, body, options = {}) {
  for (let turn = 0; ; turn++) {
    const headers = {};
    const key = sessionStorage.getItem("key");
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body && !(body instanceof FormData)) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, {
        method, headers, signal: options.signal,
        body: body instanceof FormData || !body ? body : JSON.stringify(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused("The server does not answer. Is it still running?");
    }
    if (answer.ok) return options.blob ? answer.blob() : answer.status === 204 ? null : answer.json();
    const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
    const again = (answer.status === 503 || answer.status === 429) && turn < 20;
    if (again) {
      await new Promise(done => setTimeout(done, 1000 * Number(answer.headers.get("Retry-After") || 1)));
    } else if (answer.status === 401 && turn < 3) {
      const entered = await ask("Key required", "This server requires a key.", "Continue", "Key");
      if (entered === null) throw new Refused(problem.detail);
      sessionStorage.setItem("key", entered.trim());
    } else throw new Refused(problem.detail);
  }
}

function formOf(entries) {
  const form = new FormData();
  for (const [name, value] of entries) {
    if (value instanceof File) form.append(name, value, nameOf(value));
    else form.append(name, value);
  }
  return form;
}

const nameOf = file => file.path || file.webkitRelativePath || file.name;

let asking = Promise.resolve();
function ask(title, text, yes, field = "") {
  const next = asking.then(() => new Promise(done => {
    const dialog = $("ask");
    $("ask-title").textContent = title;
    $("ask-text").textContent = text;
    $("ask-yes").textContent = yes;
    $("ask-field").hidden = !field;
    $("ask-field").firstElementChild.textContent = field;
    $("ask-value").value = "";
    $("ask-value").required = Boolean(field);
    dialog.returnValue = "no";
    dialog.onclose = () => done(dialog.returnValue === "yes" ? (field ? $("ask-value").value : true) : null);
    dialog.showModal();
  }));
  asking = next.catch(() => null);
  return next;
}

// ---- tabs

const tabs = [...document.querySelectorAll("[role=tab]")];
function choose(tab, focus = false) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  if (tab.id === "tab-people") listPeople();
  history.replaceState(null, "", `#${tab.id.slice(4)}`);
}
for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], true);
    if (event.key === "Home") choose(tabs[0], true);
    if (event.key === "End") choose(tabs[tabs.length - 1], true);
  });
}

// ---- files that are dropped or chosen

async function filesOf(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  async function walk(entry) {
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      file.path = entry.fullPath.replace(/^\//, "");
      files.push(file);
    } else {
      const reader = entry.createReader();
      for (;;) {
        const part = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!part.length) break;
        for (const one of part) await walk(one);
      }
    }
  }
  for (const entry of entries) await walk(entry);
  return files;
}

const LITTER = /(^|\/)(\.ds_store|thumbs\.db|desktop\.ini|\.picasa\.ini|\._[^/]*)$/i;
const takers = {};
function take(kind, files) {
  const wanted = files.filter(file => !LITTER.test(nameOf(file)));
  if (wanted.length) Promise.resolve(takers[kind](wanted)).catch(complain);
}
for (const zone of document.querySelectorAll("[data-drop]")) {
  zone.addEventListener("dragover", event => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", async event => {
    event.preventDefault();
    zone.classList.remove("over");
    take(zone.dataset.drop, await filesOf(event.dataTransfer));
  });
}
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => event.preventDefault());
for (const [id, kind] of [["name-files", "name"], ["name-folder", "name"], ["file-a", "a"], ["file-b", "b"],
                          ["albums-files", "albums"], ["albums-folder", "albums"]]) {
  $(id).addEventListener("change", event => {
    take(kind, [...event.target.files]);
    event.target.value = "";
  });
}

// ---- naming

const called = name => name.replaceAll("_", " ");  // folders are often called First_Last
const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

const sure = share => share >= 0.995 ? "over 99 %" : percent(share);
const percent = share => `${(100 * share).toFixed(share < 0.1 ? 1 : 0).replace(/\.0$/, "")} %`;
const choice = () => state.choices[state.choices.length - 1 - Number($("strict").value)];  // the strictest is on the right
const threshold = () => choice()?.threshold ?? Infinity;
const decided = face => face.score >= threshold() && face.reason !== "too_small" ? face.best[0].name : "unknown";
const doubts = { too_small: "too small to name", blurred: "blurred" };

function showCost() {
  const chosen = choice();
  if (!chosen) return;
  const named = chosen.named === null ? "" : ` In calibration, ${percent(chosen.named)} of enrolled people’s faces got their name.`;
  const text = `About ${Math.round(1000 * chosen.fpir)} of 1000 strangers get a name.${named}`;
  $("strict-cost").textContent = text;
  $("strict").setAttribute("aria-valuetext", text);
}
$("strict").addEventListener("input", () => { showCost(); state.results.forEach(draw); summarise(); });

let stopNaming = null;
takers.name = async files => {
  stopNaming?.abort();
  for (const result of state.results) if (result.url) URL.revokeObjectURL(result.url);
  state.results = [];
  state.shown = "all";
  $("name-results").replaceChildren();
  const control = stopNaming = new AbortController();
  let done = 0;
  const bar = $("name-progress");
  const progress = () => {
    bar.querySelector("progress").value = done / files.length;
    bar.querySelector("span").textContent = `${done} of ${files.length}`;
    bar.hidden = done === files.length || control.signal.aborted;
    if (done % 10 === 0 || done === files.length) summarise();
  };
  progress();
  const waiting = [...files];
  async function work() {
    while (waiting.length && !control.signal.aborted) {
      const file = waiting.shift();
      let answers;
      try {
        answers = (await call("POST", "/v1/identify", formOf([["files", file]]), { signal: control.signal })).results;
      } catch (error) {
        if (error.name === "AbortError") return;
        answers = [{ photo: nameOf(file), status: "error", reason: error.message, faces: [] }];
      }
      for (const answer of answers) {
        const result = { answer, file: answers.length === 1 ? file : null, element: make("li", { class: "photo" }) };
        if (result.file) result.url = URL.createObjectURL(file);
        state.results.push(result);
        $("name-results").append(result.element);
        draw(result);
      }
      done++;
      progress();
    }
  }
  try {
    await Promise.all([work(), work(), work()]);
  } finally {
    bar.hidden = true;
  }
  summarise();
  say(control.signal.aborted ? "Stopped." : `${count(done, "photo")} processed.`);
};
$("name-stop").addEventListener("click", () => stopNaming?.abort());

function kindOf(result) {
  if (result.answer.status !== "ok") return result.answer.status;
  return result.answer.faces.some(face => decided(face) !== "unknown") ? "named" : "unknown";
}

function summarise() {
  const counts = { all: state.results.length, named: 0, unknown: 0, no_face: 0, error: 0 };
  for (const result of state.results) counts[kindOf(result)]++;
  const titles = { all: "All", named: "With a name", unknown: "Unknown", no_face: "No face", error: "Unreadable" };
  $("name-summary").hidden = !state.results.length;
  const focused = document.activeElement?.dataset?.kind;
  $("name-summary").replaceChildren(...Object.keys(titles).filter(kind => counts[kind] || kind === "all").map(kind => {
    const button = make("button", { class: "quiet", "aria-pressed": String(state.shown === kind), data: { kind } },
      `${titles[kind]} ${counts[kind]}`);
    button.addEventListener("click", () => { state.shown = kind; summarise(); });
    return button;
  }));
  $("name-summary").querySelector(`[data-kind="${focused}"]`)?.focus();
  for (const result of state.results) result.element.hidden = state.shown !== "all" && kindOf(result) !== state.shown;
}

function draw(result) {
  const { answer, url } = result;
  const names = answer.faces.map(decided);
  const frame = make("div", { class: "frame" });
  if (url) {
    const image = make("img", { src: url, loading: "lazy", alt: `${answer.photo}: ${names.map(called).join(", ") || "no name"}` });
    image.addEventListener("load", () => boxes(frame, image, answer.faces.map((face, k) => [face.box, names[k]])));
    image.addEventListener("error", () => image.replaceWith(make("span", { class: "none" }, "no preview for this format")));
    frame.append(image);
  } else frame.append(make("span", { class: "none" }, "from a zip, no preview"));
  const said = make("div", { class: "said" }, make("span", { class: "file" }, answer.photo));
  if (answer.status !== "ok") {
    const why = { no_face: "No face detected", error: "Unreadable" }[answer.status];
    said.append(make("span", {}, answer.status === "error" ? `${why}: ${answer.reason}` : why));
  }
  answer.faces.forEach((face, k) => {
    const known = names[k] !== "unknown";
    const certainty = known ? `${sure(face.probability)} sure` : doubts[face.reason] ?? "";
    said.append(make("span", { class: "face" }, make("b", { class: known ? "known" : "unknown" }, called(names[k])), make("span", { class: "soft" }, certainty)));
    said.append(make("details", {}, make("summary", { "aria-label": `The most similar people, face ${k + 1}` }, "most similar"),
      make("ol", {}, ...face.best.map(one => make("li", {}, `${called(one.name)} (${one.similarity.toFixed(2)})`)))));
  });
  result.element.replaceChildren(frame, said);
}

function boxes(frame, image, faces) {
  frame.querySelectorAll(".box").forEach(box => box.remove());
  for (const [box, name] of faces) {
    if (!box) continue;
    const [x, y, width, height] = box;
    const element = make("div", { class: `box ${name === "unknown" ? "unknown" : "known"}` });
    if (name) element.append(make("b", {}, called(name)));
    element.style.left = `${100 * x / image.naturalWidth}%`;
    element.style.top = `${100 * y / image.naturalHeight}%`;
    element.style.width = `${100 * width / image.naturalWidth}%`;
    element.style.height = `${100 * height / image.naturalHeight}%`;
    frame.append(element);
  }
}

// ---- comparing

const pair = { a: null, b: null };
for (const slot of ["a", "b"]) {
  takers[slot] = async files => {
    pair[slot] = files[0];
    const image = make("img", { src: URL.createObjectURL(files[0]), alt: `${slot === "a" ? "First" : "Second"} photo, ${files[0].name}` });
    image.addEventListener("error", () => image.replaceWith(make("span", { class: "none" }, files[0].name)));
    $(`shown-${slot}`).replaceChildren(image);
    if (pair.a && pair.b) await compare();
  };
}

async function compare() {
  const verdict = $("verdict");
  verdict.className = "card verdict";
  verdict.replaceChildren(make("p", {}, "Comparing …"));
  let answer;
  try {
    answer = await call("POST", "/v1/verify", formOf([["a", pair.a], ["b", pair.b]]));
  } catch (error) {
    verdict.replaceChildren(make("p", { class: "big" }, "No answer"), make("p", {}, error.message));
    return;
  }
  ["a", "b"].forEach((slot, k) => {
    const image = $(`shown-${slot}`).querySelector("img");
    if (image) image.decode().then(() => boxes($(`shown-${slot}`), image, [[answer.boxes[k], ""]])).catch(() => null);
  });
  if (answer.same === null) {
    verdict.replaceChildren(make("p", { class: "big" }, "Cannot compare"), make("p", {}, answer.reason.replaceAll("_", " ")));
    return;
  }
  verdict.classList.add(answer.same ? "same" : "other");
  const fill = make("i"), mark = make("u");
  const scale = distance => `${Math.max(0, Math.min(100, 100 * (1 - distance)))}%`;
  fill.style.width = scale(answer.distance);
  mark.style.left = scale(answer.threshold);
  const what = answer.same ? "Probability that this is the same person" : "Probability that these are different people";
  verdict.replaceChildren(
    make("p", { class: "big" }, answer.same ? "Same person" : "Not the same person"),
    make("div", { class: "meter", role: "img", "aria-label": `distance ${answer.distance}, limit ${answer.threshold}` }, fill, mark),
    make("p", {}, `${what}: ${sure(answer.confidence)}, if half of all compared pairs show the same person. The distance is ${answer.distance.toFixed(2)}; up to ${answer.threshold.toFixed(2)} counts as the same person, a limit that one in ${Math.round(1 / answer.fmr)} pairs of different people stays below.`));
}

// ---- albums

takers.albums = async files => {
  $("albums-start").hidden = true;
  const bar = $("albums-progress");
  bar.hidden = false;
  bar.querySelector("span").textContent = "Sending …";
  bar.querySelector("progress").removeAttribute("value");
  try {
    let job = null, sent = 0;
    for (const [number, part] of portions(files).entries()) {
      const more = number + 1 < portions(files).length;
      const path = job ? `/v1/organise/${job.job}/photos` : "/v1/organise";
      job = await call("POST", `${path}?more=${more}`, formOf(part.map(file => ["files", file])));
      sent += part.length;
      bar.querySelector("progress").value = sent / files.length;
      bar.querySelector("span").textContent = `sent ${sent} of ${files.length}`;
    }
    state.job = job.job;
    while (job.status === "running") {
      bar.querySelector("progress").value = job.photos ? job.done / job.photos : 0;
      bar.querySelector("span").textContent = `${job.done} of ${job.photos}`;
      await new Promise(done => setTimeout(done, 400));
      job = await call("GET", `/v1/organise/${state.job}`);
    }
    if (job.status === "failed") throw new Refused(job.detail);
    showAlbums(job);
    say("The albums are ready.");
  } catch (error) {
    $("albums-start").hidden = false;
    throw error;
  } finally {
    bar.hidden = true;
  }
};

function portions(files) {  // the bytes and files of a request are limited
  const parts = [[]];
  let bytes = 0;
  for (const file of files) {
    if (parts.at(-1).length && (parts.at(-1).length === 50 || bytes + file.size > 100e6)) { parts.push([]); bytes = 0; }
    parts.at(-1).push(file);
    bytes += file.size;
  }
  return parts;
}

const thumbnails = new Map();
const nearby = new IntersectionObserver(entries => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    nearby.unobserve(entry.target);
    const number = entry.target.dataset.number;
    if (!thumbnails.has(number)) {
      thumbnails.set(number, call("GET", `/v1/organise/${state.job}/thumbnails/${number}`, null, { blob: true }).then(URL.createObjectURL));
    }
    thumbnails.get(number).then(url => { entry.target.src = url; }).catch(() => null);
  }
}, { rootMargin: "400px" });

function cover(path, alt) {
  const image = make("img", { class: "cover", alt, data: { number: String(state.numbers.get(path)) } });
  image.src = "data:,";
  image.removeAttribute("src");
  nearby.observe(image);
  return image;
}

const groupOf = album => album === "no face" ? "no face" : album.includes("/") ? album.split("/")[0] : "people";
const titleOf = album => album === "no face" ? "No face" : album === "unknown/single" ? "In one photo each"
  : album.startsWith("unknown/") ? `Unknown person ${album.slice(8)}` : album.startsWith("review/") ? `Perhaps ${called(album.slice(7))}` : called(album);

function showAlbums(job) {
  const { albums, photos } = job.albums;
  state.numbers = new Map(photos.map((photo, number) => [photo.photo, number]));
  state.albums = new Map(albums.map(album => [album.album, album.photos]));
  const unreadable = photos.filter(photo => photo.status === "error").length + job.albums.unreadable.length;
  $("albums-done").hidden = false;
  $("albums-count").textContent = `${count(photos.length, "photo")} in ${count(albums.length, "album")}${unreadable ? `, ${unreadable} unreadable` : ""}`;
  const headings = { people: "People", unknown: "Unknown", review: "To review", "no face": "No face" };
  $("albums-list").replaceChildren(...Object.entries(headings).flatMap(([kind, heading]) => {
    const own = albums.filter(album => groupOf(album.album) === kind);
    if (!own.length) return [];
    return [make("h3", { class: "group" }, heading), make("ul", { class: "albums" }, ...own.map(album => {
      const button = make("button", {}, cover(album.photos[0], ""),
        make("span", {}, make("b", {}, titleOf(album.album)), make("span", { class: "soft" }, ` ${album.photos.length}`)));
      button.addEventListener("click", () => openAlbum(album.album));
      return make("li", {}, button);
    }))];
  }));
  if (state.album !== null && state.albums.has(state.album)) openAlbum(state.album, false);
  else closeAlbum(false);
}

function closeAlbum(focus = true) {
  const was = state.album;
  state.album = null;
  $("album-open").hidden = true;
  $("albums-list").hidden = false;
  if (focus) [...$("albums-list").querySelectorAll("button")].find(b => was && b.textContent.startsWith(titleOf(was)))?.focus();
}

function openAlbum(album, focus = true) {
  state.album = album;
  const back = make("button", { class: "quiet" }, "All albums");
  back.addEventListener("click", () => closeAlbum());
  const parts = [make("div", { class: "row" }, back, make("h3", {}, titleOf(album)))];
  if (album.startsWith("unknown/") && album !== "unknown/single") {
    const input = make("input", { type: "text", required: true, maxLength: 200, autocomplete: "off" });
    const form = make("form", {}, make("label", {}, "Who is this?", input), make("button", {}, "Name this person"));
    form.addEventListener("submit", event => {
      event.preventDefault();
      const name = input.value.trim();
      if (name) change("names", { album, name }, `${name} is enrolled and has an album.`);
    });
    parts.push(form);
  }
  const targets = [...new Set([...[...state.albums.keys()].filter(a => groupOf(a) === "people"), "no face"])];
  parts.push(make("ul", { class: "tiles" }, ...state.albums.get(album).map(path => {
    const select = make("select", { "aria-label": `Move ${path} to another album` }, make("option", { value: "" }, "Move to …"),
      ...targets.filter(a => a !== album).map(a => make("option", { value: a }, titleOf(a))), make("option", { value: "\n" }, "A new album …"));
    select.addEventListener("change", async () => {
      let target = select.value;
      select.value = "";
      if (target === "\n") target = await ask("New album", `${path} will be moved there.`, "Move", "Name of the album");
      if (target) change("moves", { photo: path, source: album, target }, "Moved.");
    });
    return make("li", { class: "tile" }, cover(path, path), make("div", {}, make("span", { class: "soft" }, path), select));
  })));
  $("album-open").replaceChildren(...parts);
  $("album-open").hidden = false;
  $("albums-list").hidden = true;
  if (focus) back.focus();
}

async function change(what, body, done) {
  try {
    say("A moment …");
    showAlbums(await call("POST", `/v1/organise/${state.job}/${what}`, body));
    say(done);
    if (what === "names") about();
  } catch (error) { complain(error); }
}

$("albums-zip").addEventListener("click", async () => {
  try {
    const url = URL.createObjectURL(await call("GET", `/v1/organise/${state.job}/albums.zip`, null, { blob: true }));
    make("a", { href: url, download: "albums.zip" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) { complain(error); }
});
$("albums-delete").addEventListener("click", async () => {
  if (!await ask("Delete these albums?", "This deletes the photos and albums on the server. Your own photos stay where they are.", "Delete")) return;
  try {
    await call("DELETE", `/v1/organise/${state.job}`);
    for (const url of thumbnails.values()) url.then(URL.revokeObjectURL).catch(() => null);
    thumbnails.clear();
    state.job = state.album = null;
    $("albums-done").hidden = true;
    $("albums-start").hidden = false;
    say("Deleted.");
  } catch (error) { complain(error); }
});

// ---- people

const MOST_LISTED = 300;
async function listPeople() {
  try {
    state.people = (await call("GET", "/v1/people")).people;
    drawPeople();
  } catch (error) { complain(error); }
}

function drawPeople() {
  const wanted = $("people-find").value.trim().toLowerCase().replaceAll("_", " ");
  const matches = state.people.filter(person => person.name.toLowerCase().replaceAll("_", " ").includes(wanted));
  $("people-count").textContent = `${matches.length} of ${state.people.length} people${matches.length > MOST_LISTED ? `, the first ${MOST_LISTED} are shown` : ""}`;
  $("people-list").replaceChildren(...matches.slice(0, MOST_LISTED).map(person => {
    const forget = make("button", { class: "quiet danger", "aria-label": `Forget ${called(person.name)}` }, "Forget");
    forget.addEventListener("click", () => forgetPerson(person.name));
    return make("li", {}, make("span", {}, called(person.name)), make("span", { class: "soft" }, count(person.photos, "photo")), forget);
  }));
}
$("people-find").addEventListener("input", drawPeople);

async function forgetPerson(name) {
  const text = "This deletes everything made from the person’s photos. From then on, nobody is given this name. The original photos stay.";
  if (!await ask(`Forget ${called(name)}?`, text, "Forget")) return;
  try {
    const forgotten = await call("DELETE", `/v1/people/${encodeURIComponent(name)}`);
    const left = forgotten.left.length ? ` Not everything could be deleted: ${forgotten.left.join("; ")}` : "";
    await listPeople();
    say(`${called(name)} was forgotten. Original photos, which you may keep or delete: ${forgotten.originals.length}.${left}`);
    about();
  } catch (error) { complain(error); }
}

$("add").addEventListener("submit", async event => {
  event.preventDefault();
  const button = $("add").querySelector("button");
  button.disabled = true;
  try {
    const added = await call("POST", "/v1/people", formOf([["name", $("add-name").value.trim()], ...[...$("add-files").files].map(file => ["files", file])]));
    const alike = added.looks_like.length ? ` The photos look like ${added.looks_like.join(", ")}. Is it the same person?` : "";
    const out = added.left_out.length ? ` Photos left out, because they show no usable face: ${added.left_out.length}.` : "";
    $("add").reset();
    await listPeople();
    say(`${added.name} was enrolled from ${count(added.photos, "photo")}.${out}${alike}`);
    about();
  } catch (error) { complain(error); }
  button.disabled = false;
});

// ---- start

async function about() {
  const model = await call("GET", "/v1/model");
  $("about").textContent = `${model.people.toLocaleString("en")} people enrolled`;
  if (!state.choices.length) {
    state.choices = model.choices;
    $("strict").max = String(Math.max(0, model.choices.length - 1));
    $("strict").value = String(model.choices.length - 1 - model.choices.findIndex(one => one.fpir === model.fpir));
  } else state.choices = model.choices;
  showCost();
}
choose(tabs.find(tab => `#${tab.id.slice(4)}` === location.hash) || tabs[0]);
about().catch(complain);
